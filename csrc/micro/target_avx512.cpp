// The hot loops for AVX-512 (Skylake-X, Zen 4 and later).
#if defined(__x86_64__)
#include <immintrin.h>

#include "core/half.h"
#include "micro/kernels.h"

#define TORCHCONV_TARGET avx512
#define TORCHCONV_VECTOR_BYTES 64
#if defined(__clang__)
#pragma clang attribute push(                                                    \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
    apply_to = function)
#else
// GCC 12 warns of the deliberately undefined operands inside its own AVX-512 header (PR 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#endif
#include "micro/tables_impl.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
