// What the two halves of gemm share, and what each offers to gemm.cpp.
#pragma once

#include <algorithm>

#include "core/algorithm.h"
#include "micro/kernels.h"

namespace torchconv::gemm_detail {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_down(int64_t a, int64_t b) { return std::max(a / b, int64_t(1)) * b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Waking a thread costs as much as about this many multiply-adds.
inline int workers_for(const Problem& p, int threads) {
  return p.multiply_adds() < 5e5 ? 1 : threads;
}

// Memory handed out in aligned pieces; with a null base it only counts.
struct Arena {
  char* base;
  int64_t used = 0;
  template <typename T>
  T* take(int64_t count) {
    char* piece = base ? base + used : nullptr;
    used += round_up(count * int64_t(sizeof(T)), 64);
    return reinterpret_cast<T*>(piece);
  }
};

// Runs tasks with denormals flushed: they would slow the tiles down a hundredfold.
template <typename T, typename Body>
void for_each_task(const Context& context, int64_t tasks, int workers, const Body& body) {
  context.for_each(tasks, workers, [&](int64_t task, int worker) {
    const unsigned state = kernels<T>().flush_denormals();
    body(task, worker);
    kernels<T>().restore_denormals(state);
  });
}

template <typename T>
void run_forward(Problem problem, Operands operands, const Context& context);
template <typename T>
int64_t forward_scratch(const Problem& problem, int threads);

// Problems with at least one position and one weight.
template <typename T>
void run_weight(Problem problem, Operands operands, const Context& context);
template <typename T>
int64_t weight_scratch(const Problem& problem, int threads);

}  // namespace torchconv::gemm_detail
