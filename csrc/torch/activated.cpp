// conv_activated: a convolution whose sums become an activation as they are stored. For inference:
// torchconv.convert(model, inference=True) makes its calls.
//
// The CPU computes it in one pass. Everywhere else it is the convolution and then the activation:
// where a gradient may be asked for, under vmap, on other devices and for fake tensors, so it needs
// no rules of its own.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <torch/library.h>

#include "core/check.h"
#include "torch/ops.h"

namespace torchconv {
namespace {

using Sizes = c10::SymIntArrayRef;

Activation parse(std::string_view word) {
  Activation activation;
  TORCH_CHECK_VALUE(parse_activation(word.data(), int64_t(word.size()), &activation),
                    "conv_activated: activation must be 'none', 'relu', 'silu' or 'gelu', got '",
                    word, "'");
  return activation;
}

Tensor apply(Activation activation, const Tensor& sum) {
  switch (activation) {
    case Activation::relu: return at::relu(sum);
    case Activation::silu: return at::silu(sum);
    case Activation::gelu: return at::gelu(sum);
    case Activation::none: break;
  }
  return sum;
}

Tensor in_two_passes(const Tensor& input, const Tensor& weight, const OptionalTensor& bias,
                     std::string_view activation, at::OptionalSymIntArrayRef output_size,
                     Sizes stride, Sizes padding, Sizes dilation, SymInt groups, bool flip,
                     std::string_view padding_mode) {
  return apply(parse(activation),
               call({Result::output,
                     input,
                     weight,
                     bias,
                     output_size,
                     {stride, padding, dilation, std::move(groups), flip, padding_mode}}));
}

Tensor in_one_pass(const Tensor& input, const Tensor& weight, const OptionalTensor& bias,
                   std::string_view activation, at::OptionalSymIntArrayRef output_size,
                   Sizes stride, Sizes padding, Sizes dilation, SymInt groups, bool flip,
                   std::string_view padding_mode) {
  return compute_on_cpu({Result::output,
                         input,
                         weight,
                         bias,
                         output_size,
                         {stride, padding, dilation, std::move(groups), flip, padding_mode}},
                        parse(activation));
}

bool wants_gradient(const Tensor& tensor) {
  return (tensor.requires_grad() && at::GradMode::is_enabled()) || tensor._fw_grad(0).defined();
}

// In inference there is nothing to record.
Tensor recorded(c10::DispatchKeySet keys, const Tensor& input, const Tensor& weight,
                const OptionalTensor& bias, std::string_view activation,
                at::OptionalSymIntArrayRef output_size, Sizes stride, Sizes padding, Sizes dilation,
                SymInt groups, bool flip, std::string_view padding_mode) {
  const bool wanted =
      wants_gradient(input) || wants_gradient(weight) || (bias && wants_gradient(*bias));
  if (wanted)
    return in_two_passes(input, weight, bias, activation, output_size, stride, padding, dilation,
                         groups, flip, padding_mode);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("torchconv::conv_activated", "")
                             .typed<decltype(in_two_passes)>();
  at::AutoDispatchBelowADInplaceOrView below;
  return op.redispatch(keys & c10::after_autograd_keyset, input, weight, bias, activation,
                       output_size, stride, padding, dilation, groups, flip, padding_mode);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(torchconv, library) {
  const std::vector<at::Tag> tags{at::Tag::pt2_compliant_tag, at::Tag::needs_exact_strides};
  library.def(
      "conv_activated(Tensor input, Tensor weight, Tensor? bias, str activation, "
      "SymInt[]? output_size, SymInt[] stride, SymInt[] padding, SymInt[] dilation, "
      "SymInt groups, bool flip, str padding_mode=\"zeros\") -> Tensor",
      tags);
}
TORCH_LIBRARY_IMPL(torchconv, CPU, library) { library.impl("conv_activated", in_one_pass); }
TORCH_LIBRARY_IMPL(torchconv, CompositeExplicitAutograd, library) {
  library.impl("conv_activated", in_two_passes);
}
TORCH_LIBRARY_IMPL(torchconv, Autograd, library) { library.impl("conv_activated", recorded); }
TORCH_LIBRARY_IMPL(torchconv, FuncTorchBatched, library) {
  library.impl("conv_activated", in_two_passes);
}
TORCH_LIBRARY_IMPL(torchconv, AutocastCPU, library) {
  library.impl("conv_activated", in_two_passes);
}
TORCH_LIBRARY_IMPL(torchconv, AutocastCUDA, library) {
  library.impl("conv_activated", in_two_passes);
}

}  // namespace torchconv
