// a + b in IEEE single, rounded to nearest, ties to even.
//
// Operands are finite. Those below the normal range count as 0, and so do results: sums of the machine are of products of at least
// 2^-40, whose difference is 0 or at least 2^-64.
`default_nettype none

module float_add (
    input  wire [31:0] a,
    input  wire [31:0] b,
    output wire [31:0] result
);
    wire        swap = a[30:0] < b[30:0];
    wire [31:0] greater = swap ? b : a;
    wire [30:0] lesser = swap ? a[30:0] : b[30:0];
    wire        subtract = a[31] ^ b[31];

    // Three bits below the last place: two of the smaller operand, and whether anything is left of it.
    wire [26:0] of_greater = greater[30:23] == 8'd0 ? 27'd0 : {1'b1, greater[22:0], 3'd0};
    wire [26:0] whole = lesser[30:23] == 8'd0 ? 27'd0 : {1'b1, lesser[22:0], 3'd0};
    wire [7:0]  distance = greater[30:23] - lesser[30:23];
    wire [53:0] moved = {whole, 27'd0} >> distance;
    wire [26:0] of_lesser = {moved[53:28], moved[27] || moved[26:0] != 27'd0 || (distance > 8'd53 && whole != 27'd0)};

    wire [27:0] sum = subtract ? {1'b0, of_greater} - {1'b0, of_lesser} : {1'b0, of_greater} + {1'b0, of_lesser};

    // Leading zeros by halving; bit 27 is the carry.
    wire [31:0] n5 = {sum, 4'd0};
    wire        z4 = n5[31:16] == 16'd0;
    wire [31:0] n4 = z4 ? {n5[15:0], 16'd0} : n5;
    wire        z3 = n4[31:24] == 8'd0;
    wire [31:0] n3 = z3 ? {n4[23:0], 8'd0} : n4;
    wire        z2 = n3[31:28] == 4'd0;
    wire [31:0] n2 = z2 ? {n3[27:0], 4'd0} : n3;
    wire        z1 = n2[31:30] == 2'd0;
    wire [31:0] n1 = z1 ? {n2[29:0], 2'd0} : n2;
    wire        z0 = !n1[31];
    wire [31:0] normal = z0 ? {n1[30:0], 1'b0} : n1;

    wire [9:0]  exponent = {2'd0, greater[30:23]} + 10'd1 - {5'd0, z4, z3, z2, z1, z0};
    wire        round_up = normal[7] && (normal[8] || normal[6:0] != 7'd0);
    wire [32:0] rounded = {exponent, normal[30:8]} + {32'd0, round_up};
    wire        below = rounded[32] || rounded[31:23] == 9'd0;
    wire        above = !rounded[32] && rounded[31:23] >= 9'd255;

    // An exact 0 is positive unless both operands are negative.
    assign result =
        !normal[31] ? {a[31] && b[31], 31'd0} :
        below ? {greater[31], 31'd0} :
        above ? {greater[31], 31'h7f800000} :
        {greater[31], rounded[30:0]};
endmodule

`default_nettype wire
