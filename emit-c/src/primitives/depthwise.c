/* A convolution of each channel by itself, four channels at the same time. `scratch` holds the codes of four
 * channels tap by tap, behind them those of one channel. */
static void depthwise(const struct layer *layer, const uint8_t *x, uint8_t *codes)
{
    const struct window *window = &layer->window;
    const uint32_t channels = layer->channels, taps = window->kernel[0] * window->kernel[1];
    int8_t *const weights = scratch;
    uint32_t first, row, column, ky, kx, tap, lane;
    for (first = 0; first < channels; first += 4) {
        const uint32_t count = channels - first < 4 ? channels - first : 4;
        for (lane = 0; lane < count; lane++) {
            const int8_t *codes_of = row_of(layer, first + lane, taps, 4 * taps);
            for (tap = 0; tap < taps; tap++)
                weights[4 * tap + lane] = codes_of[tap];
        }
        for (row = 0; row < layer->y_height; row++) {
            for (column = 0; column < layer->y_width; column++) {
                const int8_t *w = weights;
                uint8_t *y = codes + (size_t)(row * layer->y_width + column) * channels + first;
                uint32_t sums[4] = {0, 0, 0, 0};
                for (lane = 0; lane < count; lane++)
                    sums[lane] = (uint32_t)layer->biases[first + lane];
                for (ky = 0; ky < window->kernel[0]; ky++) {
                    const int32_t r = under(window, 0, row, ky);
                    const int inside = r >= 0 && r < (int32_t)layer->height;
                    for (kx = 0; kx < window->kernel[1]; kx++, w += 4) {
                        const int32_t s = under(window, 1, column, kx);
                        if (inside && s >= 0 && s < (int32_t)layer->width) {
                            const uint8_t *q = x + ((size_t)r * layer->width + (size_t)s) * channels + first;
                            if (count == 4) {
                                sums[0] += (uint32_t)(q[0] * w[0]);
                                sums[1] += (uint32_t)(q[1] * w[1]);
                                sums[2] += (uint32_t)(q[2] * w[2]);
                                sums[3] += (uint32_t)(q[3] * w[3]);
                            } else {
                                for (lane = 0; lane < count; lane++)
                                    sums[lane] += (uint32_t)(q[lane] * w[lane]);
                            }
                        } else {
                            for (lane = 0; lane < count; lane++)
                                sums[lane] += (uint32_t)(layer->z * w[lane]);
                        }
                    }
                }
                for (lane = 0; lane < count; lane++)
                    y[lane] = requantize((float)(int32_t)sums[lane] * layer->multipliers[first + lane],
                                         layer->y_z, layer->lo, layer->hi);
            }
        }
    }
}
