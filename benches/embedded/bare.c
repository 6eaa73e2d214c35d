/* Nothing but the network, for the sizes of code and memory. */
#include HEADER

float x[INPUTS], y[OUTPUTS];

int main(void)
{
    return RUN(x, y);
}

void exit(int code)
{
    (void)code;
    for (;;)
        ;
}
