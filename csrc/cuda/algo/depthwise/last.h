// What the two ways for channels that lie side by side share: a vector of channels a thread.
#pragma once

#include "cuda/algo/depthwise/kernels.h"

namespace torchconv::cuda::channelwise {

constexpr int kTapsAtOnce = 4;  // of a line, and 3 where the line has 3

TORCHCONV_HOST_DEVICE constexpr int taps_at_once(int taps) {
  return taps == 0 ? kTapsAtOnce : taps;
}

// One channel a group, and vectors of channels aligned in every position.
template <typename T>
bool channels_aligned(const Problem& p, const View& v) {
  const int64_t strides[] = {v.batch, v.axis[0], v.axis[1], v.axis[2], p.groups};
  return v.group == 1 && aligned<T>(v, kPack<T>, strides, 5);
}

inline bool depthwise_in_three_axes(Problem* p, Operands* operands) {
  if (p->in_channels != p->groups || p->out_channels != p->groups) return false;
  if (!to_three_axes(p, operands)) return false;
  const Axis& w = p->axis[2];
  return w.stride <= 2 && w.dilation == 1 && w.input_size < (1 << 30) &&
         w.output_size < (1 << 30) && p->batch > 0 && p->taps() > 0 && p->taps() < (1 << 20) &&
         p->output_positions() > 0;
}

// Threads of a block along the vectors of channels: a power of two that wastes few of them.
inline int channel_threads(int64_t vectors, int most) {
  int threads = most;
  while (threads > 1 && threads / 2 >= vectors) threads /= 2;
  return threads;
}

// Calls body(T(), number of taps that are known, stride) with the kernel's template parameters.
template <typename T, typename Body>
bool for_taps_of(const Problem& p, const Body& body) {
  using Any = std::integral_constant<int, 0>;
  using Three = std::integral_constant<int, 3>;
  using One = std::integral_constant<int, 1>;
  using Two = std::integral_constant<int, 2>;
  if constexpr (sizeof(T) < 8)
    if (p.axis[2].kernel_size == 3)
      return p.axis[2].stride == 2 ? body(T(), Three(), Two()) : body(T(), Three(), One());
  return p.axis[2].stride == 2 ? body(T(), Any(), Two()) : body(T(), Any(), One());
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

// The vector of channels at a position of a line, zeros in the padding.
template <typename T>
__device__ __forceinline__ Pack<T, kPack<T>> load_channels(PaddingMode mode, const T* line,
                                                           int64_t step, int64_t i, int64_t size) {
  const int64_t folded = uint64_t(i) < uint64_t(size) ? i : fold_inside(mode, i, size);
  if (folded < 0) return {};
  return *reinterpret_cast<const Pack<T, kPack<T>>*>(line + folded * step);
}

}  // namespace torchconv::cuda::channelwise
