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
void require_alike(const Arguments& arguments);

inline Sizes sizes(at::IntArrayRef list) { return {list.data(), int64_t(list.size())}; }

// Throws check()'s sentence, or returns the problem. `call` has the result, the dtype and the sizes
// of the tensors; the rest of it is filled in from the other arguments, all of them numbers.
Problem checked_problem(Call call, at::OptionalSymIntArrayRef result_size,
                        const Geometry& geometry);
Problem checked_problem(const Arguments& arguments, Activation activation = Activation::none);

// The sizes of the tensor that a problem makes.
at::DimVector result_size(const Problem& problem);

// channels_last where either operand suggests it, as torch's own convolution.
c10::MemoryFormat result_format(const Tensor& first, const Tensor& second);

}  // namespace torchconv
