// depthwise, for any stride, dilation, padding mode, layout and number of axes: what the tiled ways
// do not take. One thread for an output; one block for an element of the weight and a part of the
// positions.
//
// nvcc 13.0, sm_90a: 38 to 64 registers.
#include <algorithm>

#include "core/walk.h"
#include "cuda/algo/depthwise/kernels.h"

namespace torchconv::cuda::channelwise {
namespace {

constexpr int kThreads = 128;
constexpr int kMostSlots = 16;  // leaves a block 8 elements: 32 bytes of float, what memory moves

// Channels of one position side by side, or positions of one channel: as they lie in memory, so that
// a warp's accesses fall together.
struct Element {
  int64_t n = 0, g = 0, co = 0;

  __device__ Element(const Problem& p, int64_t element, bool channels_fastest,
                     Walk<Result::output>* walk) {
    const int64_t outs = p.out_channels_per_group();
    if (channels_fastest) co = split_off(&element, outs), g = split_off(&element, p.groups);
    for (int a = p.axes - 1; a >= 0; --a) walk[a].o = split_off(&element, p.axis[a].output_size);
    if (!channels_fastest) co = split_off(&element, outs), g = split_off(&element, p.groups);
    n = element;
  }
};

template <typename T>
__device__ void sum_output(const Problem& p, const Operands& operands, int64_t element,
                           bool channels_fastest) {
  using Sum = typename SumOf<T>::Type;
  const View &input = operands.input, &weight = operands.weight, &output = operands.output;
  Walk<Result::output> walk[kMaxAxes];
  const Element e(p, element, channels_fastest, walk);
  const T* const x0 = static_cast<const T*>(input.data) + e.n * input.batch + e.g * input.group;
  const T* const w0 =
      static_cast<const T*>(weight.data) + e.g * weight.group + e.co * weight.out_channel;
  Sum sum{};
  if (operands.bias.data)
    sum = widen<Sum>(static_cast<const T*>(
        operands.bias.data)[e.g * operands.bias.group + e.co * operands.bias.out_channel]);
  bool some = true;
  for (int a = 0; a < p.axes; ++a) some = some && walk[a].start(p.padding_mode, p.axis[a]);
  while (some) {
    int64_t x = 0, w = 0;
    for (int a = 0; a < p.axes; ++a) {
      x += walk[a].i * input.axis[a];
      w += walk[a].t * weight.axis[a];
    }
    for (int64_t ci = 0; ci < p.in_channels_per_group(); ++ci)
      sum += widen<Sum>(x0[x + ci * input.in_channel]) * widen<Sum>(w0[w + ci * weight.in_channel]);
    some = false;
    for (int a = p.axes - 1; a >= 0 && !some; --a)
      if (!(some = walk[a].next(p.padding_mode, p.axis[a])))
        walk[a].start(p.padding_mode, p.axis[a]);
  }
  int64_t at = e.n * output.batch + e.g * output.group + e.co * output.out_channel;
  for (int a = 0; a < p.axes; ++a) at += walk[a].o * output.axis[a];
  T* const y = static_cast<T*>(output.data) + at;
  if (operands.accumulate) sum += widen<Sum>(*y);
  *y = narrow<T>(sum);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 4)
    sum_outputs(Problem p, Operands operands, int64_t elements, bool channels_fastest) {
  const int64_t step = int64_t(gridDim.x) * kThreads;
  for (int64_t element = int64_t(blockIdx.x) * kThreads + threadIdx.x; element < elements;
       element += step)
    sum_output<T>(p, operands, element, channels_fastest);
}

// An element of the weight, in the order of [g, co, ci, t].
struct Tap {
  int64_t g, co, ci, t[kMaxAxes];

  __device__ Tap(const Problem& p, int64_t element) {
    for (int a = p.axes - 1; a >= 0; --a) t[a] = split_off(&element, p.axis[a].kernel_size);
    ci = split_off(&element, p.in_channels_per_group());
    co = split_off(&element, p.out_channels_per_group());
    g = element;
  }
};

// The products of one pair of channels and one tap at all positions [begin, end), every
// kThreads-th by one thread.
template <typename T>
__device__ typename SumOf<T>::Type sum_positions(const Problem& p, const Operands& operands,
                                                 const Tap& tap, int64_t begin, int64_t end) {
  using Sum = typename SumOf<T>::Type;
  const View &input = operands.input, &output = operands.output;
  const T* const x0 =
      static_cast<const T*>(input.data) + tap.g * input.group + tap.ci * input.in_channel;
  const T* const y0 =
      static_cast<const T*>(output.data) + tap.g * output.group + tap.co * output.out_channel;
  Sum sum{};
  for (int64_t position = begin + threadIdx.x; position < end; position += kThreads) {
    int64_t rest = position, x = 0, y = 0;
    bool inside = true;
    for (int a = p.axes - 1; a >= 0; --a) {
      const Axis& axis = p.axis[a];
      const int64_t o = split_off(&rest, axis.output_size);
      const int64_t i =
          fold(p.padding_mode, o * axis.stride - axis.padding + tap.t[a] * axis.dilation,
               axis.input_size);
      inside = inside && i >= 0;
      x += i * input.axis[a];
      y += o * output.axis[a];
    }
    if (inside)
      sum += widen<Sum>(x0[x + rest * input.batch]) * widen<Sum>(y0[y + rest * output.batch]);
  }
  return sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 4)
    sum_weights(Problem p, Operands operands, typename SumOf<T>::Type* sums, int64_t elements,
                int64_t parts) {
  using Sum = typename SumOf<T>::Type;
  Sum* const shared = dynamic_shared<Sum>();
  const int64_t positions = p.batch * p.output_positions();
  for (int64_t job = blockIdx.x; job < elements * parts; job += gridDim.x) {
    int64_t part = job;
    const int64_t element = split_off(&part, elements);
    shared[threadIdx.x] =
        sum_positions<T>(p, operands, Tap(p, element), part_begin(positions, parts, part),
                         part_begin(positions, parts, part + 1));
    for (int half = kThreads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (int(threadIdx.x) < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[job] = shared[0];
    __syncthreads();
  }
}

// Of `slots` threads for an element each adds every slots-th part, and a tree the sums of these.
// Elements side by side fall to threads side by side.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4)
    sum_parts(Problem p, Operands operands, const typename SumOf<T>::Type* sums, int64_t elements,
              int64_t parts, int slots) {
  using Sum = typename SumOf<T>::Type;
  Sum* const shared = dynamic_shared<Sum>();
  const View& weight = operands.weight;
  const int across = kThreads / slots, slot = int(threadIdx.x) / across;
  wait_for_kernel();
  for (int64_t first = int64_t(blockIdx.x) * across; first < elements;
       first += int64_t(gridDim.x) * across) {
    const int64_t element = first + int(threadIdx.x) % across;
    Sum sum{};
    if (element < elements)
#pragma unroll 8
      for (int64_t part = slot; part < parts; part += slots) sum += sums[part * elements + element];
    shared[threadIdx.x] = sum;
    for (int half = slots / 2; half > 0; half /= 2) {
      __syncthreads();
      if (slot < half) shared[threadIdx.x] += shared[threadIdx.x + half * across];
    }
    if (slot == 0 && element < elements) {
      sum = shared[threadIdx.x];
      const Tap tap(p, element);
      int64_t at = tap.g * weight.group + tap.co * weight.out_channel + tap.ci * weight.in_channel;
      for (int a = 0; a < p.axes; ++a) at += tap.t[a] * weight.axis[a];
      T* const w = static_cast<T*>(weight.data) + at;
      if (operands.accumulate) sum += widen<Sum>(*w);
      *w = narrow<T>(sum);
    }
    __syncthreads();
  }
}

// Calls body(T()) with the type of a floating dtype; refuses() has left no other.
template <typename Body>
void for_float(DType dtype, const Body& body) {
  for_dtype(dtype, [&](auto typed) {
    if constexpr (!std::is_integral_v<decltype(typed)>) body(typed);
  });
}

Launch one_thread_each(int64_t elements, const Context& context) {
  return launch_of(grid_stride_blocks(elements, kThreads, context.threads), kThreads, 0,
                   context.stream);
}

}  // namespace

void forward_anyhow(const Problem& p, const Operands& operands, const Context& context) {
  const int64_t elements = p.batch * p.out_channels * p.output_positions();
  const View& output = operands.output;
  const bool channels_fastest =
      p.out_channels_per_group() > 1 ? output.out_channel == 1 : output.group == 1;
  for_float(p.dtype, [&](auto typed) {
    launch(one_thread_each(elements, context), &sum_outputs<decltype(typed)>, p, operands, elements,
           channels_fastest && p.output_positions() > 1);
  });
}

int64_t parts_anyhow(const Problem& p) {
  // 4096 blocks fill any device, and a thread should have 8 positions.
  const int64_t elements = weight_elements(p), positions = p.batch * p.output_positions();
  const int64_t wanted = ceil_div(4096, elements), most = positions / (8 * kThreads);
  return most < 1 ? 1 : wanted < most ? wanted : most;
}

void weight_anyhow(const Problem& p, const Operands& operands, const Context& context) {
  const int64_t elements = weight_elements(p), parts = parts_anyhow(p);
  for_float(p.dtype, [&](auto typed) {
    using T = decltype(typed);
    using Sum = typename SumOf<T>::Type;
    const int64_t jobs = elements * parts;
    const Launch how =
        launch_of(std::min(jobs, kMostBlocks), kThreads, kThreads * sizeof(Sum), context.stream);
    launch(how, &sum_weights<T>, p, operands, static_cast<Sum*>(context.scratch), elements, parts);
  });
  add_parts(p, operands, context, parts);
}

void add_parts(const Problem& p, const Operands& operands, const Context& context, int64_t parts) {
  const int64_t elements = weight_elements(p);
  int slots = 1;
  while (slots < kMostSlots && 2 * slots <= parts) slots *= 2;
  for_float(p.dtype, [&](auto typed) {
    using T = decltype(typed);
    using Sum = typename SumOf<T>::Type;
    Launch how = one_thread_each(elements * slots, context);
    how.shared_bytes = kThreads * sizeof(Sum);
    how.early = p.capability >= 90;
    launch(how, &sum_parts<T>, p, operands, static_cast<const Sum*>(context.scratch), elements,
           parts, slots);
  });
}

}  // namespace torchconv::cuda::channelwise
