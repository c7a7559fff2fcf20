// What the rest of the binding may ask about a GPU, whether or not the build has kernels for one.
#pragma once

#include <string>

#include "core/problem.h"

namespace torchconv {

// A GPU as the planner sees it.
struct Gpu {
  int capability = 80;        // 10 * major + minor
  int multiprocessors = 132;  // where there is no GPU: as an H100 has them
};

// The current one; where there is none, one that can what all can that this is compiled for.
Gpu current_gpu();

// The CUDA version the kernels are compiled by, or "" without any.
std::string cuda_version();

}  // namespace torchconv
