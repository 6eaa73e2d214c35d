// The clock of a test bench under Verilator: runs until $finish; $fatal ends the process with an error.
#include <cstdio>
#include <memory>

#include "Vbench.h"
#include "verilated.h"

int main(int argc, char **argv) {
    auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(argc, argv);
    auto bench = std::make_unique<Vbench>(context.get());
    while (!context->gotFinish()) {
        bench->clock = !bench->clock;
        bench->eval();
        context->timeInc(1);
    }
    bench->final();
    return context->gotError() ? 1 : 0;
}
