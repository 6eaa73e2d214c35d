/* Vectors for sums and quotients, by the C compiler's IEEE single precision: shares nothing with the Verilog.
 *
 * One a line, hexadecimal: a b a+b a/b. Operands are finite, b is not 0; what lies below the normal range counts as 0. */
#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 0x9e3779b97f4a7c15u;

static uint32_t next(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t shown(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return fabsf(f) < 0x1p-126f ? u & 0x80000000u : u;
}

static long written;

static void emit(uint32_t a, uint32_t b) {
    volatile float sum = float_of(a) + float_of(b), quotient = float_of(a) / float_of(b);
    printf("%08x %08x %08x %08x\n", a, b, shown(sum), shown(quotient));
    written++;
}

int main(int argc, char **argv) {
    long many = argc > 1 ? atol(argv[1]) : 200000;
    fesetround(FE_TONEAREST);
    const uint32_t corners[] = {0x3f800000, 0xbf800000, 0x3f800001, 0x3f7fffff, 0x40000000, 0x3f000000, 0x34000000, 0x33800000,
                                0x33800001, 0x33000000, 0xb3800000, 0xb3000000, 0x4b800000, 0x4b7fffff, 0x4bffffff, 0x7f7fffff,
                                0xff7fffff, 0x00800000, 0x00800001, 0x80800000, 0x40400000, 0x40a00000, 0x437f0000, 0x2b800000,
                                0x49800000, 0x3eaaaaab};
    const size_t count = sizeof corners / sizeof *corners;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) emit(corners[i], corners[j]);
    for (size_t j = 0; j < count; j++) emit(0, corners[j]), emit(0x80000000, corners[j]);
    while (written < many) {
        uint32_t a = next(), b = next();
        uint32_t exponent = 127 - 40 + next() % 68;
        switch (next() % 5) {
        case 0: /* any finite operands */
            break;
        case 1: /* near each other: cancellation */
            a = (a & 0x80000000) | exponent << 23 | (a & 0x7fffff);
            b = (a ^ 0x80000000) + next() % 9 - 4;
            break;
        case 2: /* up to 30 places apart */
            a = (a & 0x80000000) | exponent << 23 | (a & 0x7fffff);
            b = (b & 0x80000000) | (exponent - next() % 31) << 23 | (b & 0x7fffff);
            break;
        case 3: /* few bits: ties */
            a = (a & 0x80000000) | exponent << 23 | (a & 0x700000);
            b = (b & 0x80000000) | (exponent - 20 - next() % 8) << 23 | (b & 0x7c0000);
            break;
        default: { /* a multiplier and a number of cells */
            volatile float cells = (float)(1 + next() % (1u << (next() % 26)));
            a = exponent << 23 | (a & 0x7fffff);
            memcpy(&b, (const void *)&cells, sizeof b);
        }
        }
        int normal = (a >> 23 & 255) != 255 && (b >> 23 & 255) != 255 && (a >> 23 & 255) != 0 && (b >> 23 & 255) != 0;
        if (normal) emit(a, b);
    }
    fprintf(stderr, "%ld vectors\n", written);
    return 0;
}
