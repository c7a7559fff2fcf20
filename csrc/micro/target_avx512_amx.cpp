// AVX-512 with products of bfloat16, and of tiles of matrices of it (AMX: Sapphire Rapids and later).
#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 11)
#include <immintrin.h>

#include "core/half.h"
#include "micro/kernels.h"

#if defined(__clang__)
#pragma clang attribute push(                                                        \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-bf16,prefer-vector-width=512")
#endif
#include "micro/matrices_impl.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace torchconv {
namespace avx512_bf16 {
Tables tables();
}
namespace avx512_amx {

// All else is avx512_bf16's.
Tables tables() {
  Tables all = avx512_bf16::tables();
  all.bf16 = matrix_kernels(all.bf16);
  all.bf16_pair.copy_strip = copy_strip;
  return all;
}

}  // namespace avx512_amx
}  // namespace torchconv
#endif
