// The shapes of results, for fake tensors and tracing. Where every size is a number, the checks and
// messages are those of the CPU kernel; symbolic sizes are checked as far as the result needs them.
#include <algorithm>

#include <ATen/ops/empty.h>

#include "torch/checked.h"
#include "torch/ops.h"

namespace torchconv {
namespace {

bool is_symbolic(const Tensor& tensor) {
  return tensor.unsafeGetTensorImpl()->has_symbolic_sizes_strides();
}

bool is_symbolic(c10::SymIntArrayRef list) {
  return std::any_of(list.begin(), list.end(),
                     [](const SymInt& entry) { return !entry.maybe_as_int(); });
}

bool is_symbolic(const Arguments& arguments) {
  const Geometry& geometry = arguments.geometry;
  return is_symbolic(arguments.first) || is_symbolic(arguments.second) ||
         (arguments.bias && is_symbolic(*arguments.bias)) ||
         (arguments.result_size && is_symbolic(*arguments.result_size)) ||
         is_symbolic(geometry.stride) || is_symbolic(geometry.padding) ||
         is_symbolic(geometry.dilation) || is_symbolic(geometry.groups);
}

void check_positive(c10::SymIntArrayRef list, const char* what) {
  for (const SymInt& entry : list)
    TORCH_SYM_CHECK(entry.sym_gt(0), "torchconv: ", what, " must be positive, got ", list);
}

// Before any of it is indexed (lists are not bounds-checked in release builds) or divided by.
void check_geometry(const Arguments& arguments) {
  const auto& geometry = arguments.geometry;
  const size_t axes = geometry.stride.size();
  TORCH_CHECK(axes >= 1 && axes <= size_t(kMaxAxes), "torchconv: stride has ", axes, " entries");
  TORCH_CHECK(geometry.padding.size() == axes && geometry.dilation.size() == axes &&
                  (!arguments.result_size || arguments.result_size->size() == axes),
              "torchconv: stride, padding, dilation and size need as many entries as each other");
  const int64_t dimensions = int64_t(axes) + 2;
  TORCH_CHECK(arguments.first.dim() == dimensions && arguments.second.dim() == dimensions,
              "torchconv: expected two tensors of ", dimensions, " dimensions, got ",
              arguments.first.dim(), " and ", arguments.second.dim());
  TORCH_CHECK(!arguments.bias || arguments.bias->dim() == 1, "torchconv: bias needs one dimension");
  check_positive(geometry.stride, "stride");
  check_positive(geometry.dilation, "dilation");
  check_positive(geometry.groups, "groups");
}

SymInt natural_size(const Arguments& arguments, size_t axis) {
  const auto& geometry = arguments.geometry;
  const SymInt padded = arguments.first.sym_size(int64_t(axis) + 2) + geometry.padding[axis] * 2;
  const SymInt span =
      geometry.dilation[axis] * (arguments.second.sym_size(int64_t(axis) + 2) - 1) + 1;
  TORCH_SYM_CHECK(padded.sym_ge(span), "torchconv: the kernel spans ", span,
                  ", more than the padded input of ", padded);
  return (padded - span) / geometry.stride[axis] + 1;
}

// Batch and channels of the result, once the other tensors are found to agree on theirs.
std::vector<SymInt> leading_sizes(const Arguments& arguments) {
  const Tensor& first = arguments.first;
  const Tensor& second = arguments.second;
  const SymInt& groups = arguments.geometry.groups;
  const auto agree = [](const SymInt& a, const SymInt& b, const char* what) {
    TORCH_SYM_CHECK(a.sym_eq(b), "torchconv: ", what, " differ: ", a, " and ", b);
  };
  switch (arguments.result) {
    case Result::output:
      agree(first.sym_size(1), second.sym_size(1) * groups, "channels of input and weight");
      if (arguments.bias)
        agree(arguments.bias->sym_size(0), second.sym_size(0), "channels of bias and weight");
      return {first.sym_size(0), second.sym_size(0)};
    case Result::input:
      agree(first.sym_size(1), second.sym_size(0), "channels of output and weight");
      return {first.sym_size(0), second.sym_size(1) * groups};
    case Result::weight:
      agree(first.sym_size(0), second.sym_size(0), "batches of input and output");
      return {second.sym_size(1), first.sym_size(1) / groups};
  }
  return {};
}

Tensor on_meta(c10::DispatchKeySet, const Arguments& arguments) {
  require_alike(arguments);
  std::vector<SymInt> size;
  if (!is_symbolic(arguments)) {
    for (const int64_t entry : result_size(checked_problem(arguments))) size.emplace_back(entry);
  } else {
    check_geometry(arguments);
    size = leading_sizes(arguments);
    for (size_t axis = 0; axis < arguments.geometry.stride.size(); ++axis)
      size.push_back(arguments.result_size ? (*arguments.result_size)[axis]
                                           : natural_size(arguments, axis));
  }
  return at::empty_symint(size, arguments.first.options().memory_format(
                                    result_format(arguments.first, arguments.second)));
}

}  // namespace

TORCH_LIBRARY_IMPL(torchconv, Meta, library) { implement<on_meta>(library); }

}  // namespace torchconv
