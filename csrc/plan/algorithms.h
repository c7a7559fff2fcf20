// The list of algorithms, the preferred first. A new one is one file in csrc/algo and one line
// here.
#pragma once

#include "core/algorithm.h"

#define TORCHCONV_ALGORITHMS(X) \
  X(gemm)                       \
  X(winograd)                   \
  X(lanes)                      \
  X(direct)                     \
  X(reference)

namespace torchconv {
#define TORCHCONV_DECLARE(name) extern const Algorithm name;
TORCHCONV_ALGORITHMS(TORCHCONV_DECLARE)
#undef TORCHCONV_DECLARE
}  // namespace torchconv
