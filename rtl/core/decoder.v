// The front end of the execute queue: fills descriptors from SET_* and offers each operation with all it needs.
//
// It runs ahead: while an operation executes, the descriptors of the next are set, so SET_* take no cycles of the queue.
// An operation is offered once the tokens it waits for are there. Fields lie as docs/accelerator.md has them, from bit 8 up.
// `fault` stays up after an opcode that is not built here, a reserved bit that is 1, a width outside 2 to 8, or an operand in DRAM.
`default_nettype none

module decoder (
    input  wire         clock,
    input  wire         reset,
    input  wire         instruction_valid,
    input  wire [127:0] instruction,
    output wire         instruction_ready,
    // Tokens from the load queue and from the store queue, one a cycle each at most.
    input  wire         token_load,
    input  wire         token_store,
    // The operation offered, and that it was taken.
    output wire         offered,
    input  wire         taken,

    output reg  [31:0]  input_address,
    output reg  [31:0]  input_height,
    output reg  [31:0]  input_width,
    output reg  [31:0]  input_channels,
    output reg  [7:0]   input_zero_point,
    output reg  [31:0]  output_address,
    output reg  [31:0]  output_height,
    output reg  [31:0]  output_width,
    output reg  [31:0]  output_channels,
    output reg  [7:0]   output_zero_point,
    output reg  [31:0]  addend_address,
    output reg  [7:0]   addend_zero_point,
    output reg  [31:0]  kernel_height,
    output reg  [31:0]  kernel_width,
    output reg  [31:0]  dilation_height,
    output reg  [31:0]  dilation_width,
    output reg  [31:0]  stride_height,
    output reg  [31:0]  stride_width,
    output reg  [31:0]  padding_top,
    output reg  [31:0]  padding_left,
    output reg  [31:0]  padding_bottom,
    output reg  [3:0]   bits,
    output reg  [31:0]  layer_outputs,
    output reg  [31:0]  groups,
    output reg  [1:0]   lanes_over,
    output reg  [7:0]   lo,
    output reg  [7:0]   hi,
    output reg  [31:0]  host_address,
    output reg  [31:0]  host_height,
    output reg  [31:0]  host_width,
    output reg  [31:0]  host_channels,
    output reg          host_channel_last,
    output wire         to_host,
    output wire         quantize,
    output wire         pool,
    output wire         mean,
    output wire         add,
    // Of QUANTIZE: the first host value and its order.
    output wire [31:0]  quantize_host,
    output wire         quantize_channel_last,
    // Of QUANTIZE 1 / scale, of POOL_AVG, of the two operands of ADD.
    output wire [31:0]  multiplier,
    output wire [31:0]  addend_multiplier,
    // Of POOL_AVG.
    output wire         count_padding,
    output wire         signal_load,
    output wire         signal_store,
    output wire [31:0]  weights,
    output wire [31:0]  slot,
    output wire [31:0]  first_output,
    output wire [31:0]  outputs,
    // First channel of the output tile, or first row of the host tensor.
    output wire [31:0]  place,
    output reg          fault
);
    localparam [7:0] SET_INPUT = 8'h01, SET_ADDEND = 8'h02, SET_OUTPUT = 8'h03, SET_KERNEL = 8'h04, SET_STRIDE = 8'h05, SET_PADDING = 8'h06,
        SET_WEIGHTS = 8'h07, SET_CLAMP = 8'h08, SET_HOST = 8'h09,
        QUANTIZE = 8'h10, POOL_MAX = 8'h13, POOL_AVG = 8'h14, ADD = 8'h15, EXECUTE = 8'h22, EXECUTE_HOST = 8'h23;

    wire [7:0] opcode = instruction[7:0];
    wire on_array = opcode == EXECUTE || opcode == EXECUTE_HOST;
    wire executes = on_array || quantize || pool || mean || add;
    // Operands must lie in the activation buffer.
    reg input_in_dram, addend_in_dram, output_in_dram;
    wire in_dram =
        (opcode != QUANTIZE && input_in_dram) || (add && addend_in_dram) || (opcode != EXECUTE_HOST && output_in_dram);

    reg [7:0] tokens_load, tokens_store;
    wire wait_load = on_array && instruction[8];
    wire wait_store = on_array && instruction[9];
    wire ready = (!wait_load || tokens_load != 8'd0) && (!wait_store || tokens_store != 8'd0);

    assign offered = instruction_valid && executes && ready && !fault && !reset;
    assign instruction_ready = !reset && (executes ? taken : 1'b1);
    assign to_host = opcode == EXECUTE_HOST;
    assign quantize = opcode == QUANTIZE;
    assign pool = opcode == POOL_MAX;
    assign mean = opcode == POOL_AVG;
    assign add = opcode == ADD;
    assign signal_load = on_array && instruction[10];
    assign signal_store = on_array && instruction[11];
    assign quantize_host = instruction[39:8];
    assign multiplier = quantize ? instruction[71:40] : instruction[39:8];
    assign addend_multiplier = instruction[71:40];
    assign count_padding = mean && instruction[40];
    assign quantize_channel_last = instruction[72];
    assign weights = {8'd0, instruction[35:12]};
    assign slot = {20'd0, instruction[47:36]};
    assign first_output = {7'd0, instruction[72:48]};
    assign outputs = {15'd0, instruction[89:73]};
    assign place = {7'd0, instruction[114:90]};

    wire take_load = taken && wait_load;
    wire take_store = taken && wait_store;

    always @(posedge clock) begin
        if (reset) begin
            tokens_load <= 8'd0;
            tokens_store <= 8'd0;
            fault <= 1'b0;
        end else begin
            tokens_load <= tokens_load + {7'd0, token_load} - {7'd0, take_load};
            tokens_store <= tokens_store + {7'd0, token_store} - {7'd0, take_store};
            if (instruction_valid) case (opcode)
                SET_INPUT: begin
                    input_address <= instruction[39:8];
                    input_height <= {7'd0, instruction[64:40]};
                    input_width <= {7'd0, instruction[89:65]};
                    input_channels <= {7'd0, instruction[114:90]};
                    input_zero_point <= instruction[122:115];
                    input_in_dram <= instruction[123];
                    if (instruction[127:124] != 4'd0) fault <= 1'b1;
                end
                SET_ADDEND: begin
                    // Its extents are those of the input.
                    addend_address <= instruction[39:8];
                    addend_zero_point <= instruction[122:115];
                    addend_in_dram <= instruction[123];
                    if (instruction[127:124] != 4'd0) fault <= 1'b1;
                end
                SET_OUTPUT: begin
                    output_address <= instruction[39:8];
                    output_height <= {7'd0, instruction[64:40]};
                    output_width <= {7'd0, instruction[89:65]};
                    output_channels <= {7'd0, instruction[114:90]};
                    output_zero_point <= instruction[122:115];
                    output_in_dram <= instruction[123];
                    if (instruction[127:124] != 4'd0) fault <= 1'b1;
                end
                SET_KERNEL: begin
                    kernel_height <= {7'd0, instruction[32:8]};
                    kernel_width <= {7'd0, instruction[57:33]};
                    dilation_height <= {7'd0, instruction[82:58]};
                    dilation_width <= {7'd0, instruction[107:83]};
                    if (instruction[127:108] != 20'd0) fault <= 1'b1;
                end
                SET_STRIDE: begin
                    stride_height <= {7'd0, instruction[32:8]};
                    stride_width <= {7'd0, instruction[57:33]};
                    if (instruction[127:58] != 70'd0) fault <= 1'b1;
                end
                SET_PADDING: begin
                    // The padding on the right needs no register: what lies right of the image is padding.
                    padding_top <= {7'd0, instruction[32:8]};
                    padding_left <= {7'd0, instruction[57:33]};
                    padding_bottom <= {7'd0, instruction[82:58]};
                    if (instruction[127:108] != 20'd0) fault <= 1'b1;
                end
                SET_WEIGHTS: begin
                    // Places in DRAM (the lowest 64 bits) concern the load queue.
                    bits <= instruction[75:72];
                    layer_outputs <= {7'd0, instruction[100:76]};
                    groups <= {7'd0, instruction[125:101]};
                    lanes_over <= instruction[127:126];
                    if (instruction[75:72] < 4'd2 || instruction[75:72] > 4'd8 || instruction[127:126] == 2'd3) fault <= 1'b1;
                end
                SET_CLAMP: begin
                    lo <= instruction[15:8];
                    hi <= instruction[23:16];
                    if (instruction[127:24] != 104'd0) fault <= 1'b1;
                end
                SET_HOST: begin
                    host_address <= instruction[39:8];
                    host_height <= {7'd0, instruction[64:40]};
                    host_width <= {7'd0, instruction[89:65]};
                    host_channels <= {7'd0, instruction[114:90]};
                    host_channel_last <= instruction[115];
                    if (instruction[127:116] != 12'd0) fault <= 1'b1;
                end
                EXECUTE, EXECUTE_HOST: if (instruction[127:115] != 13'd0 || in_dram) fault <= 1'b1;
                QUANTIZE: if (instruction[127:73] != 55'd0 || in_dram) fault <= 1'b1;
                POOL_MAX: if (instruction[127:8] != 120'd0 || in_dram) fault <= 1'b1;
                POOL_AVG: if (instruction[127:41] != 87'd0 || in_dram) fault <= 1'b1;
                ADD: if (instruction[127:72] != 56'd0 || in_dram) fault <= 1'b1;
                default: fault <= 1'b1;
            endcase
        end
    end
endmodule

`default_nettype wire
