// How fast this machine runs each algorithm, beside what its cost says.
//
// Costs are stated for the machines they were fitted on. Another one multiplies faster or gathers
// slower: a few small problems are measured once, and their seconds over their stated costs are samples
// of a factor by which the planner multiplies every cost. A problem's is the geometric mean of the
// samples of its algorithm, result and dtype (complex128 has float64's, and a dtype without any
// float32's), weighted by how alike the problems are.
// torchconv/pace.py measures them and keeps them.
#pragma once

#include <vector>

#include "core/algorithm.h"

namespace torchconv {

// Seconds on one thread: of the fastest of so many runs, on numbers that are no denormals. Of an
// algorithm of the CPU that does not refuse the problem.
double measured_seconds(const Algorithm& algorithm, const Problem& problem, int repetitions);

struct PaceSample {
  const Algorithm* algorithm;  // of the CPU
  Problem problem;
  double factor;  // positive
};

// In this process, from now on; before, there are none.
void set_pace(const std::vector<PaceSample>& samples);

// An algorithm that has no samples takes those of all; without any, and on a GPU, it is 1.
double pace(const Algorithm& algorithm, const Problem& problem);

// Changes with each set_pace: choices made before are not those made after.
unsigned pace_version();

}  // namespace torchconv
