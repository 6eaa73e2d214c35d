/* A convolution of each channel by itself, four channels at the same time; their number is a multiple of four.
 * `scratch` holds the codes of four channels tap by tap, behind them those of one channel. */
static void depthwise(const struct layer *layer, const uint8_t *x, uint8_t *codes)
{
    const struct window *window = &layer->window;
    const uint32_t channels = layer->channels, width = layer->width;
    const uint32_t rows = window->kernel[0], columns = window->kernel[1], step = window->dilation[1];
    const float low = layer->low, high = layer->high;
    const int32_t z = layer->z, y_z = layer->y_z;
    uint32_t first, row, column, ky, kx, tap, lane;
    for (first = 0; first < channels; first += 4) {
        const int32_t *biases = layer->biases + first;
        const float *multipliers = layer->multipliers + first;
        uint8_t *y = codes + first;
        for (lane = 0; lane < 4; lane++) {
            const int8_t *of_channel = row_of(layer, first + lane, rows * columns, 4 * rows * columns);
            for (tap = 0; tap < rows * columns; tap++)
                scratch[4 * tap + lane] = of_channel[tap];
        }
        for (row = 0; row < layer->y_height; row++) {
            for (column = 0; column < layer->y_width; column++) {
                const int32_t left = under(window, 1, column, 0);
                const int8_t *w = scratch;
                uint32_t s0 = (uint32_t)biases[0], s1 = (uint32_t)biases[1];
                uint32_t s2 = (uint32_t)biases[2], s3 = (uint32_t)biases[3];
                for (ky = 0; ky < rows; ky++) {
                    const int32_t r = under(window, 0, row, ky);
                    /* Columns are compared without a sign: those in front of the image are too large. */
                    const uint32_t end = r >= 0 && r < (int32_t)layer->height ? width : 0;
                    const uint8_t *line = x + (end ? (size_t)r * width * channels + first : 0);
                    uint32_t s = (uint32_t)left;
                    for (kx = 0; kx < columns; kx++, s += step, w += 4) {
                        if (s < end) {
                            const uint8_t *q = line + (size_t)s * channels;
                            s0 += (uint32_t)(q[0] * w[0]);
                            s1 += (uint32_t)(q[1] * w[1]);
                            s2 += (uint32_t)(q[2] * w[2]);
                            s3 += (uint32_t)(q[3] * w[3]);
                        } else if (z) {
                            s0 += (uint32_t)(z * w[0]);
                            s1 += (uint32_t)(z * w[1]);
                            s2 += (uint32_t)(z * w[2]);
                            s3 += (uint32_t)(z * w[3]);
                        }
                    }
                }
                y[0] = requantize((float)(int32_t)s0 * multipliers[0], low, high, y_z);
                y[1] = requantize((float)(int32_t)s1 * multipliers[1], low, high, y_z);
                y[2] = requantize((float)(int32_t)s2 * multipliers[2], low, high, y_z);
                y[3] = requantize((float)(int32_t)s3 * multipliers[3], low, high, y_z);
                y += channels;
            }
        }
    }
}
