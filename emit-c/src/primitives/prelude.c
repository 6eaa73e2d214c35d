#include <float.h>
#include <stddef.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "float expressions must be computed as float: with x87 add -msse2 -mfpmath=sse"
#endif
#ifdef __FAST_MATH__
#error "results are defined by IEEE arithmetic: compile without -ffast-math"
#endif
