// The operators' schemas, and calls to them.
//
// Sizes are spatial only: batch and channels follow from the other tensors, so vmap and DTensor,
// whose local batch differs, need not rewrite them. conv may be left without its own size, which
// keeps shape arithmetic out of traced Python.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "torch/ops.h"

namespace torchconv {
namespace {

using Sizes = c10::SymIntArrayRef;
using Conv = Tensor(const Tensor&, const Tensor&, const OptionalTensor&, at::OptionalSymIntArrayRef,
                    Sizes, Sizes, Sizes, SymInt, bool, std::string_view);
using Gradient = Tensor(const Tensor&, const Tensor&, Sizes, Sizes, Sizes, Sizes, SymInt, bool,
                        std::string_view);

template <typename Signature>
c10::TypedOperatorHandle<Signature> find(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace

Tensor call(const Arguments& arguments, std::optional<c10::DispatchKeySet> keys) {
  static const auto conv = find<Conv>("torchconv::conv");
  static const auto conv_input = find<Gradient>("torchconv::conv_input");
  static const auto conv_weight = find<Gradient>("torchconv::conv_weight");

  const auto run = [&keys](const auto& op, const auto&... values) {
    return keys ? op.redispatch(*keys, values...) : op.call(values...);
  };
  const auto& [result, first, second, bias, result_size, geometry] = arguments;
  const auto& [stride, padding, dilation, groups, flip, padding_mode] = geometry;
  if (result == Result::output)
    return run(conv, first, second, bias, result_size, stride, padding, dilation, groups, flip,
               padding_mode);
  return run(result == Result::input ? conv_input : conv_weight, first, second, result_size.value(),
             stride, padding, dilation, groups, flip, padding_mode);
}

Tensor call(Result result, const Form& form, const OptionalTensor& bias,
            at::OptionalSymIntArrayRef result_size, const Geometry& geometry) {
  return call(
      {result, form[first_of(result)], form[second_of(result)], bias, result_size, geometry});
}

c10::SymIntArrayRef spatial_size(const Tensor& tensor) {
  const c10::SymIntArrayRef size = tensor.sym_sizes();
  return size.size() < 2 ? c10::SymIntArrayRef() : size.slice(2);
}

}  // namespace torchconv

TORCH_LIBRARY(torchconv, library) {
  // const, or the overload of def that takes (schema, function) is chosen.
  const std::vector<at::Tag> tags{at::Tag::pt2_compliant_tag, at::Tag::needs_exact_strides};
  library.def(
      "conv(Tensor input, Tensor weight, Tensor? bias, SymInt[]? output_size, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, SymInt groups, bool flip, "
      "str padding_mode=\"zeros\") -> Tensor",
      tags);
  library.def(
      "conv_input(Tensor output, Tensor weight, SymInt[] input_size, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, SymInt groups, bool flip, "
      "str padding_mode=\"zeros\") -> Tensor",
      tags);
  library.def(
      "conv_weight(Tensor input, Tensor output, SymInt[] kernel_size, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, SymInt groups, bool flip, "
      "str padding_mode=\"zeros\") -> Tensor",
      tags);
}
