/* The same for pixels: the code of each level is known, for all channels or for each (`tables` of them). Where
 * pixels come in the order of codes, `last` says so. */
static void quantize_pixels(const uint8_t *pixels, uint8_t *y, uint32_t plane, uint32_t channels, int last,
                            const uint8_t *table, uint32_t tables)
{
    uint32_t i, c;
    for (c = 0; c < channels; c++) {
        const uint8_t *codes = table + (tables == 1 ? 0u : 256u * c);
        for (i = 0; i < plane; i++) {
            const size_t to = (size_t)i * channels + c, from = last ? to : (size_t)c * plane + i;
            y[to] = codes[pixels[from]];
        }
    }
}
