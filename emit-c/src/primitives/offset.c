/* The steps of a code from its zero point. */
static float offset(uint8_t q, int32_t z)
{
    return (float)((int32_t)q - z);
}
