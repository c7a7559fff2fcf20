// Every pair that one index of a result is a sum over, on one axis.
//
//     i = fold(o * stride - padding + t * dilation)
//
// ties an input index, an output index and a tap. A result holds one of the three, and its element
// is a sum over all pairs of the other two: over t for an output, over o for a weight, and for an
// input over each t and all o whose index is i or, under a folding padding mode, is folded to i.
#pragma once

#include "core/arithmetic.h"
#include "core/fold.h"
#include "core/problem.h"

namespace torchconv {

// Outputs [first, first + count).
struct Outputs {
  int64_t first = 0, count = 0;
};

// Those whose padded index under tap t is v.
TORCHCONV_HOST_DEVICE inline Outputs outputs_at(const Axis& x, int64_t t, int64_t v) {
  const int64_t steps = v + x.padding - t * x.dilation;
  if (steps < 0 || steps % x.stride != 0 || steps / x.stride >= x.output_size) return {0, 0};
  return {steps / x.stride, 1};
}

// How many those are whose padded index under tap t is less than v: they come first.
TORCHCONV_HOST_DEVICE inline int64_t outputs_before(const Axis& x, int64_t t, int64_t v) {
  const int64_t steps = v + x.padding - t * x.dilation;
  if (steps <= 0) return 0;
  const int64_t count = ceil_div(steps, x.stride);
  return count < x.output_size ? count : x.output_size;
}

// Where the padded indices lie that stand for an input index: inside, below or above the input.
constexpr int kSides = 3;

// The outputs that meet index i under tap t from one side. No index is met from two sides by the
// same output.
TORCHCONV_HOST_DEVICE inline Outputs outputs_meeting(PaddingMode mode, const Axis& x, int64_t i,
                                                     int64_t t, int side) {
  const int64_t last = x.input_size - 1;
  if (side == 0) return outputs_at(x, t, i);
  const bool below = side == 1;
  switch (mode) {
    case PaddingMode::zeros: break;
    case PaddingMode::reflect:
      if (i != (below ? 0 : last)) return outputs_at(x, t, below ? -i : 2 * last - i);
      break;
    case PaddingMode::replicate: {
      if (i != (below ? 0 : last)) break;
      if (below) return {0, outputs_before(x, t, 0)};
      const int64_t first = outputs_before(x, t, x.input_size);
      return {first, x.output_size - first};
    }
    case PaddingMode::circular:
      return outputs_at(x, t, below ? i - x.input_size : i + x.input_size);
  }
  return {0, 0};
}

// Set the index that the result holds; then start() and next() set the two others to one pair after
// the other, in an order that never changes, until they return false.
template <Result result>
struct Walk {
  int64_t i = 0, o = 0, t = 0;

  TORCHCONV_HOST_DEVICE bool start(PaddingMode mode, const Axis& x) {
    if constexpr (result == Result::output) t = -1;
    if constexpr (result == Result::weight) o = -1;
    if constexpr (result == Result::input) t = o = end = 0, side = -1;
    return next(mode, x);
  }

  TORCHCONV_HOST_DEVICE bool next(PaddingMode mode, const Axis& x) {
    if constexpr (result == Result::input) {
      if (++o < end) return true;
      for (; t < x.kernel_size; ++t, side = -1)
        while (++side < (mode == PaddingMode::zeros ? 1 : kSides)) {
          const Outputs outputs = outputs_meeting(mode, x, i, t, side);
          o = outputs.first;
          end = o + outputs.count;
          if (o < end) return true;
        }
      return false;
    } else {
      int64_t& moving = result == Result::output ? t : o;
      const int64_t count = result == Result::output ? x.kernel_size : x.output_size;
      while (++moving < count) {
        i = fold(mode, o * x.stride - x.padding + t * x.dilation, x.input_size);
        if (i >= 0) return true;
      }
      return false;
    }
  }

 private:
  int64_t end = 0;  // of the outputs that meet i under t from this side
  int side = 0;
};

}  // namespace torchconv
