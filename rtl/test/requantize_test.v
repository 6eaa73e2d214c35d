// Replays the lines of `requantize_vectors`: plusarg +vectors=FILE. Ends with $fatal on the first difference.
`default_nettype none

module requantize_test (
    input wire clock
);
    reg  [31:0] accumulator = 0, multiplier = 0, expected_value = 0;
    reg  [7:0]  zero_point = 0, lo = 0, hi = 0, expected_code = 0;
    wire [31:0] value;
    wire [7:0]  code;
    reg  [8*256-1:0] name;
    integer file = 0, fields = 0, count = 0;
    reg     [31:0] a, m, v;
    reg     [7:0]  z, l, h, q;

    requantize dut (
        .accumulator(accumulator), .multiplier(multiplier), .zero_point(zero_point), .lo(lo), .hi(hi),
        .value(value), .code(code)
    );

    initial begin
        if (!$value$plusargs("vectors=%s", name)) $fatal(1, "+vectors=FILE is required");
        file = $fopen(name, "r");
        if (file == 0) $fatal(1, "no vectors at %0s", name);
    end

    always @(posedge clock) begin
        if (count > 0 && (value !== expected_value || code !== expected_code))
            $fatal(1, "vector %0d: %h * %h z %h lo %h hi %h: value %h code %h, expected %h %h", count,
                accumulator, multiplier, zero_point, lo, hi, value, code, expected_value, expected_code);
        fields = $fscanf(file, "%h %h %h %h %h %h %h\n", a, m, z, l, h, v, q);
        if (fields == 7) begin
            accumulator <= a;
            multiplier <= m;
            zero_point <= z;
            lo <= l;
            hi <= h;
            expected_value <= v;
            expected_code <= q;
            count = count + 1;
        end else begin
            if (count < 100000 || !$feof(file)) $fatal(1, "vectors end after %0d", count);
            $display("requantize: %0d vectors equal", count);
            $finish;
        end
    end
endmodule

`default_nettype wire
