// a / b in IEEE single, rounded to nearest, ties to even.
//
// Operands are finite and b is not 0. Results below the normal range count as 0: multipliers are in [2^-40, 2^20] and b is a
// number of cells, so no quotient of the machine lies there.
`default_nettype none

module float_divide (
    input  wire [31:0] a,
    input  wire [31:0] b,
    output wire [31:0] result
);
    wire        negative = a[31] ^ b[31];
    wire [49:0] dividend = {1'b0, 1'b1, a[22:0], 25'd0};
    wire [49:0] divisor = {26'd0, 1'b1, b[22:0]};
    // Between 2^24 and 2^26.
    /* verilator lint_off UNUSEDSIGNAL */
    wire [49:0] quotient = dividend / divisor;
    /* verilator lint_on UNUSEDSIGNAL */
    wire        inexact = quotient * divisor != dividend;
    wire        high = quotient[25];
    wire [24:0] fraction = high ? quotient[24:0] : {quotient[23:0], 1'b0};

    wire [9:0]  exponent = {2'b0, a[30:23]} - {2'b0, b[30:23]} + 10'd126 + {9'd0, high};
    wire        round_up = fraction[1] && (fraction[2] || fraction[0] || inexact);
    wire [32:0] rounded = {exponent, fraction[24:2]} + {32'd0, round_up};
    wire        below = rounded[32] || rounded[31:23] == 9'd0;
    wire        above = !rounded[32] && rounded[31:23] >= 9'd255;

    assign result =
        a[30:23] == 8'd0 || below ? {negative, 31'd0} :
        above ? {negative, 31'h7f800000} :
        {negative, rounded[30:0]};
endmodule

`default_nettype wire
