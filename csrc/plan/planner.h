// Picks the algorithm of a problem, and keeps the reasons.
#pragma once

#include <string>
#include <vector>

#include "core/algorithm.h"

namespace torchconv {

struct Candidate {
  const Algorithm* algorithm = nullptr;
  std::string refusal;  // empty: it could run
  double cost_s = 0;
  int64_t scratch_bytes = 0;
  Kept kept;
};

struct Plan {
  Problem problem;
  int threads = 1;                       // or multiprocessors
  const Algorithm* algorithm = nullptr;  // null where the forced algorithm refuses
  std::string reason;                    // "lowest cost", "forced", or the refusal
  std::vector<Candidate> candidates;     // in the order of the list
};

// All algorithms of a device, the preferred first, the reference last. Empty for a GPU where the
// build (TORCHCONV_CUDA) has no kernels for it.
const std::vector<const Algorithm*>& algorithms(Device device);

// The one of that name; null where there is none.
const Algorithm* find_algorithm(const std::string& name, Device device);

struct Choice {
  const Algorithm* algorithm = nullptr;  // null where the forced one refuses
  int64_t scratch_bytes = 0;
  Kept kept;
};

// What would run. Kept, for the problems that this thread met last.
Choice choose(const Problem& problem, int threads);

// Why choose() found nothing.
std::string refusal(const Problem& problem);

// The same with every candidate's cost or refusal.
Plan explain(const Problem& problem, int threads);

// Forces an algorithm by name, on every device that has one of it, in this process from now on; ""
// frees the choice again. False where no algorithm has that name. TORCHCONV_ALGORITHM in the
// environment sets the first value.
bool force_algorithm(const std::string& name);
std::string forced_algorithm();

}  // namespace torchconv
