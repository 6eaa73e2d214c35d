/* Vectors for the requantizer, by the C compiler's IEEE single precision: shares nothing with the Verilog.
 *
 * One a line, hexadecimal: accumulator multiplier zero_point lo hi value code.
 * The formulas are those of docs/quantization.md, in their order: convert, multiply, clamp, round, add. */
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

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static long written;

static void emit(int32_t accumulator, uint32_t multiplier, int z, int lo, int hi) {
    volatile float converted = (float)accumulator;
    volatile float value = converted * float_of(multiplier);
    float low = (float)(lo - z), high = (float)(hi - z);
    float t = value > low ? value : low; /* a NaN is not above */
    t = t < high ? t : high;
    int code = (int)nearbyintf(t) + z;
    /* Subnormal operands and results count as 0 in the value; the code is the same either way. */
    int subnormal = fabsf(value) < 0x1p-126f || (multiplier & 0x7f800000) == 0;
    uint32_t shown = isnan(value) ? 0x7fc00000u : subnormal ? bits_of(value) & 0x80000000u : bits_of(value);
    printf("%08x %08x %02x %02x %02x %08x %02x\n", (uint32_t)accumulator, multiplier, (unsigned)z, (unsigned)lo,
           (unsigned)hi, shown, (unsigned)code);
    written++;
}

static void clamps(int *z, int *lo, int *hi) {
    *z = next() & 3 ? (int)(next() & 255) : 0;
    *lo = 0, *hi = 255;
    if (next() & 1) *lo = *z; /* ReLU */
    if (next() % 3 == 0) {
        int a = (int)(next() & 255), b = (int)(next() & 255);
        *lo = a < b ? a : b, *hi = a < b ? b : a;
    }
}

int main(int argc, char **argv) {
    long many = argc > 1 ? atol(argv[1]) : 200000;
    fesetround(FE_TONEAREST);
    const int32_t corners[] = {0, 1, -1, 2, -2, 3, -3, 5, 127, -128, 255, 256, 510, 511, 513, 16777215, 16777216, 16777217,
                               16777218, 16777219, 16777221, -16777217, -16777219, 33554431, 33554434, 33554433, 33554438,
                               2147483647, -2147483647, INT32_MIN, 2147483584, 2147483583, 2147483520, 1073741823, -1073741855};
    const uint32_t multipliers[] = {
        0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x3f000000, 0x3e800000, 0x3f400000, 0x3fc00000, 0x2b800000 /* 2^-40 */,
        0x49800000 /* 2^20 */, 0x3f7fffff, 0x3f800001, 0x00000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000,
        0x7fc00000, 0x7f800001, 0xffc12345, 0x3b000000, 0x3c23d70a, 0x33800000, 0x34000000, 0x4b000000};
    const int triples[][3] = {{0, 0, 255}, {128, 0, 255}, {255, 0, 255}, {128, 128, 255}, {3, 7, 7}, {200, 0, 0}, {0, 255, 255}, {255, 0, 1}};
    for (size_t i = 0; i < sizeof corners / sizeof *corners; i++)
        for (size_t j = 0; j < sizeof multipliers / sizeof *multipliers; j++)
            for (size_t k = 0; k < sizeof triples / sizeof *triples; k++)
                emit(corners[i], multipliers[j], triples[k][0], triples[k][1], triples[k][2]);
    while (written < many) {
        int z, lo, hi;
        clamps(&z, &lo, &hi);
        int32_t accumulator = (int32_t)next() >> (next() % 32);
        uint32_t multiplier;
        switch (next() % 4) {
        case 0: /* any multiplier of an artifact: [2^-40, 2^20] */
            multiplier = (127 - 40 + next() % 60) << 23 | (next() & 0x7fffff);
            break;
        case 1: /* results about the codes */
            multiplier = bits_of((float)(next() % 600) / (float)(1 + (accumulator & 0x7fffffff)));
            break;
        case 2: /* ties: odd integers times a power of two */
            accumulator = (int32_t)(next() % 4096) - 2048;
            multiplier = (127 - next() % 6) << 23;
            break;
        default: /* a unit in the last place beside a tie */
            accumulator = (int32_t)(next() % 1024) - 512;
            multiplier = ((127 - next() % 4) << 23) + next() % 3 - 1;
        }
        emit(accumulator, multiplier, z, lo, hi);
    }
    fprintf(stderr, "%ld vectors\n", written);
    return 0;
}
