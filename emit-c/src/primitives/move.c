/* Codes to other places: the source is the sum of an entry an axis, 4294967295 fills. `entries` holds those of
 * the first axis, then those of the second, and so on. */
static void move(const uint8_t *x, uint8_t *y, uint32_t axes, const uint32_t *lengths, const uint32_t *entries,
                 uint8_t fill)
{
    uint32_t index[8] = {0}, axis;
    do {
        const uint32_t *of_axis = entries;
        uint32_t from = 0;
        int filled = 0;
        for (axis = 0; axis < axes; axis++) {
            const uint32_t entry = of_axis[index[axis]];
            filled |= entry == 4294967295u;
            from += entry;
            of_axis += lengths[axis];
        }
        *y++ = filled ? fill : x[from];
        for (axis = axes; axis > 0 && ++index[axis - 1] == lengths[axis - 1]; axis--)
            index[axis - 1] = 0;
    } while (axis > 0);
}
