/* v as a float of its own, so that no compiler fuses a product with a sum. */
static float rounded(float v)
{
    volatile float kept = v;
    return kept;
}
