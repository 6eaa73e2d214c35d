// The activation buffer and its gather: LANES bytes for each of COLUMNS result positions, and the results' way back.
//
// Byte of (y, x, channel): base + (y * width + x) * channels + channel. Cells outside the image hold the zero point; lanes beyond the
// depth and columns beyond the result hold 0. The memory is a model with a port for every byte: banks are not modelled.
`default_nettype none

module activation_buffer #(
    parameter ROWS = 16,
    parameter COLUMNS = 16,
    parameter LANES = 16,
    parameter REQUANTIZERS = 1,
    parameter VECTOR_LANES = 16,
    parameter BYTES = 262144
) (
    input  wire        clock,
    // Reads the lanes of a step.
    input  wire        read,
    input  wire        over_taps,
    input  wire        over_depth,
    input  wire [31:0] base,
    input  wire [31:0] image_height,
    input  wire [31:0] image_width,
    input  wire [31:0] image_channels,
    input  wire [7:0]  zero_point,
    input  wire [31:0] kernel_height,
    input  wire [31:0] kernel_width,
    input  wire [31:0] dilation_height,
    input  wire [31:0] dilation_width,
    input  wire [31:0] stride_height,
    input  wire [31:0] stride_width,
    input  wire [31:0] padding_top,
    input  wire [31:0] padding_left,
    input  wire [31:0] group_channels,
    input  wire [31:0] group,
    // Row and column of the first position; positions go on in the next row of `result_width`.
    input  wire [31:0] row,
    input  wire [31:0] column,
    input  wire [31:0] result_width,
    input  wire [31:0] columns_used,
    input  wire [31:0] ky,
    input  wire [31:0] kx,
    input  wire [31:0] channel,
    output reg  [COLUMNS*LANES*8-1:0] activations,
    // Writes the codes of up to ROWS channels of up to REQUANTIZERS positions.
    input  wire        write,
    input  wire [31:0] write_address,
    input  wire [31:0] write_columns,
    input  wire [31:0] write_pitch,
    input  wire [31:0] write_count,
    input  wire [REQUANTIZERS*ROWS*8-1:0] write_codes,
    // The vector unit's bytes.
    input  wire        vector_read,
    input  wire [VECTOR_LANES-1:0]    vector_inside,
    input  wire [VECTOR_LANES*32-1:0] vector_addresses,
    output reg  [VECTOR_LANES*8-1:0]  vector_bytes,
    input  wire        vector_write,
    input  wire [31:0] vector_address,
    input  wire [31:0] vector_count,
    input  wire [VECTOR_LANES*8-1:0]  vector_codes,
    // An address outside the buffer.
    output reg         fault
);
    reg [7:0] memory [0:BYTES-1];

    // Tap of each lane: the same, or, over taps, one on from lane to lane.
    reg [LANES*32-1:0] lane_ky, lane_kx;
    reg [31:0] next_ky, next_kx;
    integer lane;
    always @* begin
        next_ky = ky;
        next_kx = kx;
        lane_ky = {LANES*32{1'b0}};
        lane_kx = {LANES*32{1'b0}};
        for (lane = 0; lane < LANES; lane = lane + 1) begin
            lane_ky[32*lane +: 32] = next_ky;
            lane_kx[32*lane +: 32] = next_kx;
            if (over_taps) begin
                next_kx = next_kx + 32'd1;
                if (next_kx == kernel_width) begin
                    next_kx = 32'd0;
                    next_ky = next_ky + 32'd1;
                end
            end
        end
    end

    wire [31:0] group_base = base + group * group_channels;

    // First row and column of the image under the window of each position.
    reg [COLUMNS*32-1:0] window_y, window_x;
    reg [31:0] next_row, next_column;
    integer place;
    always @* begin
        next_row = row;
        next_column = column;
        window_y = {COLUMNS*32{1'b0}};
        window_x = {COLUMNS*32{1'b0}};
        for (place = 0; place < COLUMNS; place = place + 1) begin
            window_y[32*place +: 32] = next_row * stride_height - padding_top;
            window_x[32*place +: 32] = next_column * stride_width - padding_left;
            next_column = next_column + 32'd1;
            if (next_column == result_width) begin
                next_column = 32'd0;
                next_row = next_row + 32'd1;
            end
        end
    end

    // {outside the buffer, byte} of lane `l` of column `c`.
    function [8:0] gathered(input integer c, input integer l);
        reg [31:0] y, x, of_channel, address;
        reg        visible;
        begin
            y = window_y[32*c +: 32] + lane_ky[32*l +: 32] * dilation_height;
            x = window_x[32*c +: 32] + lane_kx[32*l +: 32] * dilation_width;
            of_channel = over_taps ? channel : channel + l;
            // Negative places are large as unsigned ones.
            visible = over_depth || (y < image_height && x < image_width);
            address = over_depth ? base + of_channel : group_base + (y * image_width + x) * image_channels + of_channel;
            if (of_channel >= group_channels || lane_ky[32*l +: 32] >= kernel_height || c >= columns_used) gathered = 9'd0;
            else if (!visible) gathered = {1'b0, zero_point};
            else if (address >= BYTES) gathered = 9'h100;
            else gathered = {1'b0, memory[address[$clog2(BYTES)-1:0]]};
        end
    endfunction

    reg [8:0] byte_read;
    reg [31:0] from, to;
    integer c, l, r;
    /* verilator lint_off BLKSEQ */
    always @(posedge clock) begin
        if (read)
            for (c = 0; c < COLUMNS; c = c + 1)
                for (l = 0; l < LANES; l = l + 1) begin
                    byte_read = gathered(c, l);
                    activations[(c*LANES + l)*8 +: 8] <= byte_read[7:0];
                    if (byte_read[8]) fault <= 1'b1;
                end
        if (write)
            for (c = 0; c < REQUANTIZERS; c = c + 1)
                if (c < write_columns) begin
                    to = write_address + c * write_pitch;
                    if (to >= BYTES || write_count > BYTES - to) fault <= 1'b1;
                    else
                        for (r = 0; r < ROWS; r = r + 1)
                            if (r < write_count)
                                memory[to[$clog2(BYTES)-1:0] + r[$clog2(BYTES)-1:0]] <= write_codes[8*(c*ROWS + r) +: 8];
                end
        if (vector_read)
            for (r = 0; r < VECTOR_LANES; r = r + 1)
                if (vector_inside[r]) begin
                    from = vector_addresses[32*r +: 32];
                    if (from >= BYTES) fault <= 1'b1;
                    else vector_bytes[8*r +: 8] <= memory[from[$clog2(BYTES)-1:0]];
                end
        if (vector_write) begin
            if (vector_address >= BYTES || vector_count > BYTES - vector_address) fault <= 1'b1;
            else
                for (r = 0; r < VECTOR_LANES; r = r + 1)
                    if (r < vector_count)
                        memory[vector_address[$clog2(BYTES)-1:0] + r[$clog2(BYTES)-1:0]] <= vector_codes[8*r +: 8];
        end
    end
    /* verilator lint_on BLKSEQ */

    integer i;
    initial begin
        fault = 1'b0;
        for (i = 0; i < BYTES; i = i + 1) memory[i] = 8'd0;
    end
endmodule

`default_nettype wire
