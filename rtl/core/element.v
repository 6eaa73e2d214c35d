// A processing element: the sum of LANES activations whose weight bit is 1, shifted by the plane, joins a 32-bit accumulator.
//
// `first` starts a block: the old accumulator does not count. `negate` is the sign plane of 8-bit weights.
`default_nettype none

module element #(
    parameter LANES = 16
) (
    input  wire               clock,
    input  wire               enable,
    input  wire               first,
    input  wire               negate,
    input  wire [2:0]         plane,
    input  wire [LANES-1:0]   weights,
    input  wire [8*LANES-1:0] activations,
    output reg  [31:0]        accumulator
);
    localparam WIDTH = 8 + $clog2(LANES);

    reg  [WIDTH-1:0] sum;
    integer lane;
    always @* begin
        sum = {WIDTH{1'b0}};
        for (lane = 0; lane < LANES; lane = lane + 1)
            sum = sum + {{(WIDTH - 8){1'b0}}, activations[8*lane +: 8] & {8{weights[lane]}}};
    end

    wire [WIDTH+6:0] shifted = {7'd0, sum} << plane;
    wire [31:0] term = {{(25 - WIDTH){1'b0}}, shifted};
    wire [31:0] base = first ? 32'd0 : accumulator;

    // A subtraction is the sum with the complement and a carry.
    always @(posedge clock)
        if (enable) accumulator <= base + (term ^ {32{negate}}) + {31'd0, negate};
endmodule

`default_nettype wire
