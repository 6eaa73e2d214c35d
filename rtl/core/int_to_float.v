// f32(i): a 32-bit two's complement integer as IEEE single, rounded to nearest, ties to even.
`default_nettype none

module int_to_float (
    input  wire [31:0] value,
    output wire [31:0] result
);
    wire        negative = value[31];
    wire [31:0] magnitude = negative ? ~value + 32'd1 : value;

    // Leading zeros by halving: each step moves the highest one up by 16, 8, 4, 2, 1 places.
    wire        z4 = magnitude[31:16] == 16'd0;
    wire [31:0] n4 = z4 ? {magnitude[15:0], 16'd0} : magnitude;
    wire        z3 = n4[31:24] == 8'd0;
    wire [31:0] n3 = z3 ? {n4[23:0], 8'd0} : n4;
    wire        z2 = n3[31:28] == 4'd0;
    wire [31:0] n2 = z2 ? {n3[27:0], 4'd0} : n3;
    wire        z1 = n2[31:30] == 2'd0;
    wire [31:0] n1 = z1 ? {n2[29:0], 2'd0} : n2;
    wire        z0 = !n1[31];
    wire [31:0] normal = z0 ? {n1[30:0], 1'b0} : n1;

    // 158 = bias 127 + 31. A carry out of the fraction raises the exponent by one, as it must.
    wire [7:0]  exponent = 8'd158 - {3'd0, z4, z3, z2, z1, z0};
    wire        round_up = normal[7] && (normal[8] || normal[6:0] != 7'd0);
    wire [30:0] rounded = {exponent, normal[30:8]} + {30'd0, round_up};

    assign result = normal[31] ? {negative, rounded} : 32'd0;
endmodule

`default_nettype wire
