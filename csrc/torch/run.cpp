#include "torch/run.h"

namespace torchconv {
namespace {

// Views do not tell read from written. Reading through const_data_ptr keeps a copy-on-write tensor
// unmaterialised; algorithms write the result alone.
void* readable(const Tensor& tensor) { return const_cast<void*>(tensor.const_data_ptr()); }

}  // namespace

Operands operands(const Problem& problem, const Arguments& arguments, Tensor& result) {
  const Tensor* tensors[3] = {};
  void* data[3] = {};
  const auto place = [&](Result which, const Tensor& tensor, void* elements) {
    tensors[int(which)] = &tensor;
    data[int(which)] = elements;
  };
  place(first_of(problem.result), arguments.first, readable(arguments.first));
  place(second_of(problem.result), arguments.second, readable(arguments.second));
  place(problem.result, result, result.mutable_data_ptr());

  const auto view = [&](auto* make, Result which) {
    return make(problem, data[int(which)], tensors[int(which)]->strides().data());
  };
  Operands operands;
  operands.input = view(&input_view, Result::input);
  operands.weight = view(&weight_view, Result::weight);
  operands.output = view(&output_view, Result::output);
  if (arguments.bias)
    operands.bias = bias_view(problem, readable(*arguments.bias), arguments.bias->stride(0));
  return operands;
}

}  // namespace torchconv
