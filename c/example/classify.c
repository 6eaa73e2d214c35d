/* Runs a batch of two samples, then the same samples as pixels: classify MODEL.rq
 *
 * Prints the outputs of both, a line a sample. */
#include <releq.h>
#include <stdio.h>
#include <stdlib.h>

static void print(const float *output, size_t size)
{
    for (size_t i = 0; i < size; i++)
        printf("%.9g%c", output[i], i + 1 < size ? ' ' : '\n');
}

int main(int argc, char **argv)
{
    enum { SAMPLES = 2 };
    char error[256] = "";
    releq_model *model = argc > 1 ? releq_model_open(argv[1], error, sizeof error) : NULL;
    releq_session *session = model ? releq_session_new(model, NULL, 1, error, sizeof error) : NULL;
    releq_model_free(model);
    if (!session) {
        fprintf(stderr, "%s\n", argc > 1 ? error : "usage: classify MODEL.rq");
        return 2;
    }
    const size_t inputs = releq_session_input_size(session), outputs = releq_session_output_size(session);
    float *x = malloc(SAMPLES * inputs * sizeof *x), *y = malloc(SAMPLES * outputs * sizeof *y);
    unsigned char *pixels = malloc(SAMPLES * inputs);
    int failed = !x || !y || !pixels;
    for (size_t i = 0; !failed && i < SAMPLES * inputs; i++) {
        pixels[i] = (unsigned char)(i * 37 % 256);
        x[i] = pixels[i];
    }
    failed = failed || releq_session_run(session, x, SAMPLES, y, error, sizeof error);
    for (size_t i = 0; !failed && i < SAMPLES; i++)
        print(y + i * outputs, outputs);
    /* Pixels as they are: 0..255. */
    failed = failed || releq_session_set_pixels(session, NULL, NULL, 0, error, sizeof error) ||
             releq_session_run_u8(session, pixels, SAMPLES, y, error, sizeof error);
    for (size_t i = 0; !failed && i < SAMPLES; i++)
        print(y + i * outputs, outputs);
    if (failed)
        fprintf(stderr, "%s\n", error);
    free(pixels);
    free(y);
    free(x);
    releq_session_free(session);
    return failed;
}
