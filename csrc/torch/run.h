// What the kernels of all devices share: tensors become views, and complex32 is computed in
// complex64.
#pragma once

#include "torch/checked.h"
#include "torch/ops.h"

namespace torchconv {

// The views of a call's tensors and of the result it makes. Layouts are never copied: a View carries
// the strides of its tensor, whatever they are.
Operands operands(const Problem& problem, const Arguments& arguments, Tensor& result);

// complex32 is stored, never computed with: the work is done in complex64.
template <Tensor (*kernel)(c10::DispatchKeySet, const Arguments&)>
Tensor in_complex64(c10::DispatchKeySet keys, const Arguments& arguments) {
  OptionalTensor bias;
  if (arguments.bias) bias = arguments.bias->to(at::kComplexFloat);
  return kernel(keys, {arguments.result, arguments.first.to(at::kComplexFloat),
                       arguments.second.to(at::kComplexFloat), bias, arguments.result_size,
                       arguments.geometry})
      .to(at::kComplexHalf);
}

}  // namespace torchconv
