// What the two halves of gemm offer to gemm.cpp.
#pragma once

#include "micro/tasks.h"

namespace torchconv::gemm_detail {

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
