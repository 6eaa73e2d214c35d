/* A convolution or a fully connected layer. */
struct layer {
    const uint8_t *weights;   /* a row of codes an output, in the order of the window's values */
    const int32_t *biases;    /* one an output */
    const float *multipliers; /* one an output */
    struct window window;
    uint32_t height, width, channels;       /* of the input */
    uint32_t y_height, y_width, outputs;    /* of the result */
    uint32_t groups, bits;
    int32_t z;                              /* zero point of the input: what padding holds */
    int32_t y_z;                            /* of the result, where it holds codes, */
    float low, high;                        /* which are clamped to so many steps from y_z */
};

/* Codes of `bits` bits, from the lowest bit up, each stored as code + 2^(bits - 1). */
static void unpack(const uint8_t *packed, uint32_t count, uint32_t bits, int8_t *codes)
{
    const uint32_t mask = (1u << bits) - 1u;
    const int32_t shift = 1 << (bits - 1);
    uint32_t held = 0, buffer = 0, i;
    for (i = 0; i < count; i++) {
        if (held < bits) {
            buffer |= (uint32_t)*packed++ << held;
            held += 8;
        }
        codes[i] = (int8_t)((int32_t)(buffer & mask) - shift);
        buffer >>= bits;
        held -= bits;
    }
}

/* The `depth` codes of an output: in place where they are bytes, else unpacked to `scratch` from `at` on. */
static const int8_t *row_of(const struct layer *layer, uint32_t output, uint32_t depth, uint32_t at)
{
    const size_t bytes = (depth * layer->bits + 7u) / 8u;
    const uint8_t *packed = layer->weights + output * bytes;
    if (layer->bits == 8)
        return (const int8_t *)packed;
    unpack(packed, depth, layer->bits, scratch + at);
    return scratch + at;
}
