/* Codes to floats, channels first, or in their order where `channels` is 1. */
static void dequantize(const uint8_t *x, float *y, uint32_t plane, uint32_t channels, float scale, int32_t z)
{
    uint32_t i, c;
    for (c = 0; c < channels; c++)
        for (i = 0; i < plane; i++)
            *y++ = offset(x[(size_t)i * channels + c], z) * scale;
}
