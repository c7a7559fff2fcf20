// Derivatives, of any order, forward and reverse.
//
// The operators are the partial derivatives of one trilinear form T(input, weight, output), so the
// table of derivatives is one rule: the gradient of an argument is the operator that makes that
// argument, called with the gradient in the place of the result. It goes through the dispatcher,
// which closes all orders. For complex tensors the other argument is conjugated; a tangent is not.
#include <ATen/TensorOperators.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/dynamo/compiled_autograd.h>

#include "torch/compat.h"
#include "torch/ops.h"

namespace torchconv {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
namespace compiled = torch::dynamo::autograd;

// A call without its tensors, kept for its backward.
struct SavedCall {
  int64_t result = 0;           // a Result, in a type that compiled autograd can carry
  std::vector<SymInt> numbers;  // one list after the other: recording a call allocates once
  SymInt groups = 1;
  bool flip = false;
  std::string padding_mode;

  SavedCall() = default;
  explicit SavedCall(const Arguments& arguments)
      : result(int64_t(arguments.result)),
        groups(arguments.geometry.groups),
        flip(arguments.geometry.flip),
        padding_mode(arguments.geometry.padding_mode) {
    const Geometry& geometry = arguments.geometry;
    const c10::SymIntArrayRef lists[kLists] = {spatial_size(arguments.first),
                                               spatial_size(arguments.second), geometry.stride,
                                               geometry.padding, geometry.dilation};
    numbers.reserve(kLists * geometry.stride.size());
    for (const c10::SymIntArrayRef& list : lists)
      numbers.insert(numbers.end(), list.begin(), list.end());
  }

  // Every field in a fixed order; Self is this, const or not.
  template <typename Self, typename Visit>
  static void visit(Self& self, const Visit& visit) {
    visit(self.result);
    visit(self.numbers);
    visit(self.groups);
    visit(self.flip);
    visit(self.padding_mode);
  }

  c10::SymIntArrayRef first_size() const { return list(0); }
  c10::SymIntArrayRef second_size() const { return list(1); }
  Geometry geometry() const { return {list(2), list(3), list(4), groups, flip, padding_mode}; }

 private:
  static constexpr size_t kLists = 5;
  c10::SymIntArrayRef list(size_t number) const {
    const size_t axes = numbers.size() / kLists;
    return c10::SymIntArrayRef(numbers).slice(number * axes, axes);
  }
};

// Over all indices but the channel.
Tensor bias_gradient(const Tensor& gradient) {
  at::DimVector dims{0};
  for (int64_t dim = 2; dim < gradient.dim(); ++dim) dims.push_back(dim);
  if (gradient.scalar_type() == at::kComplexHalf)  // which at::sum does not know
    return gradient.to(at::kComplexFloat).sum(dims).to(at::kComplexHalf);
  return gradient.sum(dims);
}

using Needed = std::vector<bool>;  // a gradient for the first tensor, the second, the bias

// A function of its arguments alone, so that compiled autograd can put it into a graph. A tensor
// whose use is not needed may be undefined.
variable_list gradients(const Tensor& gradient, const Tensor& first, const Tensor& second,
                        const SavedCall& saved, const Needed& needed) {
  variable_list results(needed.size());
  if (!gradient.defined()) return results;
  const Result result = Result(saved.result);
  const auto by = [&](Result argument, Result other, const Tensor& other_tensor,
                      c10::SymIntArrayRef size) {
    Form form;
    form[result] = gradient;
    form[other] = other_tensor.conj();
    return call(argument, form, std::nullopt, at::OptionalSymIntArrayRef(size), saved.geometry());
  };
  if (needed[0]) results[0] = by(first_of(result), second_of(result), second, saved.first_size());
  if (needed[1]) results[1] = by(second_of(result), first_of(result), first, saved.second_size());
  if (needed[2]) results[2] = bias_gradient(gradient);
  return results;
}

struct ConvBackward : torch::autograd::Node {
  SavedVariable first, second;  // each kept only if the other's gradient may be asked for
  SavedCall saved;

  std::string name() const override {
    switch (Result(saved.result)) {
      case Result::output: return "TorchconvConvBackward";
      case Result::input: return "TorchconvConvInputBackward";
      case Result::weight: return "TorchconvConvWeightBackward";
    }
    return "";
  }

  variable_list apply(variable_list&& incoming) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Needed needed = gradients_needed();
    return gradients(incoming[0], needed[1] ? first.unpack() : Tensor(),
                     needed[0] ? second.unpack() : Tensor(), saved, needed);
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    first.reset_data();
    second.reset_data();
  }

  void compiled_args(compiled::CompiledNodeArgs& key) const override {
    key.collect(first, /*is_output=*/false);
    key.collect(second, /*is_output=*/false);
    SavedCall::visit(saved, [&key](const auto& field) { key.collect(field); });
  }

  variable_list apply_with_saved(const variable_list& incoming,
                                 compiled::SwapSavedVariables& swap) override;

 private:
  Needed gradients_needed() const {
    return {task_should_compute_output(0), task_should_compute_output(1),
            task_should_compute_output(2)};
  }
};

// What compiled autograd calls in place of apply, its values packed by apply_with_saved.
variable_list apply_packed(const variable_list& incoming, const std::vector<c10::IValue>& values) {
  compiled::PackedArgs packed(values);
  const auto needed = packed.unpack<Needed>();
  const auto first = packed.unpack<Tensor>();
  const auto second = packed.unpack<Tensor>();
  SavedCall saved;
  SavedCall::visit(
      saved, [&packed](auto& field) { field = packed.unpack<std::decay_t<decltype(field)>>(); });
  return gradients(incoming[0], first, second, saved, needed);
}

std::vector<at::TypePtr> packed_types() {
  std::vector<at::TypePtr> types{compiled::IValuePacker<Needed>::packed_type(),
                                 compiled::IValuePacker<Tensor>::packed_type(),
                                 compiled::IValuePacker<Tensor>::packed_type()};
  const SavedCall fields;
  SavedCall::visit(fields, [&types](const auto& field) {
    types.push_back(compiled::IValuePacker<std::decay_t<decltype(field)>>::packed_type());
  });
  return types;
}

variable_list ConvBackward::apply_with_saved(const variable_list& incoming,
                                             compiled::SwapSavedVariables& swap) {
  swap.before(first);
  swap.before(second);
  SavedCall::visit(saved, [&swap](auto& field) { swap.before(field); });

  const auto& compiler = compiled::getPyCompilerInterface();
  // Once per process: Python refuses a second function of one name.
  static const std::string function = compiler->bind_function(
      swap.get_py_compiler(), "TorchconvBackward", apply_packed, packed_types());
  compiled::PackedArgs packed;
  packed.pack(gradients_needed());
  packed.pack(first.unpack());
  packed.pack(second.unpack());
  SavedCall::visit(saved, [&packed](const auto& field) { packed.pack(field); });
  using Metadata = std::vector<std::optional<torch::autograd::InputMetadata>>;
  variable_list results = compiler->call_function(
      swap.get_py_compiler(), "apply_functional", function, incoming, packed.vec(),
      compiled::IValuePacker<Metadata>::pack(compiled::get_input_metadata(next_edges())));

  swap.after(first);
  swap.after(second);
  SavedCall::visit(saved, [&swap](auto& field) { swap.after(field); });
  return results;
}

// The backward of a call, or null where no argument asks for a gradient.
NodePointer<ConvBackward> make_backward(const Arguments& arguments) {
  const auto& [result, first, second, bias, result_size, geometry] = arguments;
  if (!torch::autograd::compute_requires_grad(first, second, bias)) return nullptr;
  auto node = make_node<ConvBackward>();
  node->set_next_edges(torch::autograd::collect_next_edges(first, second, bias));
  if (node->should_compute_output(1)) node->first = SavedVariable(first, /*is_output=*/false);
  if (node->should_compute_output(0)) node->second = SavedVariable(second, /*is_output=*/false);
  node->saved = SavedCall(arguments);
  return node;
}

// The tangent of a result: the operator is linear in each tensor, so a sum with each tangent in its
// tensor's place, the others primal. Undefined where nothing has a tangent.
Tensor tangent(const Arguments& arguments, const Tensor& result) {
  const Tensor& first = arguments.first;
  const Tensor& second = arguments.second;
  const OptionalTensor& bias = arguments.bias;
  const auto moves = [](const Tensor& tensor) { return tensor._fw_grad(/*level=*/0).defined(); };
  Tensor sum;
  const auto add = [&sum](const Tensor& term) { sum = sum.defined() ? sum + term : term; };
  const auto add_call = [&](const Tensor& one, const Tensor& other) {
    add(call(
        {arguments.result, one, other, std::nullopt, arguments.result_size, arguments.geometry}));
  };
  if (moves(first)) add_call(first._fw_grad(0), second._fw_primal(0));
  if (moves(second)) add_call(first._fw_primal(0), second._fw_grad(0));
  if (bias && moves(*bias)) {
    std::vector<SymInt> along_channels(size_t(result.dim()), 1);
    along_channels[1] = result.sym_size(1);
    add(bias->_fw_grad(0).reshape_symint(along_channels).expand_symint(result.sym_sizes()));
  }
  return sum;
}

Tensor autograd(c10::DispatchKeySet keys, const Arguments& arguments) {
  const NodePointer<ConvBackward> node = make_backward(arguments);
  Tensor result;
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    result = call(arguments, keys & c10::after_autograd_keyset);
  }
  if (node) set_gradient_function(result, node);
  if (const Tensor moved = tangent(arguments, result); moved.defined())
    result._set_fw_grad(moved, /*level=*/0, /*is_inplace_op=*/false);
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(torchconv, Autograd, library) { implement<autograd>(library); }

}  // namespace torchconv
