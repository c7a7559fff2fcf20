// Relabelling: an algorithm that knows only the forward problem on views with signed strides yields
// all three results.
//
//   conv_weight is a forward problem in which batch and channels, stride and dilation, and kernel
//   and output size swap roles; its Views swap the strides of the same names.
//
//   conv_input is one stride-1 forward problem per class of taps that reach the same residue of the
//   input index modulo the stride (polyphase). With g = gcd(stride, dilation), the taps
//   t = t0 + (stride / g) u reach only the indices i with i + padding = t0 * dilation (mod stride).
//   Nothing is ever dilated with zeros. Under a folding padding mode the padded index range falls
//   apart into segments, each mapped to the input by a step of +1 or -1 (or, at a replicated edge,
//   to one element): one problem per segment, and all but the first add to the result.
#pragma once

#include "core/problem.h"

namespace torchconv {

// One axis of one forward problem that conv_input is made of.
struct Phase {
  Axis axis;                // of the forward problem; output_size counts the indices written
  int64_t first_index = 0;  // the input index its first output is
  int64_t index_step = 1;
  int64_t first_tap = 0;  // the tap its first tap is
  int64_t tap_step = 1;
  bool accumulate = false;  // a fold: these indices have been written before
};

// Taps whose numbers agree modulo this reach the same residue of the input index.
int64_t tap_classes(const Axis& axis);

int64_t count_phases(const Problem& problem, int axis);
Phase phase(const Problem& problem, int axis, int64_t number);

// Whether some input index is reached by no tap at all, so that the phases leave it unwritten.
bool phases_leave_gaps(const Problem& problem);

// conv_weight as a forward problem.
Problem weight_as_forward(const Problem& problem);
Operands weight_as_forward(const Problem& problem, const Operands& operands);

// conv_input: the forward problem of one choice of phase on every axis. Without phases, the problem
// without taps that writes zero everywhere.
Problem input_as_forward(const Problem& problem, const Phase* phases);
Operands input_as_forward(const Problem& problem, const Operands& operands, const Phase* phases);

// Counts taps backwards where the weight's strides run backwards (a true convolution, an input
// gradient), which makes the dilation negative and the weight contiguous.
void straighten_taps(Problem* problem, View* weight);

// Drops axes of size 1 and joins neighbouring axes that no tap moves along (1x1 kernels), the batch
// among them, so that rows get as long as the layout allows. Forward problems and weight gradients.
void simplify(Problem* problem, Operands* operands);

// Taps that never move, since there is one output, become channels where they lie end to end with
// these in the input and the weight (the last patch of an image, a fully connected layer). The order
// of products stays. Forward problems and weight gradients.
void taps_to_channels(Problem* problem, Operands* operands);

// Outputs that see nothing but zeros are dropped. Gradients only.
void drop_blind_outputs(Problem* problem, Operands* operands);

// The first and last taps that see nothing but zeros are dropped: of 3x3 taps on a map of 1x1 one is
// left. What is left is a problem with some padding, as a call might have had it. The weight may have
// no data. Not by weight, where such taps have a gradient, of zero.
void drop_blind_taps(Problem* problem, View* weight);

// Calls run(problem, operands) for each forward problem that makes up the result, in order.
template <typename Run>
void for_each_forward(const Problem& problem, const Operands& operands, const Run& run) {
  if (problem.result == Result::output) {
    run(problem, operands);
    return;
  }
  if (problem.result == Result::weight) {
    run(weight_as_forward(problem), weight_as_forward(problem, operands));
    return;
  }
  if (phases_leave_gaps(problem) && !operands.accumulate)
    run(input_as_forward(problem, nullptr), input_as_forward(problem, operands, nullptr));
  int64_t combinations = 1;
  for (int a = 0; a < problem.axes; ++a) combinations *= count_phases(problem, a);
  for (int64_t c = 0; c < combinations; ++c) {
    Phase phases[kMaxAxes];
    int64_t rest = c;
    bool empty = false;
    for (int a = problem.axes - 1; a >= 0; --a) {
      const int64_t count = count_phases(problem, a);
      phases[a] = phase(problem, a, rest % count);
      rest /= count;
      empty |= phases[a].axis.output_size == 0;
    }
    if (!empty) run(input_as_forward(problem, phases), input_as_forward(problem, operands, phases));
  }
}

}  // namespace torchconv
