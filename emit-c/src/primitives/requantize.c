/* The integer nearest to t, of two the even one; |t| < 2^22. The sum has no bits left behind the point,
 * so the machine's own rounding does it. */
static int32_t nearest(float t)
{
    const float shifted = t + 12582912.0f; /* 3 * 2^22 */
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - 0x4b400000;
}

/* The code of v steps from the zero point z; the steps are clamped to low..high, of a NaN they are low. */
static uint8_t requantize(float v, float low, float high, int32_t z)
{
    float t = v > low ? v : low;
    t = t < high ? t : high;
    return (uint8_t)(nearest(t) + z);
}
