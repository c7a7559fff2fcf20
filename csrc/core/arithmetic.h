// Whole-number arithmetic that every floor needs; for positive divisors.
#pragma once

#include <algorithm>
#include <cstdint>

namespace torchconv {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_down(int64_t a, int64_t b) { return std::max(a / b, int64_t(1)) * b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace torchconv
