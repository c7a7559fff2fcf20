// Whole-number arithmetic that every floor needs; for positive divisors.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace torchconv {

TORCHCONV_HOST_DEVICE inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
TORCHCONV_HOST_DEVICE inline int64_t round_down(int64_t a, int64_t b) {
  return (a < b ? 1 : a / b) * b;
}
TORCHCONV_HOST_DEVICE inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace torchconv
