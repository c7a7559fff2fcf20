// What the files of direct share.
#pragma once

#include "micro/lines.h"
#include "micro/tasks.h"

namespace torchconv::direct_detail {

// Without packing: whether a problem, of any result but the weight, allows it, and whether the views
// of one of its forward problems do.
bool slides_in_place(const Problem& problem);
bool lies_in_place(const Problem& forward, const Operands& operands);
template <typename T>
void run_in_place(const Problem& forward, const Operands& operands, const Context& context);
template <typename T>
int64_t in_place_bytes(const Problem& forward);  // of scratch a worker needs

// The output or the input.
template <typename T>
void run_forward(const Problem& problem, const Operands& operands, const Context& context);
template <typename T>
int64_t forward_scratch(const Problem& problem, int threads);

template <typename T>
void run_weight(const Problem& problem, const Operands& operands, const Context& context);
template <typename T>
int64_t weight_scratch(const Problem& problem, int threads);

}  // namespace torchconv::direct_detail
