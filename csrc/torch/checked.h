// From the tensors of a call to a checked Problem: what the kernels that know real sizes share.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/MemoryFormat.h>

#include "core/check.h"
#include "torch/ops.h"

namespace torchconv {

// The core's name of a dtype; throws where it has none. complex32 is stored as such and computed as
// complex64.
DType core_dtype(at::ScalarType dtype);

// Throws unless all tensors are on one device and of one supported dtype. Every kernel asks this
// first: the dispatcher itself would run conv(cpu tensor, meta tensor).
template <typename Int>
void require_alike(const Arguments<Int>& arguments);

// A call without its tensors and the size of its result.
Call begin_call(Result result, at::ScalarType dtype, const Geometry<int64_t>& geometry);
inline Sizes sizes(at::IntArrayRef list) { return {list.data(), int64_t(list.size())}; }

// Throws check()'s sentence, or returns the problem.
Problem checked_problem(const Call& call);
Problem checked_problem(const Arguments<int64_t>& arguments);

// The sizes of the tensor that a problem makes.
at::DimVector result_size(const Problem& problem);

// channels_last where either operand suggests it, as torch's own convolution.
c10::MemoryFormat result_format(const Tensor& first, const Tensor& second);

}  // namespace torchconv
