// q = rne(min(max(v, lo - z), hi - z)) + z; a NaN gives lo.
//
// The bounds are integers, so rounding first and clamping after gives the same code.
`default_nettype none

module float_to_code (
    input  wire [31:0] value,
    input  wire [7:0]  zero_point,
    input  wire [7:0]  lo,
    input  wire [7:0]  hi,
    output wire [7:0]  code
);
    wire       negative = value[31];
    wire [7:0] exponent = value[30:23];
    wire       is_nan = exponent == 8'hff && value[22:0] != 23'd0;

    // Magnitudes from 512 up (exponent 127 + 9) are beyond every bound: 255 steps at most.
    wire       beyond = exponent >= 8'd136;
    // Below 1/4 (exponent 125) nothing is left of the rounding; in between, the point moves up to 10 places.
    wire       tiny = exponent < 8'd125;
    wire [3:0] places = exponent[3:0] - 4'd13;
    // 10 bits before the point, 25 after it; 1.f * 2^-2 at place 0.
    wire [34:0] fixed = {11'd0, 1'b1, value[22:0]} << places;
    wire        round_up = fixed[24] && (fixed[25] || fixed[23:0] != 24'd0);
    wire [9:0]  magnitude = beyond ? 10'd512 : tiny ? 10'd0 : fixed[34:25] + {9'd0, round_up};

    wire signed [11:0] steps = negative ? -$signed({2'b0, magnitude}) : $signed({2'b0, magnitude});
    wire signed [11:0] moved = steps + $signed({4'b0, zero_point});
    wire signed [11:0] low = $signed({4'b0, lo});
    wire signed [11:0] high = $signed({4'b0, hi});
    assign code = is_nan || moved <= low ? lo : moved >= high ? hi : moved[7:0];
endmodule

`default_nettype wire
