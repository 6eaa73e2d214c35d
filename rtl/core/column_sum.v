// The correction of a column: its activations are summed once for all rows, at plane 0 of each step.
//
// Weights of k < 8 bits are stored as w + 2^(k-1), so a row of the column has 2^(k-1) sum(x) too much.
`default_nettype none

module column_sum #(
    parameter LANES = 16
) (
    input  wire               clock,
    input  wire               enable,
    input  wire               first,
    input  wire [8*LANES-1:0] activations,
    output reg  [31:0]        sum
);
    localparam WIDTH = 8 + $clog2(LANES);

    reg  [WIDTH-1:0] step;
    integer lane;
    always @* begin
        step = {WIDTH{1'b0}};
        for (lane = 0; lane < LANES; lane = lane + 1) step = step + {{(WIDTH - 8){1'b0}}, activations[8*lane +: 8]};
    end

    always @(posedge clock)
        if (enable) sum <= (first ? 32'd0 : sum) + {{(32 - WIDTH){1'b0}}, step};
endmodule

`default_nettype wire
