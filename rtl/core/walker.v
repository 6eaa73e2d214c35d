// The loops of a convolution, a plane a cycle: row blocks, blocks of positions, steps, planes.
//
// A row block holds up to ROWS output channels and never crosses a group. COLUMNS positions go on from one result row to the next. A step is a tap and LANES channels, or, over taps, a channel and
// LANES taps. `busy` is up while a plane is due; `advance` moves on to the next.
`default_nettype none

module walker #(
    parameter ROWS = 16,
    parameter COLUMNS = 16,
    parameter LANES = 16
) (
    input  wire        clock,
    input  wire        reset,
    input  wire        start,
    input  wire        advance,
    input  wire        over_taps,
    input  wire [3:0]  bits,
    // Input channels of a group.
    input  wire [31:0] channels,
    input  wire [31:0] kernel_height,
    input  wire [31:0] kernel_width,
    input  wire [31:0] outputs,
    input  wire [31:0] group_outputs,
    input  wire [31:0] group_first,
    // Channels from the first output to the end of its group.
    input  wire [31:0] group_left,
    // Positions of the result, and those of a row of it.
    input  wire [31:0] positions,
    input  wire [31:0] width,

    output reg         busy,
    output reg  [2:0]  plane,
    output reg  [31:0] group,
    // First channel of the row block, counted from the instruction's first output.
    output reg  [31:0] output_offset,
    output wire [31:0] rows_used,
    // The first position of the block, its row and its column.
    output reg  [31:0] position,
    output reg  [31:0] row,
    output reg  [31:0] column,
    output wire [31:0] columns_used,
    output reg  [31:0] ky,
    output reg  [31:0] kx,
    output reg  [31:0] tap,
    output reg  [31:0] channel,
    output wire        step_first,
    output reg         block_first,
    output wire        block_last
);
    wire [31:0] taps = kernel_height * kernel_width;

    // LANES taps on, a tap at a time.
    reg [31:0] far_ky, far_kx;
    integer lane;
    always @* begin
        far_ky = ky;
        far_kx = kx;
        for (lane = 0; lane < LANES; lane = lane + 1)
            if (far_kx + 32'd1 == kernel_width) begin
                far_kx = 32'd0;
                far_ky = far_ky + 32'd1;
            end else far_kx = far_kx + 32'd1;
    end

    // COLUMNS positions on.
    reg [31:0] far_row, far_column;
    integer place;
    always @* begin
        far_row = row;
        far_column = column;
        for (place = 0; place < COLUMNS; place = place + 1)
            if (far_column + 32'd1 == width) begin
                far_column = 32'd0;
                far_row = far_row + 32'd1;
            end else far_column = far_column + 32'd1;
    end

    reg [31:0] left;
    wire [31:0] outputs_left = outputs - output_offset;
    wire [31:0] rows_left = left < outputs_left ? left : outputs_left;
    assign rows_used = rows_left < ROWS ? rows_left : ROWS;
    wire [31:0] columns_left = positions - position;
    assign columns_used = columns_left < COLUMNS ? columns_left : COLUMNS;

    wire plane_last = {1'b0, plane} + 4'd1 == bits;
    wire channel_last = over_taps ? channel + 32'd1 == channels : channel + LANES >= channels;
    wire tap_last = over_taps ? tap + LANES >= taps : tap + 32'd1 == taps;
    wire row_end = kx + 32'd1 == kernel_width;

    assign step_first = plane == 3'd0;
    assign block_last = plane_last && channel_last && tap_last;

    wire position_last = columns_left <= COLUMNS;
    wire output_last = rows_used == outputs_left;

    always @(posedge clock) begin
        if (reset) busy <= 1'b0;
        else if (start) begin
            busy <= 1'b1;
            plane <= 3'd0;
            group <= group_first;
            left <= group_left;
            output_offset <= 32'd0;
            position <= 32'd0;
            row <= 32'd0;
            column <= 32'd0;
            ky <= 32'd0;
            kx <= 32'd0;
            tap <= 32'd0;
            channel <= 32'd0;
            block_first <= 1'b1;
        end else if (busy && advance) begin
            block_first <= block_last;
            plane <= plane_last ? 3'd0 : plane + 3'd1;
            if (plane_last && over_taps) begin
                tap <= tap_last ? 32'd0 : tap + LANES;
                ky <= tap_last ? 32'd0 : far_ky;
                kx <= tap_last ? 32'd0 : far_kx;
                if (tap_last) channel <= channel_last ? 32'd0 : channel + 32'd1;
            end
            if (plane_last && !over_taps) begin
                channel <= channel_last ? 32'd0 : channel + LANES;
                if (channel_last) begin
                    tap <= tap_last ? 32'd0 : tap + 32'd1;
                    kx <= row_end ? 32'd0 : kx + 32'd1;
                    ky <= tap_last ? 32'd0 : row_end ? ky + 32'd1 : ky;
                end
            end
            if (block_last) begin
                position <= position_last ? 32'd0 : position + COLUMNS;
                row <= position_last ? 32'd0 : far_row;
                column <= position_last ? 32'd0 : far_column;
                if (position_last) begin
                    output_offset <= output_offset + rows_used;
                    left <= left == rows_used ? group_outputs : left - rows_used;
                    if (left == rows_used) group <= group + 32'd1;
                    if (output_last) busy <= 1'b0;
                end
            end
        end
    end
endmodule

`default_nettype wire
