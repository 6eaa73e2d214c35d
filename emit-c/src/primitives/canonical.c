/* Inputs that are outputs as well: one NaN, and no number below the least normal one. */
static void canonical(const float *x, float *y, uint32_t len)
{
    uint32_t i;
    for (i = 0; i < len; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        if ((bits & 0x7fffffffu) > 0x7f800000u)
            bits = 0x7fc00000u;
        else if ((bits & 0x7fffffffu) <= 0x00800000u)
            bits = 0;
        memcpy(y + i, &bits, sizeof bits);
    }
}
