/* A code for each code; `channels` tables one after the other. */
static void look_up(const uint8_t *x, uint8_t *y, uint32_t len, uint32_t channels, const uint8_t *table)
{
    uint32_t i, c = 0;
    for (i = 0; i < len; i++) {
        y[i] = table[256u * c + x[i]];
        c = c + 1 == channels ? 0 : c + 1;
    }
}
