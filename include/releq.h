/* C interface of the releqc runtime: load a compiled network (.rq), run it on the CPU.
 *
 * c/install.sh installs it with a pkg-config file (releq) and a CMake package (releq). Without that, link with libreleqc_runtime.so
 * or libreleqc_runtime.a (then also with -lpthread -ldl -lm). releq.hpp wraps it for C++.
 *
 * Threads: a model may be used by any number of threads at once. So may a session, whose runs then happen one after the other; for
 * runs at the same time make a session a thread.
 *
 * Errors: functions that can fail take a buffer for a message of at most `error_size` bytes, its terminating zero included; a longer one is
 * cut between characters (UTF-8). It may be NULL where `error_size` is 0. No file, no network and no argument that keeps to this header
 * makes a function abort the process or lets an exception escape, with one limit that is the system's: the process ends where it gives
 * no memory.
 *
 * Memory: of activations a model may state at most 1 GiB, and a session takes at most about 4 GiB; releq_model_open, releq_model_load
 * and releq_session_new fail on more.
 *
 * Floating point: call from threads that round to nearest, as every process begins. Results do not depend on whether subnormal numbers
 * are flushed to zero.
 */
#ifndef RELEQ_H
#define RELEQ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct releq_model releq_model;
typedef struct releq_session releq_session;

/* Reads a file and checks every byte of it; what happens to the file afterwards does not matter. NULL on failure. */
releq_model *releq_model_open(const char *path, char *error, size_t error_size);

/* Copies and checks `size` bytes. NULL on failure. */
releq_model *releq_model_load(const void *bytes, size_t size, char *error, size_t error_size);

/* Frees a model; sessions made from it stay valid. NULL is allowed. */
void releq_model_free(releq_model *model);

/* Number of inputs and of outputs of the network. */
size_t releq_model_inputs(const releq_model *model);
size_t releq_model_outputs(const releq_model *model);

/* Name of input or output `index`; NULL where there is none. Lives as long as the model. */
const char *releq_model_input_name(const releq_model *model, size_t index);
const char *releq_model_output_name(const releq_model *model, size_t index);

/* Extents of one sample of input or output `index`, as in ONNX: stores at most `capacity` of them at `extents` and returns how many there
 * are, at most 8; 0 for a single value without extents, and where there is no such input or output. */
size_t releq_model_input_shape(const releq_model *model, size_t index, size_t *extents, size_t capacity);
size_t releq_model_output_shape(const releq_model *model, size_t index, size_t *extents, size_t capacity);

/* Plans the network for this machine. `isa` is NULL for the best instruction set there is, or one of "scalar", "avx2", "avx2-vnni",
 * "avx512", "avx512-vnni", "amx". Results depend neither on it nor on `threads` (at least 1). NULL on failure. */
releq_session *releq_session_new(const releq_model *model, const char *isa, size_t threads, char *error, size_t error_size);

/* Frees a session. NULL is allowed. */
void releq_session_free(releq_session *session);

/* Name of the instruction set the session was planned for. */
const char *releq_session_isa(const releq_session *session);

/* Values of one sample of all inputs together, and of all outputs. */
size_t releq_session_input_size(const releq_session *session);
size_t releq_session_output_size(const releq_session *session);

/* Runs `samples` samples, at least 1: `input` holds for each sample all inputs one after the other, each in the order of ONNX; `output`
 * receives for each sample all outputs one after the other. The two must not overlap. 0 on success, -1 on failure. */
int releq_session_run(releq_session *session, const float *input, size_t samples, float *output, char *error, size_t error_size);

/* States how pixels become inputs: (pixel / 255 - mean[c]) / std[c] with one value for all channels or one a channel; pixels as they are
 * where `channels` is 0 (`mean` and `std` may then be NULL). Not needed where the artifact records its preprocessing. 0 on success, -1 on
 * failure. */
int releq_session_set_pixels(releq_session *session, const float *mean, const float *std, size_t channels, char *error, size_t error_size);

/* Runs `samples` samples of 8-bit pixels through a network of one input, otherwise as releq_session_run: the same outputs as for the values that the pixels stand for. */
int releq_session_run_u8(releq_session *session, const uint8_t *pixels, size_t samples, float *output, char *error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
