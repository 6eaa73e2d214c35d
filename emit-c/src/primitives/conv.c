#ifdef __ARM_FEATURE_DSP
#include <arm_acle.h>

/* Bytes 1 and 3 of a word as numbers of 16 bits. */
static uint32_t odd_codes(uint32_t word)
{
    return (uint32_t)__uxtb16((uint8x4_t)(word >> 8));
}

static int16x2_t odd_weights(uint32_t word)
{
#ifdef __GNUC__
    int16x2_t odd;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    return odd;
#else
    return __sxtb16((int8x4_t)(word >> 8 | word << 24));
#endif
}

/* A word of four weights times the codes of a word: values 0 and 2 in one instruction, then 1 and 3. */
static uint32_t products(uint32_t sum, uint32_t even, uint32_t odd, const int8_t *w)
{
    uint32_t word;
    memcpy(&word, w, sizeof word);
    sum = (uint32_t)__smlad((int16x2_t)even, __sxtb16((int8x4_t)word), (int32_t)sum);
    return (uint32_t)__smlad((int16x2_t)odd, odd_weights(word), (int32_t)sum);
}
#endif

/* sums[i] += the sum of q * w[i][from..] over `count` values, for four outputs at the same time. */
static void dot(const uint8_t *q, const int8_t *const w[4], uint32_t from, uint32_t count, uint32_t sums[4])
{
    const int8_t *w0 = w[0] + from, *w1 = w[1] + from, *w2 = w[2] + from, *w3 = w[3] + from;
    uint32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const uint8_t *const end = q + count;
#ifdef __ARM_FEATURE_DSP
    while (end - q >= 4) {
        uint32_t codes, even, odd;
        memcpy(&codes, q, sizeof codes);
        even = (uint32_t)__uxtb16((uint8x4_t)codes);
        odd = odd_codes(codes);
        s0 = products(s0, even, odd, w0);
        s1 = products(s1, even, odd, w1);
        s2 = products(s2, even, odd, w2);
        s3 = products(s3, even, odd, w3);
        q += 4, w0 += 4, w1 += 4, w2 += 4, w3 += 4;
    }
#endif
    while (q != end) {
        const int32_t code = *q++;
        s0 += (uint32_t)(code * *w0++);
        s1 += (uint32_t)(code * *w1++);
        s2 += (uint32_t)(code * *w2++);
        s3 += (uint32_t)(code * *w3++);
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

/* The same for `count` values of padding, which hold z. */
static void pad(int32_t z, const int8_t *const w[4], uint32_t from, uint32_t count, uint32_t sums[4])
{
    uint32_t i, lane;
    if (z == 0)
        return;
    for (i = from; i < from + count; i++)
        for (lane = 0; lane < 4; lane++)
            sums[lane] += (uint32_t)(z * w[lane][i]);
}

/* One window: `channel` is the first of the group. */
static void window_sums(const struct layer *layer, const uint8_t *x, uint32_t channel, uint32_t row, uint32_t column,
                        const int8_t *const w[4], uint32_t sums[4])
{
    const struct window *window = &layer->window;
    const uint32_t inputs = layer->channels / layer->groups, taps = window->kernel[1];
    const int32_t width = (int32_t)layer->width, left = under(window, 1, column, 0);
    uint32_t ky, kx;
    for (ky = 0; ky < window->kernel[0]; ky++) {
        const int32_t r = under(window, 0, row, ky);
        const uint32_t from = ky * taps * inputs;
        const uint8_t *line;
        if (r < 0 || r >= (int32_t)layer->height) {
            pad(layer->z, w, from, taps * inputs, sums);
            continue;
        }
        line = x + (size_t)r * layer->width * layer->channels + channel;
        if (layer->groups == 1 && window->dilation[1] == 1) {
            /* The cells inside lie one behind the other. */
            int32_t begin = left < 0 ? -left : 0, end = width - left;
            begin = begin < (int32_t)taps ? begin : (int32_t)taps;
            end = end < (int32_t)taps ? end : (int32_t)taps;
            end = end > begin ? end : begin;
            pad(layer->z, w, from, (uint32_t)begin * inputs, sums);
            if (end > begin)
                dot(line + (size_t)(left + begin) * inputs, w, from + (uint32_t)begin * inputs,
                    (uint32_t)(end - begin) * inputs, sums);
            pad(layer->z, w, from + (uint32_t)end * inputs, (taps - (uint32_t)end) * inputs, sums);
            continue;
        }
        for (kx = 0; kx < taps; kx++) {
            const int32_t s = under(window, 1, column, kx);
            if (s < 0 || s >= width)
                pad(layer->z, w, from + kx * inputs, inputs, sums);
            else
                dot(line + (size_t)s * layer->channels, w, from + kx * inputs, inputs, sums);
        }
    }
}

/* Rows of `scratch` that are unpacked at the same time. */
enum { LANES = 4 };

/* Codes, or where `codes` is null floats: channels first, or in the order of codes. */
static void conv(const struct layer *layer, const uint8_t *x, uint8_t *codes, float *floats, int channels_first)
{
    const struct window *window = &layer->window;
    const uint32_t inputs = layer->channels / layer->groups, outputs = layer->outputs / layer->groups;
    const uint32_t depth = window->kernel[0] * window->kernel[1] * inputs;
    const uint32_t plane = layer->y_height * layer->y_width;
    const float low = layer->low, high = layer->high;
    const int32_t y_z = layer->y_z;
    uint32_t first, count, row, column, lane;
    for (first = 0; first < layer->outputs; first += count) {
        const uint32_t group = first / outputs;
        const int8_t *w[LANES];
        count = (group + 1) * outputs - first;
        count = count < LANES ? count : LANES;
        for (lane = 0; lane < LANES; lane++)
            w[lane] = lane < count ? row_of(layer, first + lane, depth, lane * depth) : w[0];
        for (row = 0; row < layer->y_height; row++) {
            for (column = 0; column < layer->y_width; column++) {
                const uint32_t position = row * layer->y_width + column;
                uint32_t sums[LANES] = {0, 0, 0, 0};
                for (lane = 0; lane < count; lane++)
                    sums[lane] = (uint32_t)layer->biases[first + lane];
                window_sums(layer, x, group * inputs, row, column, w, sums);
                for (lane = 0; lane < count; lane++) {
                    const uint32_t output = first + lane;
                    const float v = (float)(int32_t)sums[lane] * layer->multipliers[output];
                    if (codes)
                        codes[position * layer->outputs + output] = requantize(v, low, high, y_z);
                    else if (channels_first)
                        floats[output * plane + position] = v;
                    else
                        floats[position * layer->outputs + output] = v;
                }
            }
        }
    }
}
