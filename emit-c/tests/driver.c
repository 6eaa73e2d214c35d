/* Runs samples from stdin to stdout: floats, or with an argument pixels. HEADER and the macros name the network. */
#include HEADER
#include <stdio.h>

int main(int argc, char **argv)
{
    static float x[INPUTS], y[OUTPUTS];
    static unsigned char pixels[INPUTS];
    (void)argv;
    if (argc > 1) {
#ifdef RUN_U8
        while (fread(pixels, sizeof pixels, 1, stdin) == 1) {
            if (RUN_U8(pixels, y) != 0)
                return 1;
            fwrite(y, sizeof y, 1, stdout);
        }
        return 0;
#else
        (void)pixels;
        return 2;
#endif
    }
    if (RUN(NULL, y) != -1 || RUN(x, NULL) != -1)
        return 3;
    while (fread(x, sizeof x, 1, stdin) == 1) {
        if (RUN(x, y) != 0)
            return 1;
        fwrite(y, sizeof y, 1, stdout);
    }
    return 0;
}
