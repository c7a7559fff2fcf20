// What the files of depthwise share: the numbers they sum, and the ways one problem can be computed.
//
// Each way is given a problem, says whether it takes it, and puts its kernels on the stream. The
// forward ways know the forward problem on views alone (an input gradient is made of them, see
// core/relabel.h); the weight ways leave one sum for each part of the positions and each element of
// the weight, [part][element], which add_parts() adds up in a fixed order.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/algorithm.h"
#include "core/arithmetic.h"
#include "core/fold.h"
#include "core/relabel.h"
#include "cuda/micro/launch.h"
#include "cuda/micro/number.h"

namespace torchconv::cuda::channelwise {

constexpr int kVectorBytes = 16;  // the widest load of one thread

// float32 and the 16-bit floats are summed in float, doubles in double.
template <typename T>
struct SumOf {
  using Type = float;
};
template <>
struct SumOf<double> {
  using Type = double;
};
template <typename Real>
struct SumOf<Complex<Real>> {
  using Type = Complex<Real>;
};

// By the GPU's own conversions, one instruction each.
template <typename Sum, typename T>
TORCHCONV_HOST_DEVICE inline Sum widen(T stored) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, Float16>) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(stored.bits));
    return value;
  } else
#endif
    return Sum(stored);
}

template <typename T, typename Sum>
TORCHCONV_HOST_DEVICE inline T narrow(Sum sum) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
#ifdef __CUDA_ARCH__
    T stored;
    if constexpr (std::is_same_v<T, Float16>)
      asm("cvt.rn.f16.f32 %0, %1;" : "=h"(stored.bits) : "f"(sum));
    else
      asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(stored.bits) : "f"(sum));
    return stored;
#else
    return T::from(sum);
#endif
  } else {
    return T(sum);
  }
}

template <typename T>
constexpr int kPack = kVectorBytes / int(sizeof(T));  // complex128: 1

// count numbers from an address aligned to 16 bytes, by loads of 16 bytes.
template <int count, typename T, typename Sum>
TORCHCONV_HOST_DEVICE inline void load_wide(Sum (&x)[count], const T* at) {
  static_assert(count % kPack<T> == 0, "whole packs");
#pragma unroll
  for (int i = 0; i < count; i += kPack<T>) {
    const auto pack = *reinterpret_cast<const Pack<T, kPack<T>>*>(at + i);
#pragma unroll
    for (int j = 0; j < kPack<T>; ++j) x[i + j] = widen<Sum>(pack.value[j]);
  }
}

// Divides by 32 bits where both fit: a 64-bit division takes some hundred instructions on a GPU.
TORCHCONV_HOST_DEVICE inline int64_t divide(int64_t a, int64_t b) {
  if (((a | b) >> 32) == 0) return int64_t(uint32_t(a) / uint32_t(b));
  return a / b;
}
// As core/arithmetic.h has it in 32 bits.
using torchconv::split_off;
TORCHCONV_HOST_DEVICE inline int64_t split_off(int64_t* a, int64_t b) {
  const int64_t quotient = divide(*a, b), rest = *a - quotient * b;
  *a = quotient;
  return rest;
}

// As core/fold.h, and -1 also for what lies beyond one step: the margin of a tile reaches there.
template <typename Index>
TORCHCONV_HOST_DEVICE inline Index fold_inside(PaddingMode mode, Index i, Index size) {
  const Index folded = fold(mode, i, size);
  return folded < size ? folded : -1;
}

// Where one block's share of `units` begins. Fixed: the same on every device.
TORCHCONV_HOST_DEVICE inline int64_t part_begin(int64_t units, int64_t parts, int64_t part) {
  return units / parts * part + (part < units % parts ? part : units % parts);
}

inline int64_t weight_elements(const Problem& p) {
  return p.out_channels * p.in_channels_per_group() * p.taps();
}

// The problem with three axes, missing ones before it; false where it has more. What a stride or
// dilation does not move is set to 1.
inline bool to_three_axes(Problem* p, Operands* operands) {
  if (p->axes > 3) return false;
  const int missing = 3 - p->axes;
  for (int a = 2; a >= 0; --a) {
    p->axis[a] = a < missing ? Axis{} : p->axis[a - missing];
    if (p->axis[a].output_size == 1) p->axis[a].stride = 1;
    if (p->axis[a].kernel_size == 1) p->axis[a].dilation = 1;
    for (View* v : {&operands->input, &operands->weight, &operands->output})
      v->axis[a] = a < missing ? 0 : v->axis[a - missing];
  }
  p->axes = 3;
  return true;
}

// Whether all loads of `count` elements that the strides lead to are aligned to them.
template <typename T>
bool aligned(const View& view, int64_t count, const int64_t* strides, int strides_count) {
  if (uintptr_t(view.data) % (count * sizeof(T)) != 0) return false;
  for (int i = 0; i < strides_count; ++i)
    if (strides[i] % count != 0) return false;
  return true;
}

// A forward problem on views; an input gradient is made of several.
struct Forward {
  Problem p;
  Operands operands;
};
constexpr int kTogether = 4;  // of one launch at most

// Any problem, one thread for an output.
void forward_anyhow(const Problem& p, const Operands& operands, const Context& context);
// Lines of the input lie side by side in memory (NCHW). Up to kTogether problems, none of which
// writes what another does.
bool forward_planes(const Forward* forwards, int count, const Context& context);
// Channels lie side by side.
bool forward_channels_last(const Problem& p, const Operands& operands, const Context& context);

// Parts into which the positions are cut: each way's own number, or 0 where it can never take the
// problem, so that the scratch holds the greatest.
int64_t parts_anyhow(const Problem& p);
int64_t parts_planes(const Problem& p);
bool weight_planes(const Problem& p, const Operands& operands, const Context& context);
int64_t parts_channels_last(const Problem& p);
bool weight_channels_last(const Problem& p, const Operands& operands, const Context& context);
void weight_anyhow(const Problem& p, const Operands& operands, const Context& context);

// weight = sum over parts of scratch.
void add_parts(const Problem& p, const Operands& operands, const Context& context, int64_t parts);

}  // namespace torchconv::cuda::channelwise
