/* Runs a network on zeros and prints its outputs, one value a line: run MODEL.rq [ISA [MEAN STD]]
 *
 * With a mean and a standard deviation the zeros are pixels. */
#include "releq.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    char error[512];
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL.rq [ISA [MEAN STD]]\n", argv[0]);
        return 2;
    }
    releq_model *model = releq_model_open(argv[1], error, sizeof error);
    if (model == NULL) {
        fprintf(stderr, "%s\n", error);
        return 2;
    }
    size_t extents[8];
    size_t rank = releq_model_input_shape(model, 0, extents, 8);
    fprintf(stderr, "input %s:", releq_model_input_name(model, 0));
    for (size_t i = 0; i < rank; i++) {
        fprintf(stderr, " %zu", extents[i]);
    }
    fprintf(stderr, "; %zu output(s), the first is %s\n", releq_model_outputs(model), releq_model_output_name(model, 0));

    releq_session *session = releq_session_new(model, argc > 2 ? argv[2] : NULL, 1, error, sizeof error);
    releq_model_free(model);
    if (session == NULL) {
        fprintf(stderr, "%s\n", error);
        return 2;
    }
    size_t outputs = releq_session_output_size(session);
    float *input = calloc(releq_session_input_size(session), sizeof *input);
    uint8_t *pixels = calloc(releq_session_input_size(session), sizeof *pixels);
    float *output = calloc(outputs, sizeof *output);
    if (input == NULL || pixels == NULL || output == NULL) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    int failed;
    if (argc > 4) {
        float mean = strtof(argv[3], NULL), std = strtof(argv[4], NULL);
        failed = releq_session_set_pixels(session, &mean, &std, 1, error, sizeof error) != 0 ||
                 releq_session_run_u8(session, pixels, 1, output, error, sizeof error) != 0;
    } else {
        failed = releq_session_run(session, input, 1, output, error, sizeof error) != 0;
    }
    if (failed) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    for (size_t i = 0; i < outputs; i++) {
        printf("%.9g\n", output[i]);
    }
    free(input);
    free(pixels);
    free(output);
    releq_session_free(session);
    return 0;
}
