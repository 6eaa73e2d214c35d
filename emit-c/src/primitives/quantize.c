/* Floats to codes; from channels first (`plane` values a channel) to channels last, or in their order where
 * `channels` is 1. */
static void quantize(const float *x, uint8_t *y, uint32_t plane, uint32_t channels, float inv_scale, int32_t z)
{
    const float low = (float)-z, high = (float)(255 - z);
    uint32_t i, c;
    for (c = 0; c < channels; c++)
        for (i = 0; i < plane; i++)
            y[(size_t)i * channels + c] = requantize(*x++ * inv_scale, low, high, z);
}
