// The three operators as every dispatch key sees them: one shape of arguments and one way to call.
//
// conv, conv_input and conv_weight are told apart by the tensor they make (Result), so a file that
// serves a dispatch key holds one kernel for all three, and `implement` registers it.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include "core/problem.h"

namespace torchconv {

using at::Tensor;
using c10::SymInt;
using OptionalTensor = std::optional<Tensor>;

// What a call holds beside its tensors.
struct Geometry {
  c10::SymIntArrayRef stride, padding, dilation;
  SymInt groups;
  bool flip;
  std::string_view padding_mode;
};

// One call of one operator, as long as it lasts: everything in it is borrowed.
struct Arguments {
  Result result;
  const Tensor& first;                     // input, output or input: see kGiven
  const Tensor& second;                    // weight, weight or output
  const OptionalTensor& bias;              // conv alone may have one
  at::OptionalSymIntArrayRef result_size;  // spatial; conv alone may leave it out
  Geometry geometry;
};

// The two tensors each operator is given, in the order of its schema.
constexpr Result kGiven[3][2] = {{Result::input, Result::weight},   // conv
                                 {Result::output, Result::weight},  // conv_input
                                 {Result::input, Result::output}};  // conv_weight
constexpr Result first_of(Result result) { return kGiven[int(result)][0]; }
constexpr Result second_of(Result result) { return kGiven[int(result)][1]; }

// The three tensors of the trilinear form. An operator reads two of them and makes the third.
struct Form {
  std::array<Tensor, 3> tensors;
  Tensor& operator[](Result which) { return tensors[size_t(which)]; }
  const Tensor& operator[](Result which) const { return tensors[size_t(which)]; }
};

// Calls an operator through the dispatcher: from the start, or, given `keys`, from there on.
Tensor call(const Arguments& arguments, std::optional<c10::DispatchKeySet> keys = std::nullopt);

// The same with the tensors taken from a form, whose tensor `result` is not looked at.
Tensor call(Result result, const Form& form, const OptionalTensor& bias,
            at::OptionalSymIntArrayRef result_size, const Geometry& geometry);

// The sizes behind batch and channels; empty where a tensor has no such axes.
c10::SymIntArrayRef spatial_size(const Tensor& tensor);

// A kernel for all three operators, with the signatures the dispatcher asks for.
template <Tensor (*kernel)(c10::DispatchKeySet, const Arguments&)>
struct Implementation {
  using Sizes = c10::SymIntArrayRef;

  static Tensor conv(c10::DispatchKeySet keys, const Tensor& input, const Tensor& weight,
                     const OptionalTensor& bias, at::OptionalSymIntArrayRef output_size,
                     Sizes stride, Sizes padding, Sizes dilation, SymInt groups, bool flip,
                     std::string_view padding_mode) {
    return kernel(keys, {Result::output,
                         input,
                         weight,
                         bias,
                         output_size,
                         {stride, padding, dilation, groups, flip, padding_mode}});
  }

  template <Result result>
  static Tensor gradient(c10::DispatchKeySet keys, const Tensor& first, const Tensor& second,
                         Sizes result_size, Sizes stride, Sizes padding, Sizes dilation,
                         SymInt groups, bool flip, std::string_view padding_mode) {
    return kernel(keys, {result,
                         first,
                         second,
                         std::nullopt,
                         result_size,
                         {stride, padding, dilation, groups, flip, padding_mode}});
  }
};

// The kernel of the CPU, whose sums become an activation as they are stored.
Tensor compute_on_cpu(const Arguments& arguments, Activation activation);

// Registers `kernel` for the three operators under the library's dispatch key.
template <Tensor (*kernel)(c10::DispatchKeySet, const Arguments&)>
void implement(torch::Library& library) {
  using Kernels = Implementation<kernel>;
  library.impl("conv", TORCH_FN((Kernels::conv)));
  library.impl("conv_input", TORCH_FN((Kernels::template gradient<Result::input>)));
  library.impl("conv_weight", TORCH_FN((Kernels::template gradient<Result::weight>)));
}

}  // namespace torchconv
