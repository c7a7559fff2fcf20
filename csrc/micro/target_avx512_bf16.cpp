// AVX-512 with products of bfloat16 (Cooper Lake, Sapphire Rapids, Zen 4 and later).
#if defined(__x86_64__)
#include <immintrin.h>

#include "core/half.h"
#include "micro/kernels.h"

#define TORCHCONV_TARGET avx512_bf16
#define TORCHCONV_VECTOR_BYTES 64
#define TORCHCONV_BFLOAT16 1
#if defined(__clang__)
#pragma clang attribute push(                                                               \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c"))), \
    apply_to = function)
#else
// GCC 12 warns of the deliberately undefined operands inside its own AVX-512 header (PR 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,prefer-vector-width=512")
#endif
#include "micro/bfloat16_impl.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace torchconv {
namespace avx512 {
Tables tables();
}
namespace avx512_bf16 {

// All else is AVX-512's.
Tables tables() {
  Tables all = avx512::tables();
  all.f32.scatter = scatter<float>;  // to bfloat16 by one instruction
  all.f32.turn_back = turn_back<float>;
  all.f32.from_lanes = from_lanes<float>;
  all.bf16 = bfloat16_kernels();
  all.bf16_pair = pair_kernels();
  return all;
}

}  // namespace avx512_bf16
}  // namespace torchconv
#endif
