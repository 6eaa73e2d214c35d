// The array against an integer model: random codes of every width, the one code that only a foreign writer makes included.
`default_nettype none

module array_test #(
    parameter ROWS = 4,
    parameter COLUMNS = 3,
    parameter LANES = 8,
    parameter BLOCKS = 20
) (
    input wire clock
);
    reg enable = 1'b0, first = 1'b0;
    reg [2:0] plane = 3'd0;
    reg [3:0] bits = 4'd2;
    reg [ROWS*LANES-1:0] weights = 0;
    reg [COLUMNS*LANES*8-1:0] activations = 0;
    wire [ROWS*COLUMNS*32-1:0] products;

    array #(.ROWS(ROWS), .COLUMNS(COLUMNS), .LANES(LANES)) dut (
        .clock(clock), .enable(enable), .first(first), .plane(plane), .bits(bits),
        .weights(weights), .activations(activations), .products(products)
    );

    integer w [0:ROWS*LANES-1];
    integer x [0:COLUMNS*LANES-1];
    integer expected [0:ROWS*COLUMNS-1];
    integer k = 2, block = 0, step = 0, p = 0, checked = 0;
    // 0 draws and drives a plane, 1 waits a cycle, 2 compares.
    integer state = 0;
    integer r, c, l, field, steps, found;

    task draw;
        begin
            for (r = 0; r < ROWS*LANES; r = r + 1) begin
                w[r] = ($random & ((1 << k) - 1)) - (1 << (k - 1));
                if (block == 0) w[r] = -(1 << (k - 1));
                if (block == 1) w[r] = (1 << (k - 1)) - 1;
            end
            for (c = 0; c < COLUMNS*LANES; c = c + 1) x[c] = block < 2 ? 255 : $random & 255;
            for (r = 0; r < ROWS; r = r + 1)
                for (c = 0; c < COLUMNS; c = c + 1) begin
                    if (step == 0) expected[r*COLUMNS + c] = 0;
                    for (l = 0; l < LANES; l = l + 1)
                        expected[r*COLUMNS + c] = expected[r*COLUMNS + c] + w[r*LANES + l] * x[c*LANES + l];
                end
        end
    endtask

    always @(posedge clock) begin
        steps = 1 + block % 5;
        enable <= 1'b0;
        if (state == 0) begin
            if (p == 0) draw;
            for (r = 0; r < ROWS*LANES; r = r + 1) begin
                field = k < 8 ? w[r] + (1 << (k - 1)) : w[r];
                weights[r] <= ((field >> p) & 1) == 1;
            end
            for (c = 0; c < COLUMNS*LANES; c = c + 1) activations[8*c +: 8] <= x[c][7:0];
            enable <= 1'b1;
            first <= step == 0 && p == 0;
            plane <= p[2:0];
            bits <= k[3:0];
            p = p + 1;
            if (p == k) begin
                p = 0;
                step = step + 1;
            end
            if (step == steps) state = 1;
            // A pause holds the sums.
            else if (block % 3 == 2 && p == 1) state = 3;
        end else if (state == 1) begin
            state = 2;
        end else if (state == 3) begin
            state = 0;
        end else begin
            for (c = 0; c < ROWS*COLUMNS; c = c + 1) begin
                found = products[32*c +: 32];
                if (found !== expected[c])
                    $fatal(1, "width %0d block %0d element %0d: %0d, expected %0d", k, block, c, found, expected[c]);
            end
            checked = checked + ROWS*COLUMNS;
            state = 0;
            step = 0;
            block = block + 1;
            if (block == BLOCKS) begin
                block = 0;
                k = k + 1;
            end
            if (k == 9) begin
                $display("array %0d x %0d x %0d: %0d sums equal at widths 2 to 8", ROWS, COLUMNS, LANES, checked);
                $finish;
            end
        end
    end
endmodule

`default_nettype wire
