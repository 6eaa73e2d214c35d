/* A multiplier and an addend a channel. */
static void affine(const uint8_t *x, uint8_t *y, uint32_t len, uint32_t channels, const float *multipliers,
                   const float *addends, int32_t x_z, int32_t y_z, int32_t lo, int32_t hi)
{
    uint32_t i, c = 0;
    for (i = 0; i < len; i++) {
        y[i] = requantize(rounded(offset(x[i], x_z) * multipliers[c]) + addends[c], y_z, lo, hi);
        c = c + 1 == channels ? 0 : c + 1;
    }
}
