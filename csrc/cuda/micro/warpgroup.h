// What a warpgroup does as one, on Hopper: matrix products whose operands lie in shared memory, and
// that run while its threads do other things (wgmma, sm_90a alone).
//
// An operand is made of blocks of 128 bytes anywhere in shared memory: eight pieces of 16 bytes, each
// of the depth of one row (column). It is `depth` bytes to the block of the next piece of depth, and
// `lines` to the next eight rows. A block may begin at any piece, so that a window slides over them
// piece by piece (PTX ISA, "Matrix descriptor", without swizzling).
//
// multiply_pieces<Number, columns>   D(64 x columns) += A(64 x depth) B(depth x columns)
//   of a depth of 32 bytes: 16 numbers of 16 bits, or 8 of TF32, whose low 13 bits are not looked at.
//   All 128 threads call together; with lane = thread % 32, thread t has
//     d[4 j + 2 h + i] = D[16 (t / 32) + lane / 4 + 8 h][8 j + 2 (lane % 4) + i]
//
// multiply_held<Number, columns, across>   the same with A in registers, as mma_16x8x16 and
//   mma_16x8x8_tf32 of warp.h have it, of rows 16 (t / 32) and on; they are not to be touched
//   either, until the products are done. In 16 bits B may lie across: a piece has one number of the
//   depth of eight columns, and a block of 128 bytes has eight neighbours of the depth. Then it is
//   `depth` bytes to the block of the next eight of the depth, and `lines` to the next eight columns
//   (the same, "MN-major").
//
// A Barrier counts threads that arrive() there, and the bytes of copies that lie together in both
// memories, of any length in pieces: expect_copies() by one thread, which arrives so, with all their
// bytes, then start_copy() for each. Who waits until all have arrived calls wait_for(barrier, 0), the
// next time with 1, and so on in turn; with 1 at first, nobody is waited for.
//
// take_registers() and leave_registers(): from here on the warpgroup's threads have so many.
//
// D is not to be touched from begin_products() until wait_products() said that they are done. What
// threads write to shared memory is there for the products of all that each of them meets at a
// barrier after it called publish_shared().
#pragma once

#include <cstdint>

#include "cuda/micro/tile.h"

namespace torchconv::cuda {

constexpr int kWarpgroup = 128;  // threads

// The distances as wgmma wants them, in units of a piece. An operand is this plus pieces_at().
TORCHCONV_HOST_DEVICE constexpr uint64_t distances(int64_t depth, int64_t lines) {
  return uint64_t(depth / 16 & 0x3fff) << 16 | uint64_t(lines / 16 & 0x3fff) << 32;
}

struct Barrier {
  uint64_t state;
};

}  // namespace torchconv::cuda

#ifdef __CUDACC__

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define TORCHCONV_WGMMA(...) asm volatile(__VA_ARGS__)
#else  // compiled for others too, never launched there
#define TORCHCONV_WGMMA(...)
#endif

namespace torchconv::cuda {

// Holds a value in its register: the compiler would make it again at every use.
__device__ __forceinline__ void keep(uint32_t& value) { asm volatile("" : "+r"(value)); }

__device__ __forceinline__ uint64_t pieces_at(const void* shared) {
  return uint64_t(shared_address(shared) / 16 & 0x3fff);
}
__device__ __forceinline__ void publish_shared() {
  TORCHCONV_WGMMA("fence.proxy.async.shared::cta;" :: : "memory");
}
__device__ __forceinline__ void begin_products() {
  TORCHCONV_WGMMA("wgmma.fence.sync.aligned;" :: : "memory");
}
// Makes a group of the products since the last one.
__device__ __forceinline__ void commit_products() {
  TORCHCONV_WGMMA("wgmma.commit_group.sync.aligned;" :: : "memory");
}
// Until all groups but the last `pending` are done.
template <int pending>
__device__ __forceinline__ void wait_products() {
  TORCHCONV_WGMMA("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// By one thread; the others see it after publish_barriers() and a barrier of the block.
__device__ __forceinline__ void set_up(Barrier* barrier, int threads = 1) {
  TORCHCONV_WGMMA("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                  "r"(threads) : "memory");
}
__device__ __forceinline__ void publish_barriers() {
  TORCHCONV_WGMMA("fence.mbarrier_init.release.cluster;" :: : "memory");
}
__device__ __forceinline__ void expect_copies(Barrier* barrier, int64_t bytes) {
  TORCHCONV_WGMMA(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(uint32_t(bytes)) : "memory");
}
__device__ __forceinline__ void start_copy(Barrier* barrier, void* shared, const void* global,
                                           int64_t bytes) {
  TORCHCONV_WGMMA(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(shared)),
      "l"(global), "r"(uint32_t(bytes)), "r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void arrive(Barrier* barrier) {
  TORCHCONV_WGMMA(
      "mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void wait_for(Barrier* barrier, int parity) {
  TORCHCONV_WGMMA("{ .reg .pred done;\n"
                  "again%=: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                  "@!done bra again%=; }" ::"r"(shared_address(barrier)),
                  "r"(parity) : "memory");
}

template <int count>
__device__ __forceinline__ void take_registers() {
  TORCHCONV_WGMMA("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ __forceinline__ void leave_registers() {
  TORCHCONV_WGMMA("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}

// The registers of D as wgmma names them, and as the compiler is to know them.
#define TORCHCONV_R8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define TORCHCONV_R16 TORCHCONV_R8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define TORCHCONV_R32 \
  TORCHCONV_R16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TORCHCONV_R64                                                                       \
  TORCHCONV_R32                                                                             \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, " \
  "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TORCHCONV_D8(i)                                                                       \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define TORCHCONV_D16(i) TORCHCONV_D8(i), TORCHCONV_D8(i + 8)
#define TORCHCONV_D32(i) TORCHCONV_D16(i), TORCHCONV_D16(i + 16)
#define TORCHCONV_D64(i) TORCHCONV_D32(i), TORCHCONV_D32(i + 32)

template <typename Number, int columns>
__device__ __forceinline__ void multiply_pieces(float (&d)[columns / 2], uint64_t a, uint64_t b) {
  static_assert(columns == 16 || columns == 32 || columns == 64 || columns == 128, "columns");
#define TORCHCONV_SHARED(columns, type, registers, a_b, ...)                      \
  TORCHCONV_WGMMA("wgmma.mma_async.sync.aligned.m64n" columns type " {" registers \
                  "}, " a_b:__VA_ARGS__ : "l"(a),                                 \
                  "l"(b))
#define TORCHCONV_TYPED(columns, registers, a_b, ...)                                             \
  if constexpr (sizeof(Stored<Number>) == 4)                                                      \
    TORCHCONV_SHARED(columns, "k8.f32.tf32.tf32", registers, a_b ", 1, 1, 1;", __VA_ARGS__);      \
  else if constexpr (std::is_same_v<Number, Float16>)                                             \
    TORCHCONV_SHARED(columns, "k16.f32.f16.f16", registers, a_b ", 1, 1, 1, 0, 0;", __VA_ARGS__); \
  else                                                                                            \
    TORCHCONV_SHARED(columns, "k16.f32.bf16.bf16", registers, a_b ", 1, 1, 1, 0, 0;", __VA_ARGS__)
  if constexpr (columns == 16) {
    TORCHCONV_TYPED("16", TORCHCONV_R8, "%8, %9", TORCHCONV_D8(0));
  } else if constexpr (columns == 32) {
    TORCHCONV_TYPED("32", TORCHCONV_R16, "%16, %17", TORCHCONV_D16(0));
  } else if constexpr (columns == 64) {
    TORCHCONV_TYPED("64", TORCHCONV_R32, "%32, %33", TORCHCONV_D32(0));
  } else {
    TORCHCONV_TYPED("128", TORCHCONV_R64, "%64, %65", TORCHCONV_D64(0));
  }
#undef TORCHCONV_TYPED
#undef TORCHCONV_SHARED
}

template <typename Number, int columns, bool across>
__device__ __forceinline__ void multiply_held(float (&d)[columns / 2], const uint32_t (&a)[4],
                                              uint64_t b) {
  static_assert(columns == 16 || columns == 32 || columns == 64 || columns == 128, "columns");
  static_assert(sizeof(Stored<Number>) == 2 || !across, "16 bits alone may lie across");
#define TORCHCONV_HELD(columns, type, registers, a_b, ...)                                  \
  TORCHCONV_WGMMA("wgmma.mma_async.sync.aligned.m64n" columns type " {" registers "}, " a_b \
                  ";" : __VA_ARGS__ : "r"(a[0]),                                            \
                  "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(int(across)))
#define TORCHCONV_TYPED(columns, registers, a_b, b_across, ...)                            \
  if constexpr (sizeof(Stored<Number>) == 4)                                               \
    TORCHCONV_HELD(columns, "k8.f32.tf32.tf32", registers, a_b, __VA_ARGS__);              \
  else if constexpr (std::is_same_v<Number, Float16>)                                      \
    TORCHCONV_HELD(columns, "k16.f32.f16.f16", registers, a_b ", " b_across, __VA_ARGS__); \
  else                                                                                     \
    TORCHCONV_HELD(columns, "k16.f32.bf16.bf16", registers, a_b ", " b_across, __VA_ARGS__)
  if constexpr (columns == 16) {
    TORCHCONV_TYPED("16", TORCHCONV_R8, "{%8, %9, %10, %11}, %12, 1, 1, 1", "%13", TORCHCONV_D8(0));
  } else if constexpr (columns == 32) {
    TORCHCONV_TYPED("32", TORCHCONV_R16, "{%16, %17, %18, %19}, %20, 1, 1, 1", "%21",
                    TORCHCONV_D16(0));
  } else if constexpr (columns == 64) {
    TORCHCONV_TYPED("64", TORCHCONV_R32, "{%32, %33, %34, %35}, %36, 1, 1, 1", "%37",
                    TORCHCONV_D32(0));
  } else {
    TORCHCONV_TYPED("128", TORCHCONV_R64, "{%64, %65, %66, %67}, %68, 1, 1, 1", "%69",
                    TORCHCONV_D64(0));
  }
#undef TORCHCONV_TYPED
#undef TORCHCONV_HELD
}

}  // namespace torchconv::cuda

#undef TORCHCONV_R8
#undef TORCHCONV_R16
#undef TORCHCONV_R32
#undef TORCHCONV_R64
#undef TORCHCONV_D8
#undef TORCHCONV_D16
#undef TORCHCONV_D32
#undef TORCHCONV_D64
#undef TORCHCONV_WGMMA
#endif
