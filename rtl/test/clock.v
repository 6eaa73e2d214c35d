// The clock of a test bench under Icarus; under Verilator main.cpp is it.
`timescale 1ns / 1ps

module clock_source;
    reg clock = 1'b0;
    always #1 clock = !clock;
    `BENCH #(`PARAMETERS) bench (.clock(clock));
endmodule
