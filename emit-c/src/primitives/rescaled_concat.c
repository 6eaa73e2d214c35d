/* As `part`, for codes of another scale. */
static void rescaled_part(const uint8_t *x, uint8_t *y, uint32_t outer, uint32_t len, uint32_t step, float multiplier,
                          int32_t x_z, float low, float high, int32_t y_z)
{
    uint32_t i, o;
    for (o = 0; o < outer; o++)
        for (i = 0; i < len; i++)
            y[(size_t)o * step + i] =
                requantize(offset(x[(size_t)o * len + i], x_z) * multiplier, low, high, y_z);
}
