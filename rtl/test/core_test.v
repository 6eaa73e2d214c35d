// Replays a folder of `releqc sim --vectors`: plusarg +vectors=DIR. Ends with $fatal on the first difference of a byte, a value or a cycle.
//
// script.hex says what happens, one word `kk aaaaaaaa bbbbbbbb` (without blanks) a line:
//   01 b bytes of weights.hex to the weight buffer at a          02 b entries of constants.hex to the constants buffer at a
//   03 b bytes of activations.hex to the activation buffer at a  04 b instructions, the last an execute, which must take a cycles
//   05 b bytes of the activation buffer at a as expected.hex     06 b host values at a as host.hex
//   07 b values of inputs.hex to the host's memory at a          00 end
`default_nettype none

module core_test #(
    parameter ROWS = 16,
    parameter COLUMNS = 16,
    parameter LANES = 16,
    parameter REQUANTIZERS = 1,
    parameter VECTOR_LANES = 16,
    parameter WEIGHT_BYTES = 294912,
    parameter ACTIVATION_BYTES = 262144,
    parameter CONSTANT_SLOTS = 2048,
    parameter HOST_VALUES = 1048576
) (
    input wire clock
);
    reg          reset = 1'b1;
    reg          instruction_valid = 1'b0;
    reg  [127:0] instruction = 128'd0;
    reg          token_load = 1'b0, token_store = 1'b0;
    wire         instruction_ready, signal_load, signal_store, taken, busy, host_write, fault;
    wire [31:0]  host_address, host_stride, host_columns, host_pitch, host_count;
    wire [REQUANTIZERS*ROWS*32-1:0] host_values;
    wire         host_read;
    wire [VECTOR_LANES-1:0]    host_read_valid;
    wire [VECTOR_LANES*32-1:0] host_read_addresses;
    reg  [VECTOR_LANES*32-1:0] host_read_values = 0;
    reg  [31:0]  from, to;

    core #(
        .ROWS(ROWS), .COLUMNS(COLUMNS), .LANES(LANES), .REQUANTIZERS(REQUANTIZERS), .VECTOR_LANES(VECTOR_LANES), .WEIGHT_BYTES(WEIGHT_BYTES),
        .ACTIVATION_BYTES(ACTIVATION_BYTES), .CONSTANT_SLOTS(CONSTANT_SLOTS)
    ) core (
        .clock(clock), .reset(reset), .instruction_valid(instruction_valid), .instruction(instruction),
        .instruction_ready(instruction_ready), .token_load(token_load), .token_store(token_store),
        .signal_load(signal_load), .signal_store(signal_store), .taken(taken), .busy(busy),
        .host_write(host_write), .host_address(host_address), .host_stride(host_stride),
        .host_columns(host_columns), .host_pitch(host_pitch), .host_count(host_count),
        .host_values(host_values), .host_read(host_read), .host_read_valid(host_read_valid),
        .host_read_addresses(host_read_addresses), .host_read_values(host_read_values), .fault(fault)
    );

    reg [31:0] host [0:HOST_VALUES-1];
    reg [8*256-1:0] folder;
    reg [8*300-1:0] name;
    integer script, instructions, weights, constants, activations, expected, hosts, inputs;

    task open(input [8*32-1:0] file, output integer handle);
        begin
            $sformat(name, "%0s/%0s", folder, file);
            handle = $fopen(name, "r");
            if (handle == 0) $fatal(1, "no %0s", name);
        end
    endtask

    integer i;
    initial begin
        if (!$value$plusargs("vectors=%s", folder)) $fatal(1, "+vectors=DIR is required");
        open("script.hex", script);
        open("instructions.hex", instructions);
        open("weights.hex", weights);
        open("constants.hex", constants);
        open("activations.hex", activations);
        open("expected.hex", expected);
        open("host.hex", hosts);
        open("inputs.hex", inputs);
        for (i = 0; i < HOST_VALUES; i = i + 1) host[i] = 32'd0;
    end

    // One line of a file; the files end where the script ends.
    reg [127:0] word;
    /* verilator lint_off UNUSEDSIGNAL */
    task line(input integer handle);
        if ($fscanf(handle, "%h\n", word) != 1) $fatal(1, "line %0d of the script: a file of vectors ends early", lines);
    endtask
    /* verilator lint_on UNUSEDSIGNAL */

    localparam [7:0] END = 8'd0, WEIGHTS = 8'd1, CONSTANTS = 8'd2, ACTIVATIONS = 8'd3, RUN = 8'd4, EXPECTED = 8'd5, HOST = 8'd6,
        INPUTS = 8'd7;

    reg [7:0]  kind;
    reg [31:0] a, b;
    integer now = 0, started = 0, lines = 0, left = 0, waited = 0, executed = 0, bytes = 0, values = 0, r;
    reg     [63:0] cycles = 64'd0;
    // Waits for reset, reads the script, feeds instructions, waits for the end of the operation.
    localparam [1:0] RESET = 2'd0, SCRIPT = 2'd1, FEED = 2'd2, WAIT = 2'd3;
    reg [1:0] state = RESET;
    reg       on_array, expects_load, expects_store, got_load = 1'b0, got_store = 1'b0;

    task feed;
        begin
            line(instructions);
            instruction <= word;
            instruction_valid <= 1'b1;
            left = left - 1;
            on_array = word[7:0] == 8'h22 || word[7:0] == 8'h23;
            expects_load = on_array && word[10];
            expects_store = on_array && word[11];
            // Tokens are there when the operation comes: the vectors are those of a program that has run.
            token_load <= left == 0 && on_array && word[8];
            token_store <= left == 0 && on_array && word[9];
        end
    endtask

    always @(posedge clock) begin
        now = now + 1;
        reset <= 1'b0;
        token_load <= 1'b0;
        token_store <= 1'b0;
        if (fault) $fatal(1, "line %0d of the script, instruction %h: the core reports a fault", lines, instruction);
        if (host_write)
            for (r = 0; r < REQUANTIZERS * ROWS; r = r + 1)
                if (r % ROWS < host_count && r / ROWS < host_columns) begin
                    to = host_address + (r / ROWS) * host_pitch + (r % ROWS) * host_stride;
                    if (to >= HOST_VALUES) $fatal(1, "line %0d of the script: a host value lies too far", lines);
                    host[to] = host_values[32*r +: 32];
                end
        if (host_read)
            for (r = 0; r < VECTOR_LANES; r = r + 1) begin
                from = host_read_addresses[32*r +: 32];
                if (host_read_valid[r] && from >= HOST_VALUES) $fatal(1, "line %0d of the script: a host value lies too far", lines);
                if (host_read_valid[r]) host_read_values[32*r +: 32] <= host[from];
            end
        got_load = got_load || signal_load;
        got_store = got_store || signal_store;
        case (state)
            RESET: if (!reset) state = SCRIPT;
            FEED: if (instruction_ready) begin
                if (left == 0) begin
                    if (!taken) $fatal(1, "line %0d of the script: %h is no execute", lines, instruction);
                    instruction_valid <= 1'b0;
                    started = now;
                    state = WAIT;
                end else feed;
            end else begin
                waited = waited + 1;
                if (waited > 100) $fatal(1, "line %0d of the script: instruction %h is not taken", lines, instruction);
            end
            WAIT: if (!busy) begin
                if (now - started != a)
                    $fatal(1, "line %0d of the script: instruction %h took %0d cycles, expected %0d", lines, instruction, now - started, a);
                if (got_load != expects_load || got_store != expects_store)
                    $fatal(1, "line %0d of the script: instruction %h gave tokens %b %b", lines, instruction, got_load, got_store);
                executed = executed + 1;
                cycles = cycles + {32'd0, a};
                state = SCRIPT;
            end else if (now - started > a)
                $fatal(1, "line %0d of the script: instruction %h takes more than %0d cycles", lines, instruction, a);
            default: ;
        endcase
        if (state == SCRIPT) begin
            line(script);
            lines = lines + 1;
            {kind, a, b} = word[71:0];
            case (kind)
                WEIGHTS: for (i = 0; i < b; i = i + 1) begin
                    line(weights);
                    core.weight_buffer.memory[a + i] = word[7:0];
                end
                CONSTANTS: for (i = 0; i < b; i = i + 1) begin
                    line(constants);
                    core.constants_buffer.memory[a + i] = word[63:0];
                end
                ACTIVATIONS: for (i = 0; i < b; i = i + 1) begin
                    line(activations);
                    core.activation_buffer.memory[a + i] = word[7:0];
                end
                RUN: begin
                    left = b;
                    waited = 0;
                    got_load = 1'b0;
                    got_store = 1'b0;
                    state = FEED;
                    feed;
                end
                EXPECTED: for (i = 0; i < b; i = i + 1) begin
                    line(expected);
                    if (core.activation_buffer.memory[a + i] !== word[7:0])
                        $fatal(1, "line %0d of the script, after instruction %h: byte %0d of the activation buffer is %h, expected %h",
                            lines, instruction, a + i, core.activation_buffer.memory[a + i], word[7:0]);
                    bytes = bytes + 1;
                end
                HOST: for (i = 0; i < b; i = i + 1) begin
                    line(hosts);
                    if (host[a + i] !== word[31:0])
                        $fatal(1, "line %0d of the script, after instruction %h: host value %0d is %h, expected %h",
                            lines, instruction, a + i, host[a + i], word[31:0]);
                    values = values + 1;
                end
                INPUTS: for (i = 0; i < b; i = i + 1) begin
                    line(inputs);
                    host[a + i] = word[31:0];
                end
                END: begin
                    if (executed == 0 || bytes + values == 0) $fatal(1, "nothing was compared");
                    $display("core %0d x %0d x %0d: %0d operations, %0d cycles, %0d bytes and %0d host values equal",
                        ROWS, COLUMNS, LANES, executed, cycles, bytes, values);
                    $finish;
                end
                default: $fatal(1, "line %0d of the script: kind %h", lines, kind);
            endcase
        end
    end
endmodule

`default_nettype wire
