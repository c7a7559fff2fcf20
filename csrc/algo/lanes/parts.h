// What the parts of lanes offer to lanes.cpp.
#pragma once

#include "micro/tasks.h"

namespace torchconv::lanes_detail {

template <typename T>
void run_forward(const Problem& problem, const Operands& operands, const Context& context);
template <typename T>
int64_t forward_scratch(const Problem& problem, int threads);

// Problems by input with a stride whose images fit in a worker's panels, but for depthwise ones.
template <typename T>
bool holds_images(const Problem& problem);
template <typename T>
void run_input(const Problem& problem, const Operands& operands, const Context& context);
template <typename T>
int64_t input_scratch(const Problem& problem, int threads);

// The depthwise ones, of images of any size.
bool holds_bands(const Problem& problem);
template <typename T>
void run_input_planes(const Problem& problem, const Operands& operands, const Context& context);
template <typename T>
int64_t input_planes_scratch(const Problem& problem, int threads);

// Problems with at least one weight.
template <typename T>
void run_weight(const Problem& problem, const Operands& operands, const Context& context);
template <typename T>
int64_t weight_scratch(const Problem& problem, int threads);

}  // namespace torchconv::lanes_detail
