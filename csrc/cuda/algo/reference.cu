// reference: the defining sums, for every dtype and every problem, one thread for each element of
// the result.
//
//     output[n, g, co, o] = bias[g, co] + sum over ci, t  of  x[n, g, ci, i] * w[g, co, ci, t]
//     input [n, g, ci, i] =               sum over co, o, t   w[g, co, ci, t] * y[n, g, co, o]
//     weight[g, co, ci, t] =              sum over n, o   of  x[n, g, ci, i] * y[n, g, co, o]
//
// core/walk.h lists what ties i, o and t together. All three are sums by one thread in one order:
// no atomics, the same bits every run. It is the truth on the device, and the last resort.
#include "core/algorithm.h"
#include "core/walk.h"
#include "cuda/micro/launch.h"
#include "cuda/micro/number.h"

namespace torchconv::cuda {
namespace {

constexpr int kThreads = 128;
// Asked for four blocks a multiprocessor, the compiler has 128 registers a thread; asked for none,
// it holds itself to 40 and spills.
constexpr int kBlocks = 4;

// Where an element of the result lies, and the pair of elements that is added to it next.
template <Result result>
struct Place {
  int64_t n = 0, g = 0, ci = 0, co = 0;
  Walk<result> walk[kMaxAxes];

  __device__ Place(const Problem& p, int64_t element) {
    for (int a = p.axes - 1; a >= 0; --a) {
      const Axis& x = p.axis[a];
      const int64_t size = result == Result::output  ? x.output_size
                           : result == Result::input ? x.input_size
                                                     : x.kernel_size;
      Walk<result>& w = walk[a];
      (result == Result::output ? w.o : result == Result::input ? w.i : w.t) = element % size;
      element /= size;
    }
    const int64_t ins = p.in_channels_per_group(), outs = p.out_channels_per_group();
    if constexpr (result != Result::output) ci = element % ins, element /= ins;
    if constexpr (result != Result::input) co = element % outs, element /= outs;
    g = element % p.groups;
    n = element / p.groups;
  }

  // A View has no stride for an index its tensor does not have.
  __device__ int64_t channel(const View& view) const {
    return n * view.batch + g * view.group + ci * view.in_channel + co * view.out_channel;
  }
  __device__ int64_t in(const View& view, int a) const { return walk[a].i * view.axis[a]; }
  __device__ int64_t out(const View& view, int a) const { return walk[a].o * view.axis[a]; }
  __device__ int64_t tap(const View& view, int a) const { return walk[a].t * view.axis[a]; }

  // False where nothing is added to the element at all.
  __device__ bool start(const Problem& p) {
    for (int a = 0; a < p.axes; ++a)
      if (!walk[a].start(p.padding_mode, p.axis[a])) return false;
    return true;
  }
  __device__ bool next(const Problem& p) {
    for (int a = p.axes - 1; a >= 0; --a) {
      if (walk[a].next(p.padding_mode, p.axis[a])) return true;
      walk[a].start(p.padding_mode, p.axis[a]);
    }
    return false;
  }
};

template <typename T, Result result>
__device__ void sum_element(const Problem& p, const Operands& operands, int64_t element) {
  using Sum = typename ExactSum<T>::Type;
  const View &input = operands.input, &weight = operands.weight, &output = operands.output;
  Place<result> place(p, element);
  const int64_t x0 = place.channel(input), w0 = place.channel(weight), y0 = place.channel(output);
  Sum sum{};
  if (result == Result::output && operands.bias.data)
    sum = read<T, Sum>(operands.bias.data, place.channel(operands.bias));

  int64_t x = 0, w = 0, y = 0;
  if (place.start(p)) do {
      x = x0, w = w0, y = y0;
      for (int a = 0; a < p.axes; ++a) {
        x += place.in(input, a);
        w += place.tap(weight, a);
        y += place.out(output, a);
      }
      if constexpr (result == Result::output)
        for (int64_t ci = 0; ci < p.in_channels_per_group(); ++ci)
          sum += read<T, Sum>(input.data, x + ci * input.in_channel) *
                 read<T, Sum>(weight.data, w + ci * weight.in_channel);
      if constexpr (result == Result::input)
        for (int64_t co = 0; co < p.out_channels_per_group(); ++co)
          sum += read<T, Sum>(weight.data, w + co * weight.out_channel) *
                 read<T, Sum>(output.data, y + co * output.out_channel);
      if constexpr (result == Result::weight)
        for (int64_t n = 0; n < p.batch; ++n)
          sum += read<T, Sum>(input.data, x + n * input.batch) *
                 read<T, Sum>(output.data, y + n * output.batch);
    } while (place.next(p));

  const View& view = result == Result::output ? output : result == Result::input ? input : weight;
  int64_t at = place.channel(view);
  for (int a = 0; a < p.axes; ++a)
    at += result == Result::output  ? place.out(view, a)
          : result == Result::input ? place.in(view, a)
                                    : place.tap(view, a);
  if (operands.accumulate) sum += read<T, Sum>(view.data, at);
  write<T, Sum>(view.data, at, sum);
}

template <typename T, Result result>
__global__ void __launch_bounds__(kThreads, kBlocks)
    sum_elements(Problem p, Operands operands, int64_t elements) {
  const int64_t step = int64_t(gridDim.x) * kThreads;
  for (int64_t element = int64_t(blockIdx.x) * kThreads + threadIdx.x; element < elements;
       element += step)
    sum_element<T, result>(p, operands, element);
}

int64_t elements_of_result(const Problem& p) {
  switch (p.result) {
    case Result::output: return p.batch * p.out_channels * p.output_positions();
    case Result::input: return p.batch * p.in_channels * p.input_positions();
    case Result::weight: return p.out_channels * p.in_channels_per_group() * p.taps();
  }
  return 0;
}

std::string refuses(const Problem&) { return ""; }

// Not measured: an H100 has 67e12 float32 operations a second, and a sum that waits for every
// operand gets less than a hundredth of them.
double cost(const Problem& p) { return 10e-6 + 5e-12 * p.multiply_adds(); }

int64_t scratch_bytes(const Problem&, int) { return 0; }

void run(const Problem& p, const Operands& operands, const Context& context) {
  const int64_t elements = elements_of_result(p);
  if (elements == 0) return;
  const Launch how = launch_of(grid_stride_blocks(elements, kThreads, context.threads), kThreads, 0,
                               context.stream);
  for_dtype(p.dtype, [&](auto typed) {
    using T = decltype(typed);
    const auto start = [&](auto* kernel) { launch(how, kernel, p, operands, elements); };
    switch (p.result) {
      case Result::output: return start(&sum_elements<T, Result::output>);
      case Result::input: return start(&sum_elements<T, Result::input>);
      case Result::weight: return start(&sum_elements<T, Result::weight>);
    }
  });
}

}  // namespace

extern const Algorithm reference;
const Algorithm reference = {"reference", refuses, cost, scratch_bytes, run};

}  // namespace torchconv::cuda
