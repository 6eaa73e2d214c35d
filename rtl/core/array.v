// ROWS x COLUMNS elements with the correction column: bit planes in, one a cycle, sums of products out.
//
// `weights`, bit r * LANES + l: the bit of lane l for row r. `activations`, byte c * LANES + l: lane l of column c.
// `products`, word r * COLUMNS + c: sum(x w) of row r and column c, valid a cycle after the last plane of a block; it lasts until
// the next block's first plane has been added.
`default_nettype none

module array #(
    parameter ROWS = 16,
    parameter COLUMNS = 16,
    parameter LANES = 16
) (
    input  wire                         clock,
    input  wire                         enable,
    // First plane of the first step of a block.
    input  wire                         first,
    input  wire [2:0]                   plane,
    // Width of the weights, 2 to 8.
    input  wire [3:0]                   bits,
    input  wire [ROWS*LANES-1:0]        weights,
    input  wire [COLUMNS*LANES*8-1:0]   activations,
    output wire [ROWS*COLUMNS*32-1:0]   products
);
    wire eight = bits == 4'd8;
    wire negate = eight && plane == 3'd7;
    wire [COLUMNS*32-1:0] corrections;

    genvar row, column;
    generate
        for (column = 0; column < COLUMNS; column = column + 1) begin : columns
            wire [31:0] sum;
            column_sum #(.LANES(LANES)) correction (
                .clock(clock), .enable(enable && plane == 3'd0), .first(first),
                .activations(activations[column*LANES*8 +: LANES*8]), .sum(sum)
            );
            assign corrections[column*32 +: 32] = eight ? 32'd0 : sum << (bits - 4'd1);

            for (row = 0; row < ROWS; row = row + 1) begin : rows
                wire [31:0] accumulator;
                element #(.LANES(LANES)) element (
                    .clock(clock), .enable(enable), .first(first), .negate(negate), .plane(plane),
                    .weights(weights[row*LANES +: LANES]), .activations(activations[column*LANES*8 +: LANES*8]),
                    .accumulator(accumulator)
                );
                assign products[(row*COLUMNS + column)*32 +: 32] = accumulator - corrections[column*32 +: 32];
            end
        end
    endgenerate
endmodule

`default_nettype wire
