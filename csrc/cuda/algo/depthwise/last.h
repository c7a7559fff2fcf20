// What the two ways for channels that lie side by side share: a thread has a vector of channels, and
// a window of neighbours in a line, which it places once and loads from line after line.
#pragma once

#include <algorithm>
#include <cmath>

#include "cuda/algo/depthwise/kernels.h"

namespace torchconv::cuda::channelwise {

constexpr int kThreads = 128;   // of a block; four on a multiprocessor leave a thread 128 registers
constexpr int kBlocks = 528;    // that fill an H100 once: four on each multiprocessor
constexpr int kTapsAtOnce = 7;  // of a line, where their number is not known to the compiler

TORCHCONV_HOST_DEVICE constexpr int taps_at_once(int taps) {
  return taps == 0 ? kTapsAtOnce : taps;
}

// Channels of a thread: 8 bytes of the 16-bit floats, so that all floats are summed alike.
template <typename T>
constexpr int kVector = sizeof(T) == 8 ? 2 : 4;

// As it is loaded. Of the 16-bit floats two to a word: each is widened by one instruction there.
template <typename T>
using Vector = std::conditional_t<sizeof(T) == 2, Pack<uint32_t, 2>, Pack<T, kVector<T>>>;

template <typename T, typename Sum>
__device__ __forceinline__ void widen_vector(const Vector<T>& stored, Sum (&x)[kVector<T>]) {
  if constexpr (std::is_same_v<T, BFloat16>) {
#pragma unroll
    for (int j = 0; j < kVector<T>; j += 2) {
      x[j] = float_of(stored.value[j / 2] << 16);
      x[j + 1] = float_of(stored.value[j / 2] & 0xffff0000);
    }
  } else if constexpr (std::is_same_v<T, Float16>) {
#pragma unroll
    for (int j = 0; j < kVector<T>; j += 2) {
      x[j] = widen<Sum>(Float16{uint16_t(stored.value[j / 2])});
      x[j + 1] = widen<Sum>(Float16{uint16_t(stored.value[j / 2] >> 16)});
    }
  } else {
#pragma unroll
    for (int j = 0; j < kVector<T>; ++j) x[j] = stored.value[j];
  }
}

// One channel a group, and vectors of channels aligned in every position.
template <typename T>
bool channels_aligned(const Problem& p, const View& v) {
  const int64_t strides[] = {v.batch, v.axis[0], v.axis[1], v.axis[2], p.groups};
  return v.group == 1 && aligned<T>(v, kVector<T>, strides, 5);
}

// Whether indices made of these, and sums of a few, fit 32 bits.
inline bool is_short(int64_t count, int64_t step) {
  return std::abs(double(count) * double(step)) < double(1 << 28);
}

// The problem in three axes, where positions of each axis, offsets in a line and offsets in the taps
// are short.
inline bool depthwise_in_three_axes(Problem* p, Operands* operands) {
  if (p->in_channels != p->groups || p->out_channels != p->groups) return false;
  if (!to_three_axes(p, operands)) return false;
  bool fits = is_short(p->groups, operands->weight.group) && is_short(p->taps(), 1) &&
              is_short(p->batch, p->output_positions()) &&
              is_short(p->axis[2].input_size, operands->input.axis[2]) &&
              is_short(p->axis[2].output_size, operands->output.axis[2]);
  for (int a = 0; a < 3; ++a) {
    const Axis& x = p->axis[a];
    fits = fits && is_short(x.input_size, 1) && is_short(x.output_size, x.stride) &&
           is_short(x.kernel_size, x.dilation) && is_short(x.padding, 1) &&
           is_short(x.kernel_size, operands->weight.axis[a]);
  }
  return fits && p->axis[2].stride <= 2 && p->axis[2].dilation == 1 && p->batch > 0 &&
         p->taps() > 0 && p->output_positions() > 0;
}

// Threads of a block along the vectors of channels: 8 to 16, for whole lines of the cache, and of
// these the number that leaves fewest threads without work.
inline int channel_threads(int64_t vectors) {
  int best = 0;
  double most = 0;
  for (int threads = vectors < 8 ? int(vectors) : 8; threads <= 16 && threads <= vectors;
       ++threads) {
    const double busy =
        double(vectors) / double(ceil_div(vectors, threads)) * double(kThreads / threads);
    if (busy > most) best = threads, most = busy;
  }
  return best;
}

// Calls body(T(), number of taps that are known, stride) with the kernel's template parameters.
template <typename T, typename Body>
bool for_taps_of(const Problem& p, const Body& body) {
  const auto with_stride = [&](auto taps) {
    if (p.axis[2].stride == 2) return body(T(), taps, std::integral_constant<int, 2>());
    return body(T(), taps, std::integral_constant<int, 1>());
  };
  if constexpr (sizeof(T) < 8) switch (p.axis[2].kernel_size) {
      case 3: return with_stride(std::integral_constant<int, 3>());
      case 5: return with_stride(std::integral_constant<int, 5>());
    }
  return with_stride(std::integral_constant<int, 0>());
}

template <typename Body>
bool for_kernel_of(const Problem& p, const Body& body) {
  switch (p.dtype) {
    case DType::float32: return for_taps_of<float>(p, body);
    case DType::float64: return for_taps_of<double>(p, body);
    case DType::bfloat16: return for_taps_of<BFloat16>(p, body);
    case DType::float16: return for_taps_of<Float16>(p, body);
    default: return false;
  }
}

// A view whose strides count bytes, so that an address is one sum.
template <typename T>
View in_bytes(View view) {
  for (int64_t* stride : {&view.batch, &view.axis[0], &view.axis[1], &view.axis[2]})
    *stride *= int64_t(sizeof(T));
  return view;
}

// base + count * step in 64 bits of 32: two or three instructions, for which the compiler takes six.
// Where it stands, so that no condition applies to it and no register holds it before a loop.
__device__ __forceinline__ const char* step_from(const char* base, int count, int step) {
#ifdef __CUDA_ARCH__
  const char* address;
  asm volatile("mad.wide.s32 %0, %1, %2, %3;" : "=l"(address) : "r"(count), "r"(step), "l"(base));
  __builtin_assume(__isGlobal(address));
  return address;
#else
  return base + int64_t(count) * step;
#endif
}

// What follows from the number is computed here: not before a loop, where it would take registers.
__device__ __forceinline__ int computed_here(int number) {
#ifdef __CUDA_ARCH__
  asm volatile("" : "+r"(number));
#endif
  return number;
}

// `count` neighbours of a line from `first` on, for all lines alike. Where none of them is folded
// back, a bit for each says whether it is no padding: loading them takes no branch, and all loads
// are under way at once.
template <typename T, int count>
struct Window {
  PaddingMode mode;
  int first, size, step;  // in bytes
  unsigned inside;
  bool folded;

  __device__ __forceinline__ Window(PaddingMode mode, int first, int size, int step)
      : mode(mode), first(first), size(size), step(step) {
    const auto within = [](int n) { return n < 0 ? 0 : n < count ? n : count; };
    inside = (1u << within(size - first)) - (1u << within(-first));
    folded = mode != PaddingMode::zeros && (first < 0 || first + count > size);
  }

  // From a line's first element to where load() begins.
  __device__ __forceinline__ int64_t start() const { return folded ? 0 : int64_t(first) * step; }

  // Zeros in the padding, which is not read.
  __device__ __forceinline__ void load(const char* at, Vector<T> (&x)[count]) const {
    const int on = computed_here(step);
    if (!folded) {
#pragma unroll
      for (int c = 0; c < count; ++c) {
        const char* const from = step_from(at, c, on);
        x[c] = {};
        if (inside >> c & 1) x[c] = *reinterpret_cast<const Vector<T>*>(from);
      }
      return;
    }
    const int begin = computed_here(first);
#pragma unroll
    for (int c = 0; c < count; ++c) {
      const int i = fold_inside(mode, begin + c, size);
      x[c] = {};
      if (i >= 0) x[c] = *reinterpret_cast<const Vector<T>*>(step_from(at, i, on));
    }
  }
};

}  // namespace torchconv::cuda::channelwise
