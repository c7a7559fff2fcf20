// What an algorithm is: a name, a reason to refuse, a cost, a need for memory, and a run.
//
// Algorithms are values, not classes; csrc/plan/algorithms.h lists them.
#pragma once

#include <string>

#include "core/problem.h"

namespace torchconv {

// What an algorithm makes of a weight alone, and may find again when the weight is the same: packed
// or transformed taps. It depends neither on the batch nor on the threads, though a large batch may
// make it not worth keeping.
struct Kept {
  int64_t bytes = 0;    // 0: nothing is kept
  uint64_t layout = 0;  // with one layout, problems of one result keep the same of one weight
};

// What a run is given from outside: workers and memory. Core code starts no thread and allocates
// nothing by itself.
struct Context {
  int threads = 1;          // on a GPU: its multiprocessors
  void* scratch = nullptr;  // scratch_bytes(problem, threads) bytes, 64-byte aligned, unset
  // kept(problem).bytes bytes, 64-byte aligned, or null. The run fills them if they are not `filled`
  // and reads the weight no more if they are. The bits of the result are the same three times.
  void* kept = nullptr;
  bool filled = false;

  // Calls body(closure, task, worker) for every task in [0, tasks), in any order, on at most
  // `threads` workers; no two calls with one worker number overlap. Returns when all are done.
  void (*parallel)(int64_t tasks, int threads, const void* closure,
                   void (*body)(const void* closure, int64_t task, int worker)) = nullptr;

  // On a GPU: the cudaStream_t that everything is put on, in order. `parallel` is not called there.
  void* stream = nullptr;

  // The same for a lambda (task, worker).
  template <typename Body>
  void for_each(int64_t tasks, int workers, const Body& body) const {
    if (tasks <= 1 || workers <= 1) {
      for (int64_t task = 0; task < tasks; ++task) body(task, 0);
      return;
    }
    parallel(tasks, workers, &body, [](const void* closure, int64_t task, int worker) {
      (*static_cast<const Body*>(closure))(task, worker);
    });
  }
};

struct Algorithm {
  const char* name;
  // A noun phrase that says why this algorithm cannot do the problem ("kernel size 17 (winograd
  // needs 1 to 16)"); empty where it can.
  std::string (*refuses)(const Problem& problem);
  // Estimated seconds on one thread: the choice must not depend on the threads, or the bits would.
  // Only its order against the other algorithms' matters. On a GPU: seconds on one as fast as an
  // H100, whatever device it is.
  double (*cost)(const Problem& problem);
  int64_t (*scratch_bytes)(const Problem& problem, int threads);
  // On a GPU it returns when all is on the stream: no allocation, no synchronisation, no query, so
  // that a CUDA graph can capture it.
  void (*run)(const Problem& problem, const Operands& operands, const Context& context);
  // 1: it sums the products of the definition themselves. Small integers come out exact, and what
  // reaches an element, rounding or NaN, comes from what it sees alone. Above 1: it transforms
  // tiles. An error is at most this many eps times the largest sum of |x| |w| in its channel, and,
  // like NaN, may come from anything in the element's tile.
  double error_factor = 1;
  Kept (*kept)(const Problem& problem) = nullptr;  // null: never anything
};

}  // namespace torchconv
