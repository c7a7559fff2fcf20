// What every algorithm over micro kernels needs: how to cut work, hand out memory and run tasks.
#pragma once

#include <algorithm>

#include "core/algorithm.h"
#include "core/arithmetic.h"
#include "core/relabel.h"
#include "micro/kernels.h"

namespace torchconv {

// Waking a thread costs as much as about this many multiply-adds.
inline int workers_for(const Problem& p, int threads) {
  return p.multiply_adds() < 5e5 ? 1 : threads;
}

// Whether the kernels compute the dtype in double; in float otherwise.
inline bool in_double(DType dtype) { return dtype == DType::float64 || dtype == DType::complex128; }

// A forward problem whose result has no element.
inline bool writes_nothing(const Problem& p) {
  return p.batch * p.out_channels * p.output_positions() == 0;
}

// The largest of f over the forward problems that make up the result.
template <typename F>
auto largest(const Problem& p, const F& f) {
  decltype(f(p)) most{};
  for_each_forward(p, Operands{}, [&](const Problem& forward, const Operands&) {
    most = std::max(most, f(forward));
  });
  return most;
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

// Runs tasks with denormals flushed: they would slow the kernels down a hundredfold.
template <typename T, typename Body>
void for_each_task(const Context& context, int64_t tasks, int workers, const Body& body) {
  context.for_each(tasks, workers, [&](int64_t task, int worker) {
    const unsigned state = kernels<T>().flush_denormals();
    body(task, worker);
    kernels<T>().restore_denormals(state);
  });
}

}  // namespace torchconv
