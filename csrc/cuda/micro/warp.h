// What a warp does as one: tensor cores, loads of their fragments, asynchronous copies.
//
// Here is the device's side, inline PTX for sm_80 and up; tests/cuda/emulator_warp.h has the same
// functions in plain C++, and tests/cuda/warp.cu holds both to the layouts below. All 32 lanes call
// together. With group = lane / 4 and pair = lane % 4, a lane's part of a fragment is
// (PTX ISA, "Matrix fragments for mma"):
//
//   mma_16x8x16<Float16 or BFloat16>   D(16x8) = A(16x16) B(16x8) + C, two 16-bit numbers a register
//     a[0] A[group    ][2 pair, 2 pair + 1]     a[2] A[group    ][2 pair + 8, 2 pair + 9]
//     a[1] A[group + 8][2 pair, 2 pair + 1]     a[3] A[group + 8][2 pair + 8, 2 pair + 9]
//     b[0] B[2 pair, 2 pair + 1][group]         b[1] B[2 pair + 8, 2 pair + 9][group]
//     d[0], d[1] D[group][2 pair, 2 pair + 1]   d[2], d[3] D[group + 8][2 pair, 2 pair + 1]
//   mma_16x8x8_tf32                    D(16x8) = A(16x8) B(8x8) + C, floats of 10 bits of fraction
//     a[0] A[group][pair]   a[1] A[group + 8][pair]   a[2] A[group][pair + 4]   a[3] A[group + 8][pair + 4]
//     b[0] B[pair][group]   b[1] B[pair + 4][group]   d as above
//   mma_8x8x4_double                   D(8x8) = A(8x4) B(4x8) + C
//     a A[group][pair]      b B[pair][group]          d[0], d[1] D[group][2 pair, 2 pair + 1]
//
//   load_matrices<count>               ldmatrix: count 8x8 matrices of 16-bit numbers in shared memory
//     Lane 8 m + r gives the address of row r of matrix m, 16 bytes, aligned to them. Afterwards
//     r[m] is M[group][2 pair, 2 pair + 1], or, transposed, M[2 pair, 2 pair + 1][group].
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "cuda/micro/launch.h"

#ifdef __CUDACC__

namespace torchconv::cuda {

// D = A B + D.
template <typename T>
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4],
                                            const uint32_t (&b)[2]) {
  static_assert(std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>, "16-bit floats");
  if constexpr (std::is_same_v<T, Float16>)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// D = A B + D. Of a and b, which are bits of floats, the low 13 bits are not looked at.
__device__ __forceinline__ void mma_16x8x8_tf32(float (&d)[4], const uint32_t (&a)[4],
                                                const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// D = A B + D.
__device__ __forceinline__ void mma_8x8x4_double(double (&d)[2], double a, double b) {
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+d"(d[0]), "+d"(d[1])
               : "d"(a), "d"(b));
}

// The bits of the nearest float with 10 bits of fraction, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

// A pointer into shared memory as PTX has it.
__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return uint32_t(__cvta_generic_to_shared(shared));
}

template <int count, bool transposed = false>
__device__ __forceinline__ void load_matrices(uint32_t (&r)[count], const void* row) {
  static_assert(count == 1 || count == 2 || count == 4, "ldmatrix loads 1, 2 or 4 matrices");
  const uint32_t at = shared_address(row);
#define TORCHCONV_LDMATRIX(shape, registers, ...)                                   \
  if constexpr (transposed)                                                         \
    asm volatile("ldmatrix.sync.aligned.m8n8." shape ".trans.shared.b16 " registers \
                 : __VA_ARGS__                                                      \
                 : "r"(at)                                                          \
                 : "memory");                                                       \
  else                                                                              \
    asm volatile("ldmatrix.sync.aligned.m8n8." shape ".shared.b16 " registers       \
                 : __VA_ARGS__                                                      \
                 : "r"(at)                                                          \
                 : "memory")
  if constexpr (count == 1) {
    TORCHCONV_LDMATRIX("x1", "{%0}, [%1];", "=r"(r[0]));
  } else if constexpr (count == 2) {
    TORCHCONV_LDMATRIX("x2", "{%0, %1}, [%2];", "=r"(r[0]), "=r"(r[1]));
  } else {
    TORCHCONV_LDMATRIX("x4", "{%0, %1, %2, %3}, [%4];", "=r"(r[0]), "=r"(r[1]), "=r"(r[2]),
                       "=r"(r[3]));
  }
#undef TORCHCONV_LDMATRIX
}

// Starts a copy of 4, 8 or 16 bytes, aligned to that, from global to shared memory: the first
// `valid` of them, and zeros for the rest. With valid = 0 nothing is read, but the address must
// still be one.
template <int bytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, int valid = bytes) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
  const uint32_t to = shared_address(shared);
  if constexpr (bytes == 16)  // past the first-level cache, which only 16 bytes may pass by
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global), "n"(bytes),
                 "r"(valid)
                 : "memory");
}

// Makes a group of the thread's copies since the last one; there may be none.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until all groups but the last `pending` are done. Only the thread's own copies: others see them
// after __syncthreads.
template <int pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

}  // namespace torchconv::cuda

#endif
