// How fast this machine runs each algorithm, beside what its cost says.
//
// Costs are stated for the machines they were fitted on. Another one multiplies faster or gathers
// slower: the seconds of a few small problems, measured once, over their stated costs, are a factor
// by which the planner multiplies every cost of that algorithm and result. torchconv/pace.py
// measures them and keeps them.
#pragma once

#include "core/algorithm.h"

namespace torchconv {

// Seconds on one thread: of the fastest of so many runs, on numbers that are no denormals. Of an
// algorithm of the CPU that does not refuse the problem.
double measured_seconds(const Algorithm& algorithm, const Problem& problem, int repetitions);

// The algorithm's factor: 1 until it is set, and on a GPU.
double pace(const Algorithm& algorithm, Result result);

// In this process, from now on. False where the algorithm is not of the CPU, or the factor not
// positive.
bool set_pace(const Algorithm& algorithm, Result result, double factor);

// Changes with each set_pace: choices made before are not those made after.
unsigned pace_version();

}  // namespace torchconv
