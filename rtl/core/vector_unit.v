// The vector unit: POOL_MAX and QUANTIZE, LANES elements a cycle.
//
// Elements are the cells under the window of each result, in (row, column, channel) order of the results, cells innermost; QUANTIZE has one cell
// a result, a value of the host. An operation of n elements takes 8 + ceil(n / LANES) cycles:
//   0 taken, 1 to 3 sizes, 4 first read, 5 maxima or products, 6 codes, 7 held, 8 written.
`default_nettype none

module vector_unit #(
    parameter LANES = 16
) (
    input  wire        clock,
    input  wire        reset,
    input  wire        start,
    input  wire        quantize,
    input  wire [31:0] input_address,
    input  wire [31:0] input_height,
    input  wire [31:0] input_width,
    input  wire [31:0] input_channels,
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
    input  wire [31:0] inverse_scale,
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

    // The element of each lane, then the one after them.
    reg [31:0] lane_row, lane_column, lane_channel, lane_ky, lane_kx, y, x;
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
        for (lane = 0; lane < LANES; lane = lane + 1) begin
            y = lane_row * stride_height + lane_ky * dilation_height - padding_top;
            x = lane_column * stride_width + lane_kx * dilation_width - padding_left;
            valid[lane] = lane_row < output_height;
            first[lane] = quantize || (lane_ky == 32'd0 && lane_kx == 32'd0);
            last[lane] = quantize || (lane_ky + 32'd1 == kernel_height && lane_kx + 32'd1 == kernel_width);
            // Negative places are large as unsigned ones.
            read_inside[lane] = valid[lane] && (quantize || (y < input_height && x < input_width));
            read_addresses[32*lane +: 32] =
                !quantize ? input_address + (y * input_width + x) * input_channels + lane_channel :
                channel_last ? host_address + (lane_row * output_width + lane_column) * output_channels + lane_channel :
                host_address + (lane_channel * output_height + lane_row) * output_width + lane_column;
            if (!last[lane]) begin
                lane_kx = lane_kx + 32'd1;
                if (lane_kx == kernel_width) begin
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

    // Maxima of results that are complete, one behind the other; the one under way goes on in `best`.
    reg [7:0] best, now_best, of_cell;
    reg [LANES*8-1:0] maxima;
    reg [31:0] complete;
    integer l;
    always @* begin
        now_best = best;
        maxima = {LANES*8{1'b0}};
        complete = 32'd0;
        of_cell = 8'd0;
        for (l = 0; l < LANES; l = l + 1) begin
            // Outside the image 0, which never beats a cell.
            of_cell = was_inside[l] ? read_bytes[8*l +: 8] : 8'd0;
            now_best = was_first[l] || of_cell > now_best ? of_cell : now_best;
            if (was_valid[l] && was_last[l]) begin
                maxima[8*complete[$clog2(LANES)-1:0] +: 8] = now_best;
                complete = complete + 32'd1;
            end
        end
    end

    reg [LANES*8-1:0]  maxima_1;
    reg [LANES*8-1:0]  codes_2, codes_3;
    reg [31:0] count_1, count_2, count_3, address_3;
    wire [LANES*8-1:0] codes;

    genvar i;
    generate
        for (i = 0; i < LANES; i = i + 1) begin : lanes
            reg  [31:0] value;
            wire [31:0] product;
            wire [7:0]  code;
            wire [7:0]  maximum = maxima_1[8*i +: 8];
            wire [7:0]  raised = maximum > lo ? maximum : lo;
            float_multiply multiply (.a(read_values[32*i +: 32]), .b(inverse_scale), .result(product));
            float_to_code round (.value(value), .zero_point(output_zero_point), .lo(8'd0), .hi(8'd255), .code(code));
            always @(posedge clock) value <= product;
            assign codes[8*i +: 8] = quantize ? code : raised < hi ? raised : hi;
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
        maxima_1 <= maxima;
        count_1 <= complete;
        codes_2 <= codes;
        count_2 <= count_1;
        codes_3 <= codes_2;
        count_3 <= count_2;
        address_3 <= start ? output_address : address_3 + (busy[3] ? count_3 : 32'd0);
    end
endmodule

`default_nettype wire
