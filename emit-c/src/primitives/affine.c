/* A multiplier and an addend a channel. */
static void affine(const uint8_t *x, uint8_t *y, uint32_t len, uint32_t channels, const float *multipliers,
                   const float *addends, int32_t x_z, float low, float high, int32_t y_z)
{
    uint32_t i, c = 0;
    for (i = 0; i < len; i++) {
        y[i] = requantize(rounded(offset(x[i], x_z) * multipliers[c]) + addends[c], low, high, y_z);
        c = c + 1 == channels ? 0 : c + 1;
    }
}
