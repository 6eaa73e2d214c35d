/* Runs samples from a file of the host by semihosting, writes what the network yields, and counts instructions: the
 * SysTick of these boards counts at 25 MHz, and `-icount shift=0` lets an instruction take 1 ns. */
#include HEADER
#include <stdio.h>
#include <stdint.h>

static volatile uint32_t *const systick = (volatile uint32_t *)0xe000e010u;
static float x[INPUTS], y[OUTPUTS];

int main(void)
{
    FILE *in = fopen("x.bin", "rb"), *out = fopen("y.bin", "wb");
    unsigned long samples = 0;
    unsigned long long ticks = 0;
    if (!in || !out)
        return 2;
    systick[1] = 0xffffffu;
    systick[2] = 0;
    systick[0] = 5;
    while (fread(x, sizeof x, 1, in) == 1) {
        const uint32_t before = systick[2];
        if (RUN(x, y) != 0)
            return 1;
        ticks += (before - systick[2]) & 0xffffffu;
        fwrite(y, sizeof y, 1, out);
        samples++;
    }
    fclose(out);
    printf("%lu %llu\n", samples, samples ? ticks * 40 / samples : 0);
    return 0;
}
