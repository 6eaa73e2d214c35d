// Replays the lines of `float_vectors`: plusarg +vectors=FILE. Ends with $fatal on the first difference.
`default_nettype none

module float_test (
    input wire clock
);
    reg  [31:0] a = 0, b = 0, expected_sum = 0, expected_quotient = 0;
    wire [31:0] sum, quotient;
    reg  [8*256-1:0] name;
    integer file = 0, fields = 0, count = 0;
    reg     [31:0] left, right, s, q;

    float_add add (.a(a), .b(b), .result(sum));
    float_divide divide (.a(a), .b(b), .result(quotient));

    initial begin
        if (!$value$plusargs("vectors=%s", name)) $fatal(1, "+vectors=FILE is required");
        file = $fopen(name, "r");
        if (file == 0) $fatal(1, "no vectors at %0s", name);
    end

    always @(posedge clock) begin
        if (count > 0 && (sum !== expected_sum || quotient !== expected_quotient))
            $fatal(1, "vector %0d: %h and %h: sum %h quotient %h, expected %h %h", count, a, b, sum, quotient,
                expected_sum, expected_quotient);
        fields = $fscanf(file, "%h %h %h %h\n", left, right, s, q);
        if (fields == 4) begin
            a <= left;
            b <= right;
            expected_sum <= s;
            expected_quotient <= q;
            count = count + 1;
        end else begin
            if (count < 100000 || !$feof(file)) $fatal(1, "vectors end after %0d", count);
            $display("sums and quotients: %0d vectors equal", count);
            $finish;
        end
    end
endmodule

`default_nettype wire
