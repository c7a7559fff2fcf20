#include "core/relabel.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/arithmetic.h"

namespace torchconv {
namespace {

int64_t modulo(int64_t a, int64_t b) { return ((a % b) + b) % b; }

// A stretch of padded indices v in [first, first + count) that a fold maps to start +
// step * (v - first).
struct Segment {
  int64_t first, count, start, step;
};

// Padded indices below 0 and beyond the input that some pair of output and tap reaches.
int64_t low_reach(const Axis& x) { return std::max<int64_t>(x.padding, 0); }
int64_t high_reach(const Axis& x) {
  const int64_t last =
      (x.output_size - 1) * x.stride + (x.kernel_size - 1) * x.dilation - x.padding;
  return x.output_size == 0 ? 0 : std::max<int64_t>(last - (x.input_size - 1), 0);
}

int64_t count_segments(PaddingMode mode, const Axis& x) {
  if (mode == PaddingMode::zeros || mode == PaddingMode::replicate) return 1;
  return 1 + (low_reach(x) > 0) + (high_reach(x) > 0);
}

// Number 0 is the input itself; then the low side, then the high side.
Segment segment(PaddingMode mode, const Axis& x, int64_t number) {
  const int64_t n = x.input_size, low = low_reach(x), high = high_reach(x);
  if (number == 0) return {0, n, 0, 1};
  const bool below = low > 0 && number == 1;
  if (mode == PaddingMode::circular)
    return below ? Segment{-low, low, n - low, 1} : Segment{n, high, 0, 1};
  return below ? Segment{-low, low, low, -1} : Segment{n, high, n - 2, -1};
}

// Under `replicate` the first and the last index stand for all beyond them: each sums, for one tap,
// the outputs whose index lies there. The outputs become the taps of a problem of one output, all
// of them with the same weight. Numbers 0, 1, ...: the low side of each tap, then the high side.
Phase edge_phase(const Axis& x, int64_t number) {
  const bool low = number < x.kernel_size;
  const int64_t tap = number % x.kernel_size, at_zero = x.padding - tap * x.dilation;
  const auto outputs_before = [&x](int64_t v) {  // that make o * stride < v
    return v <= 0 ? 0 : std::min(ceil_div(v, x.stride), x.output_size);
  };
  const int64_t first = low ? 0 : outputs_before(at_zero + x.input_size);
  const int64_t count = low ? outputs_before(at_zero) : x.output_size - first;
  Phase p;
  p.axis = Axis{x.output_size, count, count > 0, 1, -first, 1};
  p.first_index = low ? 0 : x.input_size - 1;
  p.index_step = p.tap_step = 0;
  p.first_tap = tap;
  p.accumulate = true;
  return p;
}

void swap_channels(View* v) { std::swap(v->in_channel, v->out_channel); }

}  // namespace

int64_t tap_classes(const Axis& x) { return x.stride / std::gcd(x.stride, x.dilation); }

int64_t count_phases(const Problem& problem, int a) {
  const Axis& x = problem.axis[a];
  const int64_t edges = problem.padding_mode == PaddingMode::replicate ? 2 * x.kernel_size : 0;
  return count_segments(problem.padding_mode, x) * std::min(tap_classes(x), x.kernel_size) + edges;
}

bool phases_leave_gaps(const Problem& problem) {
  for (int a = 0; a < problem.axes; ++a) {
    const Axis& x = problem.axis[a];
    if (std::min(tap_classes(x), x.kernel_size) != x.stride) return true;
  }
  return false;
}

Phase phase(const Problem& problem, int a, int64_t number) {
  const Axis& x = problem.axis[a];
  const int64_t classes = tap_classes(x), used = std::min(classes, x.kernel_size);
  const int64_t segments = count_segments(problem.padding_mode, x);
  if (number >= segments * used) return edge_phase(x, number - segments * used);
  const Segment s = segment(problem.padding_mode, x, number / used);
  const int64_t t0 = number % used;
  const int64_t padding = x.padding + s.first;  // of the segment, whose first index is 0

  // Index r + stride * j of the segment meets tap t0 + classes * u at output base + j - step * u.
  const int64_t r = modulo(t0 * x.dilation - padding, x.stride);
  const int64_t base = (r + padding - t0 * x.dilation) / x.stride;
  const int64_t step = x.dilation / (x.stride / classes);
  const int64_t taps = ceil_div(x.kernel_size - t0, classes);

  Phase p;
  p.axis.input_size = x.output_size;
  p.axis.kernel_size = taps;
  p.axis.output_size = r < s.count ? ceil_div(s.count - r, x.stride) : 0;
  p.axis.stride = 1;
  p.axis.dilation = step;
  p.axis.padding = step * (taps - 1) - base;  // the taps run backwards: u = taps - 1 first
  p.first_index = s.start + s.step * r;
  p.index_step = p.axis.output_size > 1 ? s.step * x.stride : 0;  // a step of 0 cannot overflow
  p.first_tap = t0 + classes * (taps - 1);
  p.tap_step = taps > 1 ? -classes : 0;
  p.accumulate = number >= used;
  return p;
}

Problem weight_as_forward(const Problem& problem) {
  Problem p = problem;
  p.result = Result::output;
  p.batch = problem.in_channels_per_group();
  p.in_channels = problem.batch * problem.groups;
  for (int a = 0; a < p.axes; ++a) {
    std::swap(p.axis[a].stride, p.axis[a].dilation);
    std::swap(p.axis[a].kernel_size, p.axis[a].output_size);
  }
  return p;
}

Operands weight_as_forward(const Problem&, const Operands& operands) {
  Operands o = operands;
  std::swap(o.weight, o.output);
  std::swap(o.input.batch, o.input.in_channel);
  std::swap(o.weight.batch, o.weight.in_channel);
  std::swap(o.output.batch, o.output.in_channel);
  return o;
}

Problem input_as_forward(const Problem& problem, const Phase* phases) {
  Problem p = problem;
  p.result = Result::output;
  p.padding_mode = PaddingMode::zeros;
  std::swap(p.in_channels, p.out_channels);
  for (int a = 0; a < p.axes; ++a) {
    if (phases) {
      p.axis[a] = phases[a].axis;
    } else {
      const Axis& x = problem.axis[a];
      p.axis[a] = Axis{x.output_size, 0, x.input_size, 1, 0, 1};
    }
  }
  return p;
}

Operands input_as_forward(const Problem& problem, const Operands& operands, const Phase* phases) {
  Operands o = operands;
  std::swap(o.input, o.output);
  swap_channels(&o.input);
  swap_channels(&o.weight);
  swap_channels(&o.output);
  if (!phases) return o;
  int64_t index_offset = 0, tap_offset = 0;
  for (int a = 0; a < problem.axes; ++a) {
    index_offset += phases[a].first_index * o.output.axis[a];
    tap_offset += phases[a].first_tap * o.weight.axis[a];
    o.output.axis[a] *= phases[a].index_step;
    o.weight.axis[a] *= phases[a].tap_step;
    o.accumulate |= phases[a].accumulate;
  }
  const int64_t bytes = element_bytes(problem.dtype);
  o.output.data = static_cast<char*>(o.output.data) + index_offset * bytes;
  o.weight.data = static_cast<char*>(o.weight.data) + tap_offset * bytes;
  return o;
}

void straighten_taps(Problem* problem, View* weight) {
  int64_t offset = 0;
  for (int a = 0; a < problem->axes; ++a) {
    Axis& x = problem->axis[a];
    if (weight->axis[a] >= 0 || x.kernel_size < 2) continue;
    offset += (x.kernel_size - 1) * weight->axis[a];
    weight->axis[a] = -weight->axis[a];
    x.padding -= (x.kernel_size - 1) * x.dilation;
    x.dilation = -x.dilation;
  }
  weight->data = static_cast<char*>(weight->data) + offset * element_bytes(problem->dtype);
}

void taps_to_channels(Problem* problem, Operands* operands) {
  View &input = operands->input, &weight = operands->weight;
  int64_t apart = 0, weight_apart = 0, taps = 1;  // from one tap to the next, and how many
  for (int a = problem->axes - 1; a >= 0; --a) {
    const Axis& x = problem->axis[a];
    if (x.output_size != 1 || x.kernel_size < 1 || x.padding != 0 || x.dilation < 1 ||
        (x.kernel_size - 1) * x.dilation >= x.input_size)
      return;
    if (x.kernel_size == 1) continue;
    const int64_t step = input.axis[a] * x.dilation, weight_step = weight.axis[a];
    if (taps == 1)
      apart = step, weight_apart = weight_step;
    else if (step != apart * taps || weight_step != weight_apart * taps)
      return;
    taps *= x.kernel_size;
  }
  const bool one_channel = problem->in_channels_per_group() == 1;
  if (taps == 1 || (!one_channel &&
                    (input.in_channel != apart * taps || weight.in_channel != weight_apart * taps)))
    return;
  problem->in_channels *= taps;
  input.in_channel = apart;
  weight.in_channel = weight_apart;
  for (int a = 0; a < problem->axes; ++a) problem->axis[a] = Axis{};
}

void drop_blind_outputs(Problem* problem, Operands* operands) {
  if (problem->result == Result::output || problem->padding_mode != PaddingMode::zeros) return;
  int64_t offset = 0;
  for (int a = 0; a < problem->axes; ++a) {
    Axis& x = problem->axis[a];
    if (x.kernel_size == 0 || x.output_size == 0) continue;
    // Output o sees the indices from o * stride - padding on, as far as the taps reach.
    const int64_t low = x.padding - (x.kernel_size - 1) * x.dilation;
    const int64_t high = x.input_size - 1 + x.padding;
    const int64_t first = low > 0 ? ceil_div(low, x.stride) : 0;
    const int64_t end = high < 0 ? 0 : std::min(x.output_size, high / x.stride + 1);
    if (first == 0 && end == x.output_size) continue;
    x.output_size = std::max<int64_t>(end - first, 0);
    if (x.output_size == 0) continue;
    x.padding -= first * x.stride;
    offset += first * operands->output.axis[a];
  }
  operands->output.data =
      static_cast<char*>(operands->output.data) + offset * element_bytes(problem->dtype);
}

void drop_blind_taps(Problem* problem, View* weight) {
  if (problem->result == Result::weight || problem->padding_mode != PaddingMode::zeros) return;
  int64_t offset = 0;
  for (int a = 0; a < problem->axes; ++a) {
    Axis& x = problem->axis[a];
    // Whether an output sees an input through tap t.
    const auto sees = [&x](int64_t t) {
      const int64_t shift = x.padding - t * x.dilation;
      const int64_t first = shift > 0 ? ceil_div(shift, x.stride) : 0;
      return first < x.output_size && first * x.stride - shift < x.input_size;
    };
    // Those that the last output has before the input, and the first one behind it; from there on a
    // stride may leap over some more.
    const int64_t before = x.padding - (x.output_size - 1) * x.stride;
    const int64_t reach = x.padding + x.input_size - 1;
    const int64_t most = std::max<int64_t>(x.padding / x.dilation, 0);  // none is left negative
    int64_t first = before > 0 ? std::min(ceil_div(before, x.dilation), most) : 0;
    int64_t end = reach < 0 ? 0 : std::min(x.kernel_size, reach / x.dilation + 1);
    while (first < std::min(most, end) && !sees(first)) ++first;
    while (end > first && !sees(end - 1)) --end;
    if (end <= first || end - first == x.kernel_size) continue;
    x.kernel_size = end - first;
    x.padding -= first * x.dilation;
    offset += first * weight->axis[a];
  }
  if (weight->data)
    weight->data = static_cast<char*>(weight->data) + offset * element_bytes(problem->dtype);
}

void simplify(Problem* problem, Operands* operands) {
  View &input = operands->input, &weight = operands->weight, &output = operands->output;
  const auto still = [](const Axis& x) {
    return x.kernel_size == 1 && x.stride == 1 && x.padding == 0 && x.input_size == x.output_size;
  };
  const auto joins = [](const View& v, int a, int64_t size) {
    return v.axis[a - 1] == v.axis[a] * size;
  };
  int kept = 0;
  for (int a = 0; a < problem->axes; ++a) {
    const Axis x = problem->axis[a];
    if (still(x) && x.input_size == 1) continue;
    problem->axis[kept] = x;
    for (View* v : {&input, &weight, &output}) v->axis[kept] = v->axis[a];
    if (kept > 0 && still(x) && still(problem->axis[kept - 1]) &&
        joins(input, kept, x.input_size) && joins(output, kept, x.output_size)) {
      Axis& joined = problem->axis[kept - 1];
      joined.input_size *= x.input_size;
      joined.output_size *= x.output_size;
      for (View* v : {&input, &weight, &output}) v->axis[kept - 1] = v->axis[kept];
    } else {
      ++kept;
    }
  }
  // Images that lie end to end are a longer one, and those of a point each a line.
  const int64_t positions = kept == 0 ? 1 : problem->axis[0].input_size;
  const bool end_to_end = kept == 0 || (still(problem->axis[0]) && kept == 1 &&
                                        input.batch == input.axis[0] * positions &&
                                        output.batch == output.axis[0] * positions);
  if (end_to_end) {
    if (kept == 0) input.axis[0] = input.batch, output.axis[0] = output.batch;
    const int64_t all = problem->batch * positions;
    problem->axis[0] = Axis{all, 1, all, 1, 0, 1};
    problem->batch = 1;
    input.batch = output.batch = 0;
    kept = 1;
  }
  problem->axes = kept;
}

}  // namespace torchconv
