// How the sides of a product of matrices lie (Kernels::matrices), for the algorithms that pack them.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/arithmetic.h"
#include "micro/kernels.h"

namespace torchconv {

// Whether the machine multiplies whole matrices of T (Kernels::matrices). Then a side of a product that
// otherwise lies in panels lies in lines, and the other one in strips.
template <typename T>
bool has_matrices() {
  if constexpr (std::is_same_v<T, Sum<T>>)
    return false;
  else
    return kernels<T>().matrices != nullptr;
}
// A depth as lines and strips have it, and from a line to the next: so that lines lie in different sets
// of a cache.
template <typename T>
int64_t whole_steps(int64_t depth) {
  return round_up(depth, kernels<T>().steps);
}
template <typename T>
int64_t line_of(int64_t depth) {
  return whole_steps<T>(depth) | kernels<T>().steps;
}
// What is behind the depth of a line must be zero.
template <typename T>
void end_lines(int64_t rows, int64_t depth, T* lines, int64_t line) {
  const int64_t rest = whole_steps<T>(depth) - depth;
  for (int64_t r = 0; rest > 0 && r < rows; ++r) std::fill_n(lines + r * line + depth, rest, T{});
}

}  // namespace torchconv
