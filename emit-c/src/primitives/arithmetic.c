/* Two operands value by value, each repeated where its stride is 0. */
struct arithmetic {
    enum { ADD, SUB, MUL, MIN, MAX } kind;
    uint32_t axes, extents[8], strides_a[8], strides_b[8];
    float multiplier_a, multiplier_b;
    int32_t z_a, z_b, y_z;
    float low, high; /* steps from y_z */
};

static float combined(const struct arithmetic *op, float a, float b)
{
    float m, n;
    if (op->kind == MUL)
        return (a * b) * op->multiplier_a;
    m = rounded(a * op->multiplier_a);
    n = rounded(b * op->multiplier_b);
    switch (op->kind) {
    case ADD:
        return m + n;
    case SUB:
        return m - n;
    case MIN:
        return m < n ? m : n;
    default:
        return m > n ? m : n;
    }
}

static void arithmetic(const struct arithmetic *op, const uint8_t *a, const uint8_t *b, uint8_t *y)
{
    const uint32_t last = op->axes - 1;
    uint32_t index[8] = {0}, i, axis;
    do {
        const uint8_t *row_a = a, *row_b = b;
        for (axis = 0; axis < last; axis++) {
            row_a += (size_t)index[axis] * op->strides_a[axis];
            row_b += (size_t)index[axis] * op->strides_b[axis];
        }
        for (i = 0; i < op->extents[last]; i++) {
            const float v = combined(op, offset(row_a[(size_t)i * op->strides_a[last]], op->z_a),
                                     offset(row_b[(size_t)i * op->strides_b[last]], op->z_b));
            *y++ = requantize(v, op->low, op->high, op->y_z);
        }
        /* The next row: the axis in front of the last moves first. */
        for (axis = last; axis > 0 && ++index[axis - 1] == op->extents[axis - 1]; axis--)
            index[axis - 1] = 0;
    } while (axis > 0);
}
