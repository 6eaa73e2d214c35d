// Takes the sums of a block and requantizes them, a column a cycle, with one requantizer a row.
//
// Three stages: bias and conversion, product, code. `left` counts the columns that wait; a block may be taken when at most one does.
`default_nettype none

module drain #(
    parameter ROWS = 16,
    parameter COLUMNS = 16
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
    // Results of a column, in the cycle in which they are written.
    output wire        write,
    output wire [31:0] write_address,
    output wire [31:0] write_count,
    output wire [ROWS*32-1:0] values,
    output wire [ROWS*8-1:0]  codes,
    // No column follows this one.
    output wire        last
);
    reg [31:0] next_address, count;
    reg        valid_1, valid_2;
    reg [31:0] address_1, address_2, count_1, count_2;

    assign write = valid_2;
    assign write_address = address_2;
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
                left <= left - 32'd1;
                next_address <= next_address + column_pitch;
            end
            valid_1 <= left != 32'd0;
            valid_2 <= valid_1;
        end
        address_1 <= next_address;
        address_2 <= address_1;
        count_1 <= count;
        count_2 <= count_1;
    end

    genvar row;
    generate
        for (row = 0; row < ROWS; row = row + 1) begin : requantizers
            // The sums of the row, the next column lowest.
            reg [COLUMNS*32-1:0] sums;
            reg [31:0] bias, multiplier, multiplier_1, converted, value;
            wire [31:0] to_float, product;

            int_to_float convert (.value(sums[31:0] + bias), .result(to_float));
            float_multiply multiply (.a(converted), .b(multiplier_1), .result(product));
            float_to_code round (.value(value), .zero_point(zero_point), .lo(lo), .hi(hi), .code(codes[8*row +: 8]));
            assign values[32*row +: 32] = value;

            always @(posedge clock) begin
                if (take) begin
                    sums <= products[row*COLUMNS*32 +: COLUMNS*32];
                    bias <= biases[32*row +: 32];
                    multiplier <= multipliers[32*row +: 32];
                end else if (left != 32'd0) sums <= sums >> 32;
                converted <= to_float;
                multiplier_1 <= multiplier;
                value <= product;
            end
        end
    endgenerate
endmodule

`default_nettype wire
