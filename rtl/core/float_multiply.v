// a * b in IEEE single, rounded to nearest, ties to even.
//
// Operands below the normal range count as 0, and so do results: multipliers are in [2^-40, 2^20] and integers are
// at least 1 or 0, so no product of the machine lies there. NaN is 0x7fc00000.
`default_nettype none

module float_multiply (
    input  wire [31:0] a,
    input  wire [31:0] b,
    output wire [31:0] result
);
    wire a_zero = a[30:23] == 8'd0;
    wire b_zero = b[30:23] == 8'd0;
    wire a_top = a[30:23] == 8'hff;
    wire b_top = b[30:23] == 8'hff;
    wire is_nan = (a_top && a[22:0] != 23'd0) || (b_top && b[22:0] != 23'd0) || (a_top && b_zero) || (b_top && a_zero);
    wire negative = a[31] ^ b[31];

    wire [47:0] product = {24'd0, 1'b1, a[22:0]} * {24'd0, 1'b1, b[22:0]};
    wire        high = product[47];
    wire [46:0] fraction = high ? product[46:0] : {product[45:0], 1'b0};

    // Two's complement of 10 bits: -126 + ... lies between -125 and 383.
    wire [9:0]  exponent = {2'b0, a[30:23]} + {2'b0, b[30:23]} - 10'd127 + {9'd0, high};
    wire        round_up = fraction[23] && (fraction[24] || fraction[22:0] != 23'd0);
    wire [32:0] rounded = {exponent, fraction[46:24]} + {32'd0, round_up};
    wire        below = rounded[32] || rounded[31:23] == 9'd0;
    wire        above = !rounded[32] && rounded[31:23] >= 9'd255;

    assign result =
        is_nan ? 32'h7fc00000 :
        a_top || b_top ? {negative, 31'h7f800000} :
        a_zero || b_zero || below ? {negative, 31'd0} :
        above ? {negative, 31'h7f800000} :
        {negative, rounded[30:0]};
endmodule

`default_nettype wire
