// vmap: one operator call does all the mapped ones, the mapped axis folded into an index of
//
//     T(x, w, y) = sum over n, g, ci, co, o, t of x[n, g, ci, i] * w[g, co, ci, t] * y[n, g, co, o]
//
// Where one argument is mapped, into the index it shares with the result and not with the other
// argument: n of input and output, ci of input and weight, co of weight and output. Where both are,
// into g, which every tensor has.
#include <ATen/TensorOperators.h>
#include <ATen/functorch/BatchedTensorImpl.h>
#include <ATen/functorch/DynamicLayer.h>
#include <ATen/functorch/PlumbingHelper.h>

#include "torch/ops.h"

namespace torchconv {
namespace {

namespace functorch = at::functorch;

// A tensor without its mapped axis: `value` holds that axis in front where `mapped`.
struct Unwrapped {
  Tensor value;
  bool mapped = false;
};

Unwrapped unwrap(const Tensor& tensor, int64_t level) {
  const auto [value, axis] = functorch::unwrapTensorAtLevel(tensor, level);
  return axis ? Unwrapped{value.movedim(*axis, 0), true} : Unwrapped{value, false};
}

int64_t current_level() {
  const auto layer = functorch::maybeCurrentDynamicLayer();
  TORCH_CHECK(layer.has_value(), "torchconv: a batched tensor escaped vmap");
  return layer->layerId();
}

enum class Index { batch, group, in_channel, out_channel };

// The one index that two tensors of the form share beside the group, which all three do.
Index shared(Result a, Result b) {
  const auto are = [a, b](Result one, Result other) {
    return (a == one && b == other) || (a == other && b == one);
  };
  if (are(Result::input, Result::output)) return Index::batch;
  return are(Result::input, Result::weight) ? Index::in_channel : Index::out_channel;
}

// The axis of a tensor that holds an index. Channels that a tensor keeps for all groups lie group
// by group: the mapped axis goes inside the group, as (group, mapped, channel).
struct Place {
  int64_t axis;
  bool inside_group;
};

Place place(Result tensor, Index index) {
  switch (index) {
    case Index::batch: return {0, false};
    case Index::group: return {tensor == Result::weight ? 0 : 1, false};
    case Index::in_channel: return {1, tensor == Result::input};
    case Index::out_channel: return {tensor == Result::weight ? 0 : 1, true};
  }
  return {};
}

// [mapped, ...] -> the same elements with the mapped axis folded into its place.
Tensor fold(const Tensor& tensor, Place place, const SymInt& groups) {
  const int64_t axis = place.axis;
  if (!place.inside_group) return tensor.movedim(0, axis).flatten(axis, axis + 1);
  const SymInt channels = tensor.sym_size(axis + 1) / groups;
  return tensor.unflatten_symint(axis + 1, {groups, channels})
      .movedim(0, axis + 1)
      .flatten(axis, axis + 2);
}

// The inverse; `size` is that of the folded axis in one of the mapped calls.
Tensor unfold(const Tensor& tensor, Place place, const SymInt& groups, const SymInt& mapped,
              const SymInt& size) {
  const int64_t axis = place.axis;
  if (!place.inside_group) return tensor.unflatten_symint(axis, {mapped, size}).movedim(axis, 0);
  return tensor.unflatten_symint(axis, {groups, mapped, size / groups})
      .movedim(axis + 1, 0)
      .flatten(axis + 1, axis + 2);
}

// The size, for one of the mapped calls, of the result's axis that holds the index.
SymInt size_of_one(const Arguments& arguments, Index index) {
  const auto& [result, first, second, bias, result_size, geometry] = arguments;
  if (index == Index::batch) return first.sym_size(0);
  if (result == Result::output) return second.sym_size(0);
  if (result == Result::input) return second.sym_size(1) * geometry.groups;
  return index == Index::in_channel ? first.sym_size(1) / geometry.groups : second.sym_size(1);
}

Tensor expand_mapped(const Unwrapped& tensor, const SymInt& mapped) {
  if (tensor.mapped) return tensor.value;
  std::vector<SymInt> size{mapped};
  for (const SymInt& entry : tensor.value.sym_sizes()) size.push_back(entry);
  return tensor.value.expand_symint(size);
}

// Adds a bias to a result; the mapped axis of either is in front.
Tensor add_bias(const Unwrapped& result, const Unwrapped& bias) {
  std::vector<SymInt> size(size_t(result.value.dim() - result.mapped), 1);
  size[1] = bias.value.sym_size(-1);
  if (bias.mapped) size.insert(size.begin(), bias.value.sym_size(0));
  return result.value + bias.value.reshape_symint(size);
}

// The mapped calls in one, their results unfolded again: [mapped, ...]. At least one tensor is
// mapped; the bias may be.
Tensor call_folded(const Arguments& arguments, const Unwrapped& first, const Unwrapped& second,
                   const std::optional<Unwrapped>& bias) {
  const Result result = arguments.result;
  const SymInt& groups = arguments.geometry.groups;
  TORCH_SYM_CHECK(groups.sym_gt(0), "torchconv: groups must be positive, got ", groups);
  const SymInt mapped = (first.mapped ? first : second).value.sym_size(0);
  const Index index = first.mapped && second.mapped
                          ? Index::group
                          : shared(result, first.mapped ? first_of(result) : second_of(result));

  Form form;
  const auto give = [&](Result which, const Unwrapped& tensor) {
    form[which] = tensor.mapped ? fold(tensor.value, place(which, index), groups) : tensor.value;
  };
  give(first_of(result), first);
  give(second_of(result), second);
  // A bias belongs to the weight's output channels and folds with them. Mapped into the batch, one
  // call has a single bias: more than one are added to its result.
  const bool bias_later = bias && bias->mapped && index == Index::batch;
  OptionalTensor folded_bias;
  if (bias && index == Index::batch && !bias_later) folded_bias = bias->value;
  if (bias && index != Index::batch)
    folded_bias = fold(expand_mapped(*bias, mapped), place(Result::weight, index), groups);

  Geometry geometry = arguments.geometry;
  if (index == Index::group) geometry.groups = groups * mapped;
  const Tensor folded = call(result, form, folded_bias, arguments.result_size, geometry);

  const Tensor unfolded =
      unfold(folded, place(result, index), groups, mapped, size_of_one(arguments, index));
  return bias_later ? add_bias({unfolded, true}, *bias) : unfolded;
}

Tensor vmap(c10::DispatchKeySet, const Arguments& arguments) {
  const c10::impl::ExcludeDispatchKeyGuard without_vmap(c10::DispatchKey::FuncTorchBatched);
  const int64_t level = current_level();
  const Unwrapped first = unwrap(arguments.first, level);
  const Unwrapped second = unwrap(arguments.second, level);
  std::optional<Unwrapped> bias;
  if (arguments.bias) bias = unwrap(*arguments.bias, level);

  if (first.mapped || second.mapped)
    return functorch::makeBatched(call_folded(arguments, first, second, bias), 0, level);
  if (!bias || !bias->mapped) return call(arguments);
  const Tensor result = call({arguments.result, first.value, second.value, std::nullopt,
                              arguments.result_size, arguments.geometry});
  return functorch::makeBatched(add_bias({result, false}, *bias), 0, level);
}

}  // namespace

TORCH_LIBRARY_IMPL(torchconv, FuncTorchBatched, library) { implement<vmap>(library); }

}  // namespace torchconv
