// The constants buffer: a bias (i32, low half) and a multiplier (f32, high half) a channel; ROWS neighbours at once.
`default_nettype none

module constants_buffer #(
    parameter ROWS = 16,
    parameter SLOTS = 2048
) (
    input  wire [31:0] slot,
    input  wire [31:0] rows_used,
    output reg  [ROWS*32-1:0] biases,
    output reg  [ROWS*32-1:0] multipliers,
    output wire outside
);
    reg [63:0] memory [0:SLOTS-1];

    assign outside = slot + rows_used > SLOTS;

    reg [31:0] entry;
    integer r;
    always @* begin
        biases = {ROWS*32{1'b0}};
        multipliers = {ROWS*32{1'b0}};
        entry = 32'd0;
        for (r = 0; r < ROWS; r = r + 1) begin
            entry = slot + r;
            if (r < rows_used && entry < SLOTS)
                {multipliers[32*r +: 32], biases[32*r +: 32]} = memory[entry[$clog2(SLOTS)-1:0]];
        end
    end

    integer i;
    initial for (i = 0; i < SLOTS; i = i + 1) memory[i] = 64'd0;
endmodule

`default_nettype wire
