// The execute queue: decoder, loops, buffers, array and requantizers, and the vector unit.
//
// Time of an operation of the array, from the cycle in which it is taken (0) to the first in which the next may be:
//   0 taken, 1 and 2 sizes, 3 loops set, 4 first plane read, 5 first plane summed,
//   5 + c(b) sums of block b taken by the drain, 6 + c(b) .. first column converted, multiplied, rounded and written,
//   8 + d(last) the next operation is taken.
// With S planes a block and n(b) cycles in which its columns drain, REQUANTIZERS at once: c(b) = max(c(b-1) + S, d(b-1)), d(b) = c(b) + n(b).
`default_nettype none

module core #(
    parameter ROWS = 16,
    parameter COLUMNS = 16,
    parameter LANES = 16,
    parameter REQUANTIZERS = 1,
    parameter VECTOR_LANES = 16,
    parameter WEIGHT_BYTES = 294912,
    parameter ACTIVATION_BYTES = 262144,
    parameter CONSTANT_SLOTS = 2048
) (
    input  wire         clock,
    input  wire         reset,
    input  wire         instruction_valid,
    input  wire [127:0] instruction,
    output wire         instruction_ready,
    input  wire         token_load,
    input  wire         token_store,
    output reg          signal_load,
    output reg          signal_store,
    // An operation was taken in this cycle; an operation is under way.
    output wire         taken,
    output reg          busy,
    // Values to the host: columns of `host_pitch` and rows of `host_stride` values from one to the next.
    output wire         host_write,
    output wire [31:0]  host_address,
    output wire [31:0]  host_stride,
    output wire [31:0]  host_columns,
    output wire [31:0]  host_pitch,
    output wire [31:0]  host_count,
    output wire [REQUANTIZERS*ROWS*32-1:0] host_values,
    // Values from the host; they come a cycle later.
    output wire         host_read,
    output wire [VECTOR_LANES-1:0]    host_read_valid,
    output wire [VECTOR_LANES*32-1:0] host_read_addresses,
    input  wire [VECTOR_LANES*32-1:0] host_read_values,
    output wire         fault
);
    wire         offered, to_host, signals_load, signals_store, decoder_fault;
    wire [31:0]  input_address, input_height, input_width, input_channels;
    wire [31:0]  output_address, output_height, output_width, output_channels;
    wire [31:0]  addend_address, multiplier, addend_multiplier;
    wire [7:0]   input_zero_point, addend_zero_point, output_zero_point, lo, hi;
    wire [31:0]  kernel_height, kernel_width, dilation_height, dilation_width, stride_height, stride_width;
    wire [31:0]  padding_top, padding_left, padding_bottom, layer_outputs, groups;
    wire [3:0]   bits;
    wire [1:0]   lanes_over;
    wire [31:0]  host_first, host_height, host_width, host_channels;
    wire         host_channel_last;
    wire [31:0]  weights, slot, first_output, outputs, place, quantize_host;
    wire         quantizes, pools, means, adds, quantize_channel_last, count_padding;

    decoder decoder (
        .clock(clock), .reset(reset), .instruction_valid(instruction_valid), .instruction(instruction),
        .instruction_ready(instruction_ready), .token_load(token_load), .token_store(token_store),
        .offered(offered), .taken(taken),
        .input_address(input_address), .input_height(input_height), .input_width(input_width),
        .input_channels(input_channels), .input_zero_point(input_zero_point),
        .output_address(output_address), .output_height(output_height), .output_width(output_width),
        .output_channels(output_channels), .output_zero_point(output_zero_point),
        .addend_address(addend_address), .addend_zero_point(addend_zero_point),
        .kernel_height(kernel_height), .kernel_width(kernel_width),
        .dilation_height(dilation_height), .dilation_width(dilation_width),
        .stride_height(stride_height), .stride_width(stride_width),
        .padding_top(padding_top), .padding_left(padding_left), .padding_bottom(padding_bottom),
        .bits(bits), .layer_outputs(layer_outputs), .groups(groups), .lanes_over(lanes_over), .lo(lo), .hi(hi),
        .host_address(host_first), .host_height(host_height), .host_width(host_width), .host_channels(host_channels),
        .host_channel_last(host_channel_last), .to_host(to_host), .quantize(quantizes), .pool(pools), .mean(means), .add(adds),
        .quantize_host(quantize_host), .quantize_channel_last(quantize_channel_last), .multiplier(multiplier),
        .addend_multiplier(addend_multiplier), .count_padding(count_padding),
        .signal_load(signals_load), .signal_store(signals_store),
        .weights(weights), .slot(slot), .first_output(first_output), .outputs(outputs), .place(place), .fault(decoder_fault)
    );

    // The operation under way: its copy of the descriptors.
    reg [31:0] x_address, x_height, x_width, x_channels, y_address, y_height, y_width, y_channels;
    reg [31:0] a_address, x_multiplier, a_multiplier;
    reg [7:0]  x_zero, a_zero, y_zero, y_lo, y_hi;
    reg [31:0] k_height, k_width, d_height, d_width, s_height, s_width, p_top, p_left, p_bottom;
    reg [31:0] l_outputs, l_groups, w_address, c_slot, o_first, o_count, o_place, h_first, h_height, h_width, h_channels;
    reg [3:0]  w_bits;
    reg [1:0]  over;
    reg        host, channel_last, gives_load, gives_store, quantize, mean, add, padding_counts, vector;

    // Sizes that follow from them.
    reg [31:0] group_inputs, group_outputs, group_first, group_left, depth, result_height, result_width, positions, taps, span;
    reg        phase_1, phase_2, phase_3;
    wire       over_taps = over == 2'd1;
    wire       over_depth = over == 2'd2;

    wire       walking, step_first, block_first, block_last;
    wire [2:0] plane;
    wire [31:0] group, output_offset, rows_used, position, row, column, columns_used, ky, kx, tap, channel;
    wire       stall, drain_write;
    wire [31:0] drain_left, drain_address, drain_columns, drain_count;
    wire [REQUANTIZERS*ROWS*32-1:0] drain_values;
    wire [REQUANTIZERS*ROWS*8-1:0]  drain_codes;

    // The plane that is in the array.
    reg        summing, sum_first, sum_last;
    reg [2:0]  sum_plane;
    reg [31:0] sum_offset, sum_rows, sum_position, sum_columns;
    // A block whose last plane has been summed.
    reg        done;
    reg [31:0] done_offset, done_rows, done_position, done_columns;

    // The last write of an operation, and with it the next may be taken.
    wire drain_last;
    wire vector_finishing;
    wire finishing = busy && (vector ? vector_finishing : drain_write && !walking && !summing && !done && drain_last);
    assign taken = offered && !busy;

    always @(posedge clock) begin
        signal_load <= 1'b0;
        signal_store <= 1'b0;
        phase_1 <= taken;
        phase_2 <= phase_1;
        phase_3 <= phase_2;
        if (reset) begin
            busy <= 1'b0;
            phase_1 <= 1'b0;
            phase_2 <= 1'b0;
            phase_3 <= 1'b0;
        end else if (taken) busy <= 1'b1;
        else if (finishing) begin
            busy <= 1'b0;
            signal_load <= gives_load;
            signal_store <= gives_store;
        end

        if (taken) begin
            x_address <= input_address;
            x_height <= input_height;
            x_width <= input_width;
            x_channels <= input_channels;
            x_zero <= input_zero_point;
            y_address <= output_address;
            y_height <= output_height;
            y_width <= output_width;
            y_channels <= output_channels;
            y_zero <= output_zero_point;
            y_lo <= lo;
            y_hi <= hi;
            k_height <= kernel_height;
            k_width <= kernel_width;
            d_height <= dilation_height;
            d_width <= dilation_width;
            s_height <= stride_height;
            s_width <= stride_width;
            p_top <= padding_top;
            p_left <= padding_left;
            p_bottom <= padding_bottom;
            l_outputs <= layer_outputs;
            l_groups <= groups;
            w_bits <= bits;
            over <= lanes_over;
            w_address <= weights;
            c_slot <= slot;
            o_first <= first_output;
            o_count <= outputs;
            o_place <= place;
            h_first <= quantizes ? quantize_host : host_first;
            h_height <= host_height;
            h_width <= host_width;
            h_channels <= host_channels;
            channel_last <= quantizes ? quantize_channel_last : host_channel_last;
            quantize <= quantizes;
            mean <= means;
            add <= adds;
            vector <= quantizes || pools || means || adds;
            x_multiplier <= multiplier;
            a_multiplier <= addend_multiplier;
            padding_counts <= count_padding;
            a_address <= addend_address;
            a_zero <= addend_zero_point;
            host <= to_host;
            gives_load <= signals_load;
            gives_store <= signals_store;
        end
        if (phase_1) begin
            taps <= k_height * k_width;
            group_inputs <= x_channels / l_groups;
            group_outputs <= l_outputs / l_groups;
            span <= x_height + p_top + p_bottom - d_height * (k_height - 32'd1) - 32'd1;
        end
        if (phase_2) begin
            group_first <= o_first / group_outputs;
            group_left <= group_outputs - o_first % group_outputs;
            depth <= taps * group_inputs;
            // The host's tensor may have more rows than the tile gives.
            result_height <= host ? span / s_height + 32'd1 : y_height;
            result_width <= host ? h_width : y_width;
            if (over_depth && !vector) begin
                group_inputs <= taps * group_inputs;
                k_height <= 32'd1;
                k_width <= 32'd1;
            end
        end
        if (phase_3) positions <= result_height * result_width;
    end

    walker #(.ROWS(ROWS), .COLUMNS(COLUMNS), .LANES(LANES)) walker (
        .clock(clock), .reset(reset), .start(phase_3 && !vector), .advance(!stall), .over_taps(over_taps), .bits(w_bits),
        .channels(group_inputs), .kernel_height(k_height), .kernel_width(k_width), .outputs(o_count),
        .group_outputs(group_outputs), .group_first(group_first), .group_left(group_left),
        .positions(positions), .width(result_width),
        .busy(walking), .plane(plane), .group(group), .output_offset(output_offset), .rows_used(rows_used), .position(position),
        .row(row), .column(column), .columns_used(columns_used), .ky(ky), .kx(kx), .tap(tap), .channel(channel),
        .step_first(step_first), .block_first(block_first), .block_last(block_last)
    );

    wire [ROWS*LANES-1:0] plane_bits;
    wire [COLUMNS*LANES*8-1:0] activations;
    wire vector_read, vector_write;
    wire [VECTOR_LANES-1:0] vector_inside;
    wire [VECTOR_LANES*32-1:0] vector_addresses;
    wire [VECTOR_LANES*8-1:0] vector_bytes, vector_codes;
    wire [31:0] vector_address, vector_count;
    wire activation_fault, weight_fault, constant_outside;

    activation_buffer #(
        .ROWS(ROWS), .COLUMNS(COLUMNS), .LANES(LANES), .REQUANTIZERS(REQUANTIZERS), .VECTOR_LANES(VECTOR_LANES),
        .BYTES(ACTIVATION_BYTES)
    ) activation_buffer (
        .clock(clock), .read(walking && step_first && !stall), .over_taps(over_taps), .over_depth(over_depth), .base(x_address),
        .image_height(x_height), .image_width(x_width), .image_channels(x_channels), .zero_point(x_zero),
        .kernel_height(k_height), .kernel_width(k_width), .dilation_height(d_height), .dilation_width(d_width),
        .stride_height(s_height), .stride_width(s_width), .padding_top(p_top), .padding_left(p_left),
        .group_channels(group_inputs), .group(group), .row(row), .column(column), .result_width(result_width), .columns_used(columns_used),
        .ky(ky), .kx(kx), .channel(channel), .activations(activations),
        .write(drain_write && !host), .write_address(drain_address), .write_columns(drain_columns),
        .write_pitch(y_channels), .write_count(drain_count), .write_codes(drain_codes),
        .vector_read(vector_read && !quantize), .vector_inside(vector_inside), .vector_addresses(vector_addresses),
        .vector_bytes(vector_bytes), .vector_write(vector_write), .vector_address(vector_address),
        .vector_count(vector_count), .vector_codes(vector_codes), .fault(activation_fault)
    );

    weight_buffer #(.ROWS(ROWS), .LANES(LANES), .BYTES(WEIGHT_BYTES)) weight_buffer (
        .clock(clock), .read(walking && !stall), .over_taps(over_taps), .bits(w_bits), .plane(plane), .base(w_address),
        .depth(depth), .group_channels(group_inputs), .output_offset(output_offset), .rows_used(rows_used), .tap(tap),
        .channel(channel), .weights(plane_bits), .fault(weight_fault)
    );

    // The last plane of a block waits until the drain of the block before has at most its last columns to read when it is summed.
    assign stall = summing && sum_last && drain_left > 2 * REQUANTIZERS;

    always @(posedge clock) begin
        if (reset) begin
            summing <= 1'b0;
            done <= 1'b0;
        end else begin
            if (!stall) summing <= walking;
            done <= summing && sum_last && !stall;
        end
        if (!stall) begin
            sum_first <= block_first;
            sum_last <= block_last;
            sum_plane <= plane;
            sum_offset <= output_offset;
            sum_rows <= rows_used;
            sum_position <= position;
            sum_columns <= columns_used;
        end
        done_offset <= sum_offset;
        done_rows <= sum_rows;
        done_position <= sum_position;
        done_columns <= sum_columns;
    end

    wire [ROWS*COLUMNS*32-1:0] products;
    array #(.ROWS(ROWS), .COLUMNS(COLUMNS), .LANES(LANES)) array (
        .clock(clock), .enable(summing && !stall), .first(sum_first), .plane(sum_plane), .bits(w_bits),
        .weights(plane_bits), .activations(activations), .products(products)
    );

    wire [ROWS*32-1:0] biases, multipliers;
    constants_buffer #(.ROWS(ROWS), .SLOTS(CONSTANT_SLOTS)) constants_buffer (
        .slot(c_slot + done_offset), .rows_used(done_rows), .biases(biases), .multipliers(multipliers), .outside(constant_outside)
    );

    // Where a block's results go: codes lie (row, column, channel), host values in either order.
    wire [31:0] code_address = y_address + done_position * y_channels + o_place + done_offset;
    wire [31:0] host_channel = o_first + done_offset;
    wire [31:0] value_address = h_first + (channel_last
        ? (o_place * h_width + done_position) * h_channels + host_channel
        : (host_channel * h_height + o_place) * h_width + done_position);

    wire [31:0] column_pitch = host ? (channel_last ? h_channels : 32'd1) : y_channels;

    drain #(.ROWS(ROWS), .COLUMNS(COLUMNS), .REQUANTIZERS(REQUANTIZERS)) drain (
        .clock(clock), .reset(reset), .take(done), .products(products), .biases(biases), .multipliers(multipliers),
        .columns_used(done_columns), .rows_used(done_rows), .address(host ? value_address : code_address),
        .column_pitch(column_pitch),
        .zero_point(y_zero), .lo(y_lo), .hi(y_hi), .left(drain_left), .write(drain_write), .write_address(drain_address),
        .write_columns(drain_columns), .write_count(drain_count), .values(drain_values), .codes(drain_codes), .last(drain_last)
    );

    assign host_write = drain_write && host;
    assign host_address = drain_address;
    assign host_stride = channel_last ? 32'd1 : h_height * h_width;
    assign host_columns = drain_columns;
    assign host_pitch = column_pitch;
    assign host_count = drain_count;
    assign host_values = drain_values;

    vector_unit #(.LANES(VECTOR_LANES)) vector_unit (
        .clock(clock), .reset(reset), .start(phase_3 && vector), .quantize(quantize), .mean(mean), .add(add),
        .input_address(x_address), .input_height(x_height), .input_width(x_width), .input_channels(x_channels),
        .input_zero_point(x_zero), .addend_address(a_address), .addend_zero_point(a_zero),
        .output_address(y_address), .output_height(y_height), .output_width(y_width), .output_channels(y_channels),
        .output_zero_point(y_zero), .kernel_height(k_height), .kernel_width(k_width), .dilation_height(d_height),
        .dilation_width(d_width), .stride_height(s_height), .stride_width(s_width), .padding_top(p_top), .padding_left(p_left),
        .lo(y_lo), .hi(y_hi), .host_address(h_first), .channel_last(channel_last), .multiplier(x_multiplier),
        .addend_multiplier(a_multiplier), .count_padding(padding_counts),
        .read(vector_read), .read_inside(vector_inside), .read_addresses(vector_addresses), .read_bytes(vector_bytes),
        .read_values(host_read_values), .write(vector_write), .write_address(vector_address), .write_count(vector_count),
        .write_codes(vector_codes), .finishing(vector_finishing)
    );
    assign host_read = vector_read && quantize;
    assign host_read_valid = vector_inside;
    assign host_read_addresses = vector_addresses;

    reg slot_fault;
    always @(posedge clock)
        if (reset) slot_fault <= 1'b0;
        else if (done && constant_outside) slot_fault <= 1'b1;
    assign fault = decoder_fault || activation_fault || weight_fault || slot_fault;
endmodule

`default_nettype wire
