/* Vector table and start of a Cortex-M image for the mps2 boards; main runs on the stack that the linker script places. */
#include <stdint.h>

extern uint32_t stack_top, data_from, data_begin, data_end, bss_begin, bss_end;
int main(void);
void initialise_monitor_handles(void);
void exit(int code) __attribute__((noreturn));

__attribute__((noreturn)) static void fault(void)
{
    exit(99);
}

__attribute__((noreturn, used)) static void start(void)
{
    uint32_t *to = &data_begin;
    const uint32_t *from = &data_from;
    while (to < &data_end)
        *to++ = *from++;
    for (to = &bss_begin; to < &bss_end; to++)
        *to = 0;
#ifdef __ARM_FP
    /* Full access to coprocessors 10 and 11: the floating point unit. */
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20;
    __asm__ volatile("dsb\n isb");
#endif
#ifdef SEMIHOSTING
    initialise_monitor_handles();
#endif
    exit(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top, (const void *)start, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault,
};
