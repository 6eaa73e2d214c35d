/* A window that slides over rows [0] and columns [1]; `before` is the padding at the top and at the left. */
struct window {
    uint32_t kernel[2], stride[2], dilation[2], before[2];
};

/* Row or column under tap `tap` at position `at`; outside of the image it is negative or too large. */
static int32_t under(const struct window *window, uint32_t axis, uint32_t at, uint32_t tap)
{
    return (int32_t)(at * window->stride[axis] + tap * window->dilation[axis]) - (int32_t)window->before[axis];
}
