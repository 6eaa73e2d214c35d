// Takes the sums of a block and requantizes them, with REQUANTIZERS in a row: as many columns a cycle.
//
// Three stages: bias and conversion, product, code. `left` counts the columns that wait; a block may be taken when they drain in a cycle.
`default_nettype none

module drain #(
    parameter ROWS = 16,
    parameter COLUMNS = 16,
    parameter REQUANTIZERS = 1
) (
    input  wire        clock,
    input  wire        reset,
    input  wire        take,
    input  wire [ROWS*COLUMNS*32-1:0] products,
    input  wire [ROWS*32-1:0] biases,
    input  wire [ROWS*32-1:0] multipliers,
    input  wire [31:0] columns_used,
    input  wire [31:0] rows_used,
    // Byte, or host value, of row 0 of the first column, and the steps to the next column.
    input  wire [31:0] address,
    input  wire [31:0] column_pitch,
    input  wire [7:0]  zero_point,
    input  wire [7:0]  lo,
    input  wire [7:0]  hi,
    output reg  [31:0] left,
    // Results of columns, the first lowest, in the cycle in which they are written.
    output wire        write,
    output wire [31:0] write_address,
    output wire [31:0] write_columns,
    output wire [31:0] write_count,
    output wire [REQUANTIZERS*ROWS*32-1:0] values,
    output wire [REQUANTIZERS*ROWS*8-1:0]  codes,
    // No column follows these.
    output wire        last
);
    reg [31:0] next_address, count;
    reg        valid_1, valid_2;
    reg [31:0] address_1, address_2, count_1, count_2, columns_1, columns_2;
    wire [31:0] now = left < REQUANTIZERS ? left : REQUANTIZERS;

    assign write = valid_2;
    assign write_address = address_2;
    assign write_columns = columns_2;
    assign write_count = count_2;
    assign last = left == 32'd0 && !valid_1;

    always @(posedge clock) begin
        if (reset) begin
            left <= 32'd0;
            valid_1 <= 1'b0;
            valid_2 <= 1'b0;
        end else begin
            if (take) begin
                left <= columns_used;
                next_address <= address;
                count <= rows_used;
            end else if (left != 32'd0) begin
                left <= left - now;
                next_address <= next_address + REQUANTIZERS * column_pitch;
            end
            valid_1 <= left != 32'd0;
            valid_2 <= valid_1;
        end
        address_1 <= next_address;
        address_2 <= address_1;
        columns_1 <= now;
        columns_2 <= columns_1;
        count_1 <= count;
        count_2 <= count_1;
    end

    genvar row, side;
    generate
        for (row = 0; row < ROWS; row = row + 1) begin : rows
            // The sums of the row, the next column lowest.
            reg [(COLUMNS+REQUANTIZERS)*32-1:0] sums;
            reg [31:0] bias, multiplier, multiplier_1;

            always @(posedge clock) begin
                if (take) begin
                    sums <= {{REQUANTIZERS*32{1'b0}}, products[row*COLUMNS*32 +: COLUMNS*32]};
                    bias <= biases[32*row +: 32];
                    multiplier <= multipliers[32*row +: 32];
                end else if (left != 32'd0) sums <= sums >> 32 * REQUANTIZERS;
                multiplier_1 <= multiplier;
            end

            for (side = 0; side < REQUANTIZERS; side = side + 1) begin : requantizers
                reg [31:0] converted, value;
                wire [31:0] to_float, product;

                int_to_float convert (.value(sums[32*side +: 32] + bias), .result(to_float));
                float_multiply multiply (.a(converted), .b(multiplier_1), .result(product));
                float_to_code round (
                    .value(value), .zero_point(zero_point), .lo(lo), .hi(hi), .code(codes[8*(side*ROWS + row) +: 8])
                );
                assign values[32*(side*ROWS + row) +: 32] = value;

                always @(posedge clock) begin
                    converted <= to_float;
                    value <= product;
                end
            end
        end
    endgenerate
endmodule

`default_nettype wire
