/* The greatest code under the window, within lo..hi; padding is never it. */
static void max_pool(const struct pool *pool, const uint8_t *x, uint8_t *y)
{
    uint32_t row, column, c, ky, kx, rows[2], columns[2];
    for (row = 0; row < pool->y_height; row++) {
        inside(&pool->window, 0, row, pool->height, rows);
        for (column = 0; column < pool->y_width; column++) {
            inside(&pool->window, 1, column, pool->width, columns);
            for (c = 0; c < pool->channels; c++) {
                int32_t most = 0;
                for (ky = rows[0]; ky < rows[1]; ky++)
                    for (kx = columns[0]; kx < columns[1]; kx++) {
                        const int32_t q = cell(pool, x, row, column, ky, kx)[c];
                        most = q > most ? q : most;
                    }
                most = most > pool->lo ? most : pool->lo;
                *y++ = (uint8_t)(most < pool->hi ? most : pool->hi);
            }
        }
    }
}
