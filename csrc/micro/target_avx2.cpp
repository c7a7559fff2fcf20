// The hot loops for AVX2 with FMA and F16C (Haswell, Zen and later).
#if defined(__x86_64__)
#include <immintrin.h>

#include "core/half.h"
#include "micro/kernels.h"

#define TORCHCONV_TARGET avx2
#define TORCHCONV_VECTOR_BYTES 32
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#include "micro/tables_impl.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
