/* The mean under the window: of the cells inside the image, or with `all` divided by the number of all. */
static void average_pool(const struct pool *pool, float multiplier, int all, const uint8_t *x, uint8_t *y)
{
    const struct window *window = &pool->window;
    uint32_t row, column, c, ky, kx, rows[2], columns[2];
    for (row = 0; row < pool->y_height; row++) {
        inside(window, 0, row, pool->height, rows);
        for (column = 0; column < pool->y_width; column++) {
            uint32_t cells = window->kernel[0] * window->kernel[1];
            float factor;
            inside(window, 1, column, pool->width, columns);
            if (!all) {
                const uint32_t taken = rows[1] > rows[0] && columns[1] > columns[0];
                cells = taken ? (rows[1] - rows[0]) * (columns[1] - columns[0]) : 1;
            }
            factor = multiplier / (float)cells;
            for (c = 0; c < pool->channels; c++) {
                uint32_t sum = 0;
                for (ky = rows[0]; ky < rows[1]; ky++)
                    for (kx = columns[0]; kx < columns[1]; kx++)
                        sum += (uint32_t)(cell(pool, x, row, column, ky, kx)[c] - pool->z);
                *y++ = requantize((float)(int32_t)sum * factor, pool->low, pool->high, pool->y_z);
            }
        }
    }
}
