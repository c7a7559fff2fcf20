// What every algorithm over micro kernels needs: how to cut work, hand out memory and run tasks.
#pragma once

#include <algorithm>

#include "core/algorithm.h"
#include "core/arithmetic.h"
#include "core/relabel.h"
#include "micro/kernels.h"

namespace torchconv {

constexpr int64_t kTasksWanted = 16;        // so many share out well among a few workers
constexpr int64_t kTaskProducts = 1 << 18;  // multiply-adds worth handing to a worker

// Waking a thread costs as much as about this many multiply-adds.
inline int workers_for(const Problem& p, int threads) {
  return p.multiply_adds() < 5e5 ? 1 : threads;
}

// How many parts more, up to half as many, make whole rounds of parts x others tasks: where rounds are
// few, a worker with one task more than the rest has them wait.
inline int64_t parts_to_even(int64_t parts, int64_t others, int workers) {
  constexpr int64_t kFewRounds = 8;
  if (parts * others > kFewRounds * workers) return 0;
  for (int64_t more = 0; more <= (parts + 1) / 2; ++more)
    if ((parts + more) * others % workers == 0) return more;
  return 0;
}
// The same for blocks of rows and columns: a further block of the ones packs all of the others again.
inline void even_blocks(int64_t rows, int64_t columns, int64_t others, int workers,
                        int64_t* row_blocks, int64_t* column_blocks) {
  const int64_t more_rows = parts_to_even(*row_blocks, others * *column_blocks, workers);
  const int64_t more_columns = parts_to_even(*column_blocks, others * *row_blocks, workers);
  if (more_columns == 0 || (more_rows > 0 && more_rows * columns < more_columns * rows))
    *row_blocks += more_rows;
  else
    *column_blocks += more_columns;
}

// Of input and output, those that a cache near a core does not hold.
inline double bytes_beyond_cache(const Problem& p) {
  const double elements = double(p.batch) * (double(p.in_channels) * double(p.input_positions()) +
                                             double(p.out_channels) * double(p.output_positions()));
  return std::max(elements * double(element_bytes(p.dtype)) - (1 << 20), 0.0);
}

// Calls f with a zero of the type that the kernels compute the dtype in.
template <typename F>
auto in_compute_type(DType dtype, const F& f) {
  switch (dtype) {
    case DType::float64:
    case DType::complex128: return f(double());
    case DType::uint8:
    case DType::int8:
    case DType::int16: return f(uint16_t());
    case DType::int32: return f(uint32_t());
    case DType::int64: return f(uint64_t());
    default: return f(float());
  }
}

// Of one vector of that type.
inline int lanes_of(DType dtype) {
  return in_compute_type(dtype, []<typename T>(T) { return kernels<T>().lanes; });
}

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
