/* `len` codes a part to every `step`-th place of y, `outer` times; they move within lo..hi. */
static void part(const uint8_t *x, uint8_t *y, uint32_t outer, uint32_t len, uint32_t step, int32_t lo, int32_t hi)
{
    uint32_t i, o;
    for (o = 0; o < outer; o++)
        for (i = 0; i < len; i++) {
            const int32_t q = x[(size_t)o * len + i], raised = q > lo ? q : lo;
            y[(size_t)o * step + i] = (uint8_t)(raised < hi ? raised : hi);
        }
}
