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

// Returns a % b and leaves a / b: a digit of a number in 32 bits.
TORCHCONV_HOST_DEVICE inline uint32_t split_off(uint32_t* a, uint32_t b) {
  const uint32_t quotient = *a / b, rest = *a - quotient * b;
  *a = quotient;
  return rest;
}

// Divides numbers whose product with the size is below 2^32, by one multiplication.
struct Divisor {
  unsigned size = 1, by = 0;  // 2^32 / size, rounded up
  Divisor() = default;
  explicit Divisor(int64_t divisor)
      : size(unsigned(divisor)), by(0xffffffffu / unsigned(divisor) + 1) {}
  // Returns number / size and leaves number % size.
  TORCHCONV_HOST_DEVICE int split(int* number) const {
    const unsigned all = unsigned(*number);
    const unsigned quotient = size == 1 ? all : unsigned(uint64_t(all) * by >> 32);
    *number = int(all - quotient * size);
    return int(quotient);
  }
};

}  // namespace torchconv
