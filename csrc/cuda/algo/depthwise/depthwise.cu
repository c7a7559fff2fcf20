// depthwise: one input channel a group, or few, where memory and not arithmetic sets the time.
//
//     output[n, g, co, o] = bias[g, co] + sum over ci, t  of  x[n, g, ci, i] * w[g, co, ci, t]
//
// Forward, the first way that takes the problem:
//   planes.cu          lines of the input side by side in memory: a tile of outputs of one channel
//                      a block, its inputs once through shared memory
//   last.cu            channels side by side: each thread a vector of channels
//   anyhow.cu          everything else, one thread for an output
// By input: the forward problems that make it up (core/relabel.h). By weight: natively, each block
// sums a fixed part of the positions and a second kernel adds the parts in a fixed order: no atomics,
// the same bits on every device.
//
// float32 is summed in float32. Run by the emulator on the tests' problems and compiled by nvcc for
// sm_90a; it ran on an H200 (2026-11-26).
#include <algorithm>

#include "cuda/algo/depthwise/kernels.h"

namespace torchconv::cuda {
namespace {

using namespace channelwise;

// Above, tensor cores get more out of a load than one product each.
constexpr int64_t kMostChannels = 16;

std::string refuses(const Problem& p) {
  if (is_integer(p.dtype)) return "an integer dtype (depthwise sums floats)";
  const int64_t ins = p.in_channels_per_group(), outs = p.out_channels_per_group();
  const int64_t channels = p.result == Result::input ? outs : ins;
  if (channels > kMostChannels)
    return std::to_string(channels) + " channels a group to sum over (depthwise takes at most " +
           std::to_string(kMostChannels) + ")";
  return "";
}

// Whether the tiled ways take the problem, as far as one can say before the views are known.
bool is_tiled(const Problem& p) {
  const Axis& w = p.axis[p.axes - 1];
  if (is_complex(p.dtype) || p.axes > 3 || w.dilation != 1) return false;
  if (w.stride > (p.result == Result::input ? w.kernel_size : 2)) return false;
  if (!p.channels_last) return p.axes < 2 || p.axis[p.axes - 2].dilation == 1;
  const int64_t vector = p.dtype == DType::float64 ? 2 : 4;
  return p.in_channels == p.groups && p.out_channels == p.groups && p.groups % vector == 0;
}

// An H100 moves 3e12 bytes and multiplies 3e13 pairs a second, of which a thread that fetches each by
// itself gets a tenth; a launch takes some microseconds. Every channel of a group is read once for
// each that it is paired with. Layers took twice that on an H200, the median of 300 in bfloat16.
double cost(const Problem& p) {
  const double inputs = double(p.batch) * double(p.in_channels) * double(p.input_positions());
  const double outputs = double(p.batch) * double(p.out_channels) * double(p.output_positions());
  const double ins = double(p.in_channels_per_group()), outs = double(p.out_channels_per_group());
  double launches = 1, elements = inputs * outs + outputs;
  if (p.result == Result::input) {
    elements = inputs + outputs * ins;
    for (int a = 0; a < p.axes; ++a)
      launches *= double(std::min(p.axis[a].stride, p.axis[a].kernel_size));
  } else if (p.result == Result::weight) {
    elements = inputs * outs + outputs * ins;
    launches = 2;
  }
  // Groups of several channels were a fifth as fast as that on an H200.
  const double pairs_a_second = (is_tiled(p) ? 2e13 : 2e12) / (ins * outs > 1 ? 5 : 1);
  return 2 *
         (3e-6 * launches + double(element_bytes(p.dtype)) * elements / 3e12 +
          p.multiply_adds() / (p.dtype == DType::float64 ? pairs_a_second / 2 : pairs_a_second));
}

int64_t scratch_bytes(const Problem& p, int) {
  if (p.result != Result::weight || weight_elements(p) == 0) return 0;
  const int64_t sum_bytes = element_bytes(p.dtype) < 4 ? 4 : element_bytes(p.dtype);
  const int64_t parts = std::max({parts_anyhow(p), parts_planes(p), parts_channels_last(p)});
  return parts * weight_elements(p) * sum_bytes;
}

void run_forward(const Forward& forward, const Context& context) {
  if (forward_planes(&forward, 1, context)) return;
  if (forward_channels_last(forward.p, forward.operands, context)) return;
  forward_anyhow(forward.p, forward.operands, context);
}

// Problems that write different elements share a launch where planes.cu takes them.
void run_forwards(const Problem& p, const Operands& operands, const Context& context) {
  const bool apart =
      p.result == Result::input && p.padding_mode == PaddingMode::zeros && !phases_leave_gaps(p);
  Forward waiting[kTogether];
  int count = 0;
  const auto run_waiting = [&] {
    if (count < 2 || !forward_planes(waiting, count, context))
      for (int i = 0; i < count; ++i) run_forward(waiting[i], context);
    count = 0;
  };
  for_each_forward(p, operands, [&](const Problem& forward, const Operands& views) {
    if (forward.batch * forward.out_channels * forward.output_positions() == 0) return;
    Forward& next = waiting[count++];
    next.p = forward, next.operands = views;
    simplify(&next.p, &next.operands);
    if (count == (apart ? kTogether : 1)) run_waiting();
  });
  run_waiting();
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  if (p.result != Result::weight) return run_forwards(p, operands, context);
  if (weight_elements(p) == 0 || weight_planes(p, operands, context) ||
      weight_channels_last(p, operands, context))
    return;
  weight_anyhow(p, operands, context);
}

}  // namespace

extern const Algorithm depthwise;
const Algorithm depthwise = {"depthwise", refuses, cost, scratch_bytes, run};

}  // namespace torchconv::cuda
