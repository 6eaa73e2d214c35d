// An element for serial weights and serial activations (Loom), for its gates only: the core has none.
//
// The number of lanes whose activation bit and weight bit are 1, shifted by the sum of both planes, joins a 32-bit accumulator.
`default_nettype none

module element_both #(
    parameter LANES = 16
) (
    input  wire             clock,
    input  wire             enable,
    input  wire             first,
    input  wire             negate,
    input  wire [3:0]       planes,
    input  wire [LANES-1:0] weights,
    input  wire [LANES-1:0] activations,
    output reg  [31:0]      accumulator
);
    localparam WIDTH = 1 + $clog2(LANES);

    wire [LANES-1:0] both = weights & activations;
    reg  [WIDTH-1:0] sum;
    integer lane;
    always @* begin
        sum = {WIDTH{1'b0}};
        for (lane = 0; lane < LANES; lane = lane + 1) sum = sum + {{(WIDTH - 1){1'b0}}, both[lane]};
    end

    wire [WIDTH+13:0] shifted = {14'd0, sum} << planes;
    wire [31:0] term = {{(18 - WIDTH){1'b0}}, shifted};
    wire [31:0] base = first ? 32'd0 : accumulator;

    // A subtraction is the sum with the complement and a carry.
    always @(posedge clock)
        if (enable) accumulator <= base + (term ^ {32{negate}}) + {31'd0, negate};
endmodule

`default_nettype wire
