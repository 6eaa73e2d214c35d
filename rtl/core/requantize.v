// One accumulator to one code and one float: v = f32(acc) * m, q = rne(min(max(v, lo - z), hi - z)) + z.
`default_nettype none

module requantize (
    input  wire [31:0] accumulator,
    input  wire [31:0] multiplier,
    input  wire [7:0]  zero_point,
    input  wire [7:0]  lo,
    input  wire [7:0]  hi,
    output wire [31:0] value,
    output wire [7:0]  code
);
    wire [31:0] converted;
    int_to_float convert (.value(accumulator), .result(converted));
    float_multiply multiply (.a(converted), .b(multiplier), .result(value));
    float_to_code round (.value(value), .zero_point(zero_point), .lo(lo), .hi(hi), .code(code));
endmodule

`default_nettype wire
