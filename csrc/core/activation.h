// What a sum may become on its way into the output.
#pragma once

#include <cstdint>

namespace torchconv {

// relu: max(y, 0). silu: y / (1 + exp(-y)). gelu: y (1 + erf(y / sqrt 2)) / 2. Of real floating
// numbers only.
enum class Activation : uint8_t { none, relu, silu, gelu };

}  // namespace torchconv
