// The vector unit: QUANTIZE, POOL_MAX, POOL_AVG and ADD, LANES elements a cycle.
//
// Elements are the cells of each result, in (row, column, channel) order of the results, cells innermost: those under its window, the two
// operands of ADD, the one value of the host of QUANTIZE. An operation of n elements takes 8 + ceil(n / LANES) cycles:
//   0 taken, 1 to 3 sizes, 4 first read,
//   5 maxima and sums over cells, 6 the two operands of the last operation on floats, 7 that operation and codes, 8 written.
// Two of its results: f32(sum) * (multiplier / f32(cells)), f32(a - za) * ma + f32(b - zb) * mb.
`default_nettype none

module vector_unit #(
    parameter LANES = 16
) (
    input  wire        clock,
    input  wire        reset,
    input  wire        start,
    // QUANTIZE, POOL_AVG, ADD; none of them: POOL_MAX.
    input  wire        quantize,
    input  wire        mean,
    input  wire        add,
    input  wire [31:0] input_address,
    input  wire [31:0] input_height,
    input  wire [31:0] input_width,
    input  wire [31:0] input_channels,
    input  wire [7:0]  input_zero_point,
    input  wire [31:0] addend_address,
    input  wire [7:0]  addend_zero_point,
    input  wire [31:0] output_address,
    input  wire [31:0] output_height,
    input  wire [31:0] output_width,
    input  wire [31:0] output_channels,
    input  wire [7:0]  output_zero_point,
    input  wire [31:0] kernel_height,
    input  wire [31:0] kernel_width,
    input  wire [31:0] dilation_height,
    input  wire [31:0] dilation_width,
    input  wire [31:0] stride_height,
    input  wire [31:0] stride_width,
    input  wire [31:0] padding_top,
    input  wire [31:0] padding_left,
    input  wire [7:0]  lo,
    input  wire [7:0]  hi,
    input  wire [31:0] host_address,
    input  wire        channel_last,
    // Of QUANTIZE 1 / scale, of POOL_AVG and of the input of ADD; of its addend.
    input  wire [31:0] multiplier,
    input  wire [31:0] addend_multiplier,
    // Whether cells outside the image count in the divisor of POOL_AVG.
    input  wire        count_padding,
    // A byte of the buffer, or a value of the host, for each lane; it comes a cycle later.
    output wire        read,
    output reg  [LANES-1:0]    read_inside,
    output reg  [LANES*32-1:0] read_addresses,
    input  wire [LANES*8-1:0]  read_bytes,
    input  wire [LANES*32-1:0] read_values,
    output wire        write,
    output wire [31:0] write_address,
    output wire [31:0] write_count,
    output wire [LANES*8-1:0] write_codes,
    output wire        finishing
);
    // The next element.
    reg        walking;
    reg [31:0] row, column, channel, ky, kx;

    // Cells down and across.
    wire [31:0] cells_down = quantize || add ? 32'd1 : kernel_height;
    wire [31:0] cells_across = quantize ? 32'd1 : add ? 32'd2 : kernel_width;

    // The element of each lane, then the one after them.
    reg [31:0] lane_row, lane_column, lane_channel, lane_ky, lane_kx, y, x, dense;
    reg [LANES-1:0] first, last, valid;
    integer lane;
    always @* begin
        lane_row = row;
        lane_column = column;
        lane_channel = channel;
        lane_ky = ky;
        lane_kx = kx;
        read_inside = {LANES{1'b0}};
        read_addresses = {LANES*32{1'b0}};
        first = {LANES{1'b0}};
        last = {LANES{1'b0}};
        valid = {LANES{1'b0}};
        y = 32'd0;
        x = 32'd0;
        dense = 32'd0;
        for (lane = 0; lane < LANES; lane = lane + 1) begin
            y = lane_row * stride_height + lane_ky * dilation_height - padding_top;
            x = lane_column * stride_width + lane_kx * dilation_width - padding_left;
            valid[lane] = lane_row < output_height;
            first[lane] = lane_ky == 32'd0 && lane_kx == 32'd0;
            last[lane] = lane_ky + 32'd1 == cells_down && lane_kx + 32'd1 == cells_across;
            dense = (lane_row * output_width + lane_column) * output_channels + lane_channel;
            // Negative places are large as unsigned ones.
            read_inside[lane] = valid[lane] && (quantize || add || (y < input_height && x < input_width));
            read_addresses[32*lane +: 32] =
                add ? (first[lane] ? input_address : addend_address) + dense :
                !quantize ? input_address + (y * input_width + x) * input_channels + lane_channel :
                channel_last ? host_address + dense :
                host_address + (lane_channel * output_height + lane_row) * output_width + lane_column;
            if (!last[lane]) begin
                lane_kx = lane_kx + 32'd1;
                if (lane_kx == cells_across) begin
                    lane_kx = 32'd0;
                    lane_ky = lane_ky + 32'd1;
                end
            end else begin
                lane_kx = 32'd0;
                lane_ky = 32'd0;
                lane_channel = lane_channel + 32'd1;
                if (lane_channel == output_channels) begin
                    lane_channel = 32'd0;
                    lane_column = lane_column + 32'd1;
                    if (lane_column == output_width) begin
                        lane_column = 32'd0;
                        lane_row = lane_row + 32'd1;
                    end
                end
            end
        end
    end

    // Flags of the elements that have been read.
    reg [LANES-1:0] was_inside, was_first, was_last, was_valid;
    reg [3:0] busy;

    // What is known of results that are complete, one behind the other: maximum, sum without the zero point and number of the cells
    // inside the image, first and last cell. The result under way goes on from the registers.
    reg [7:0]  best, now_best, opening, now_opening, of_cell;
    reg [31:0] sum, now_sum, cells, now_cells;
    reg [LANES*8-1:0]  maxima, openings, closings;
    reg [LANES*32-1:0] sums, counts;
    reg [31:0] complete;
    integer l;
    always @* begin
        now_best = best;
        now_opening = opening;
        now_sum = sum;
        now_cells = cells;
        maxima = {LANES*8{1'b0}};
        openings = {LANES*8{1'b0}};
        closings = {LANES*8{1'b0}};
        sums = {LANES*32{1'b0}};
        counts = {LANES*32{1'b0}};
        complete = 32'd0;
        of_cell = 8'd0;
        for (l = 0; l < LANES; l = l + 1) begin
            // Outside the image 0, which never beats a cell.
            of_cell = was_inside[l] ? read_bytes[8*l +: 8] : 8'd0;
            if (was_first[l]) begin
                now_best = 8'd0;
                now_sum = 32'd0;
                now_cells = 32'd0;
                now_opening = of_cell;
            end
            if (of_cell > now_best) now_best = of_cell;
            if (was_inside[l]) now_sum = now_sum + {24'd0, of_cell} - {24'd0, input_zero_point};
            if (was_inside[l] || count_padding) now_cells = now_cells + 32'd1;
            if (was_valid[l] && was_last[l]) begin
                maxima[8*complete[$clog2(LANES)-1:0] +: 8] = now_best;
                openings[8*complete[$clog2(LANES)-1:0] +: 8] = now_opening;
                closings[8*complete[$clog2(LANES)-1:0] +: 8] = of_cell;
                sums[32*complete[$clog2(LANES)-1:0] +: 32] = now_sum;
                // A window without a cell has the mean 0, whatever it is divided by.
                counts[32*complete[$clog2(LANES)-1:0] +: 32] = now_cells == 32'd0 ? 32'd1 : now_cells;
                complete = complete + 32'd1;
            end
        end
    end

    reg [LANES*8-1:0]  maxima_1, openings_1, closings_1;
    reg [LANES*32-1:0] sums_1, counts_1;
    reg [LANES*8-1:0]  codes_3;
    reg [31:0] count_1, count_2, count_3, address_3;
    wire [LANES*8-1:0] codes;

    genvar i;
    generate
        for (i = 0; i < LANES; i = i + 1) begin : lanes
            wire [31:0] from_host, of_sum, of_count, scale, of_opening, of_closing, left, right, product, total;
            wire [7:0]  code;
            wire [7:0]  maximum = maxima_1[8*i +: 8];
            wire [7:0]  raised = maximum > lo ? maximum : lo;
            // A result after stage 1: a maximum, or the value of QUANTIZE. Operands after stage 2.
            reg  [31:0] value_1, value_2, a_2, b_2;
            reg  [7:0]  maximum_2;

            float_multiply quantized (.a(read_values[32*i +: 32]), .b(multiplier), .result(from_host));
            int_to_float convert_sum (.value(sums_1[32*i +: 32]), .result(of_sum));
            int_to_float convert_count (.value(counts_1[32*i +: 32]), .result(of_count));
            float_divide divide (.a(multiplier), .b(of_count), .result(scale));
            int_to_float convert_opening (
                .value({24'd0, openings_1[8*i +: 8]} - {24'd0, input_zero_point}), .result(of_opening)
            );
            int_to_float convert_closing (
                .value({24'd0, closings_1[8*i +: 8]} - {24'd0, addend_zero_point}), .result(of_closing)
            );
            float_multiply scale_opening (.a(of_opening), .b(multiplier), .result(left));
            float_multiply scale_closing (.a(of_closing), .b(addend_multiplier), .result(right));
            float_multiply scale_sum (.a(a_2), .b(b_2), .result(product));
            float_add sum_up (.a(a_2), .b(b_2), .result(total));
            float_to_code round (
                .value(quantize ? value_2 : add ? total : product), .zero_point(output_zero_point),
                .lo(quantize ? 8'd0 : lo), .hi(quantize ? 8'd255 : hi), .code(code)
            );
            always @(posedge clock) begin
                value_1 <= from_host;
                value_2 <= value_1;
                maximum_2 <= raised < hi ? raised : hi;
                a_2 <= add ? left : of_sum;
                b_2 <= add ? right : scale;
            end
            assign codes[8*i +: 8] = quantize || add || mean ? code : maximum_2;
        end
    endgenerate

    assign read = walking;
    assign write = busy[3];
    assign write_address = address_3;
    assign write_count = count_3;
    assign write_codes = codes_3;
    assign finishing = busy == 4'b1000 && !walking;

    always @(posedge clock) begin
        if (reset) begin
            walking <= 1'b0;
            busy <= 4'd0;
        end else begin
            if (start) walking <= 1'b1;
            else if (lane_row >= output_height) walking <= 1'b0;
            busy <= {busy[2:0], walking};
        end
        if (start) begin
            row <= 32'd0;
            column <= 32'd0;
            channel <= 32'd0;
            ky <= 32'd0;
            kx <= 32'd0;
        end else begin
            row <= lane_row;
            column <= lane_column;
            channel <= lane_channel;
            ky <= lane_ky;
            kx <= lane_kx;
        end
        was_inside <= read_inside;
        was_first <= first;
        was_last <= last;
        was_valid <= walking ? valid : {LANES{1'b0}};
        best <= now_best;
        opening <= now_opening;
        sum <= now_sum;
        cells <= now_cells;
        maxima_1 <= maxima;
        openings_1 <= openings;
        closings_1 <= closings;
        sums_1 <= sums;
        counts_1 <= counts;
        count_1 <= complete;
        count_2 <= count_1;
        codes_3 <= codes;
        count_3 <= count_2;
        address_3 <= start ? output_address : address_3 + (busy[3] ? count_3 : 32'd0);
    end
endmodule

`default_nettype wire
