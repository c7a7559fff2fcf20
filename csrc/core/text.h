// A problem as one line of text, both ways: the form in which tests, benchmarks and bug reports
// name a problem. For example
//
//     output float32 batch=8 channels=64>128 groups=1 input=56x56 kernel=3x3 output=28x28
//     stride=2x2 padding=1x1 dilation=1x1 padding_mode=zeros flip=0 bias=1          (on one line)
//
// The first word is the result. Reading accepts the fields in any order and fills in defaults
// (batch, groups, stride, padding, dilation, padding_mode, flip, bias; output from the others).
// channels_last=1 lays input and output out so. device=cuda asks for a GPU, capability=90 for what one
// of compute capability 9.0 can (default: 80), and tf32=1 lets it multiply float32 in TF32. These are
// written only where they are set.
#pragma once

#include <string>

#include "core/problem.h"

namespace torchconv {

std::string to_text(const Problem& problem);

// Empty, and *problem filled in and checked; or one sentence that says what is wrong.
std::string from_text(const std::string& text, Problem* problem);

}  // namespace torchconv
