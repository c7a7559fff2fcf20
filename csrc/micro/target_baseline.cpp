// The hot loops for any machine of this architecture: SSE2 on x86-64, NEON on Arm.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/half.h"
#include "micro/kernels.h"

#define TORCHCONV_TARGET baseline
#define TORCHCONV_VECTOR_BYTES 16
#include "micro/tables_impl.h"
