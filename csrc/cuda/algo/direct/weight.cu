// direct's weight gradient: weight_form.h has the mathematics. Here the sums of its splits are added.
//
// Registers of a thread (nvcc 13.0, no spills): 126. It ran on an H200 (2026-11-27).
#include "core/algorithm.h"
#include "cuda/algo/direct/weight_plan.h"
#include "cuda/algo/direct/weight_splits.h"
#include "cuda/micro/launch.h"

namespace torchconv::cuda::sliding {
namespace {

// From so many elements on, lanes that have several leave lanes enough.
constexpr int64_t kManyElements = 1 << 18;

template <typename T, int vector>
void add_vectors(const WeightForm& w, const Context& context) {
  constexpr int kBlock = kSplitWarps * kWarp;
  const SplitUnits units = split_units(w, vector, sizeof(T));
  const int64_t threads = units.count * units.warps * kWarp;
  Launch how =
      launch_of(grid_stride_blocks(threads, kBlock, context.threads), kBlock, 0, context.stream);
  how.early = true;
  launch(how, &add_weight_splits<T, vector>, w, units);
}

template <typename T>
void add_splits_of(const WeightForm& w, const Context& context) {
  const Form& f = w.f;
  if (f.channels % 4 == 0 && f.all_outs * f.shifts * f.channels >= kManyElements)
    return add_vectors<T, 4>(w, context);
  add_vectors<T, 1>(w, context);
}

}  // namespace

void run_weight(const Problem& p, const Operands& operands, const Context& context) {
  WeightPlan plan = plan_weight(p, operands);
  plan.form.partial = static_cast<float*>(context.scratch);
  if (plan.shape.by_patches)
    sum_by_patches(plan, p.dtype, context);
  else
    sum_by_gradients(plan, p.dtype, context);
  switch (p.dtype) {
    case DType::bfloat16: return add_splits_of<BFloat16>(plan.form, context);
    case DType::float16: return add_splits_of<Float16>(plan.form, context);
    default: return add_splits_of<float>(plan.form, context);
  }
}

}  // namespace torchconv::cuda::sliding
