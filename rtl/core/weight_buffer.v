// The weight buffer and its view as bit planes: ROWS x LANES bits a cycle out of packed tiles of 16 outputs x 4 depths.
//
// A tile of k-bit codes holds planes of 4, 2 and 1 bits, lowest bits first, code i = output * 4 + depth:
//   4 bits: byte i % 32, bits 4 (i / 32) ..    2 bits: byte i % 16, bits 2 (i / 16) ..    1 bit: byte i / 8, bit i % 8
// and with k = 8 code i is byte i. Depth runs over (tap, channel of the group). The memory is a model with a port for every bit.
`default_nettype none

module weight_buffer #(
    parameter ROWS = 16,
    parameter LANES = 16,
    parameter BYTES = 294912
) (
    input  wire        clock,
    input  wire        read,
    input  wire        over_taps,
    input  wire [3:0]  bits,
    input  wire [2:0]  plane,
    input  wire [31:0] base,
    // Weights of an output.
    input  wire [31:0] depth,
    input  wire [31:0] group_channels,
    // First output of the row block, counted from the first in the buffer.
    input  wire [31:0] output_offset,
    input  wire [31:0] rows_used,
    input  wire [31:0] tap,
    input  wire [31:0] channel,
    output reg  [ROWS*LANES-1:0] weights,
    output reg         fault
);
    reg [7:0] memory [0:BYTES-1];

    wire [31:0] tiles_deep = (depth + 32'd3) >> 2;
    wire [31:0] tile_bytes = {25'd0, bits, 3'd0};

    // The chunk of the plane: its width as a power of two, its first byte in the tile and the plane's place in it.
    wire eight = bits[3];
    wire in_four = !eight && bits[2] && plane < 3'd4;
    wire [2:0] after_four = bits[2] ? plane - 3'd4 : plane;
    wire in_two = !eight && !in_four && bits[1] && after_four < 3'd2;
    wire [31:0] two_first = bits[2] ? 32'd32 : 32'd0;
    wire [31:0] one_first = two_first + (bits[1] ? 32'd16 : 32'd0);
    wire [31:0] lane_step = over_taps ? group_channels : 32'd1;
    wire [31:0] depth_first = tap * group_channels + channel;

    // {outside the buffer, bit} of row `r`, lane `l`; lanes beyond the depth have activation 0 and may hold any bit.
    function [1:0] gathered(input integer r, input integer l);
        reg [31:0] of_output, of_depth, tile, address;
        reg [5:0]  i;
        reg [2:0]  place;
        reg [7:0]  value;
        begin
            of_output = output_offset + r;
            of_depth = depth_first + l * lane_step;
            tile = (of_output >> 4) * tiles_deep + (of_depth >> 2);
            i = {of_output[3:0], of_depth[1:0]};
            if (eight) begin
                address = {26'd0, i};
                place = plane;
            end else if (in_four) begin
                address = {27'd0, i[4:0]};
                place = {i[5], plane[1:0]};
            end else if (in_two) begin
                address = two_first + {28'd0, i[3:0]};
                place = {i[5:4], after_four[0]};
            end else begin
                address = one_first + {29'd0, i[5:3]};
                place = i[2:0];
            end
            address = base + tile * tile_bytes + address;
            if (r >= rows_used || of_depth >= depth) gathered = 2'd0;
            else if (address >= BYTES) gathered = 2'd2;
            else begin
                value = memory[address[$clog2(BYTES)-1:0]];
                gathered = {1'b0, value[place]};
            end
        end
    endfunction

    reg [1:0] bit_read;
    integer r, l;
    /* verilator lint_off BLKSEQ */
    always @(posedge clock)
        if (read)
            for (r = 0; r < ROWS; r = r + 1)
                for (l = 0; l < LANES; l = l + 1) begin
                    bit_read = gathered(r, l);
                    weights[r*LANES + l] <= bit_read[0];
                    if (bit_read[1]) fault <= 1'b1;
                end
    /* verilator lint_on BLKSEQ */

    integer n;
    initial begin
        fault = 1'b0;
        for (n = 0; n < BYTES; n = n + 1) memory[n] = 8'd0;
    end
endmodule

`default_nettype wire
