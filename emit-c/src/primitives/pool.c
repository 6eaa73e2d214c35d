/* A pool over rows and columns of each channel. */
struct pool {
    struct window window;
    uint32_t height, width, channels, y_height, y_width;
    int32_t z, y_z;
    float low, high; /* steps from y_z */
    int32_t lo, hi;  /* the codes of these */
};

/* The tap range [begin, end) of an axis that lies inside the image. */
static void inside(const struct window *window, uint32_t axis, uint32_t at, uint32_t size, uint32_t range[2])
{
    uint32_t tap;
    range[0] = range[1] = 0;
    for (tap = 0; tap < window->kernel[axis]; tap++) {
        const int32_t i = under(window, axis, at, tap);
        if (i < 0)
            range[0] = tap + 1;
        if (i < (int32_t)size)
            range[1] = tap + 1;
    }
}

/* The first code of the cell under a tap. */
static const uint8_t *cell(const struct pool *pool, const uint8_t *x, uint32_t row, uint32_t column, uint32_t ky,
                           uint32_t kx)
{
    const size_t r = (size_t)under(&pool->window, 0, row, ky), s = (size_t)under(&pool->window, 1, column, kx);
    return x + (r * pool->width + s) * pool->channels;
}
