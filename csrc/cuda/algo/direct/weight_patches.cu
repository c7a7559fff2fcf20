// The weight gradient by patches, for bfloat16, float16 and float32.
//
// Registers of a thread (nvcc 13.0, no spills): up to 184, and 72 of a loader. It ran on an H200
// (2026-11-27).
#include "cuda/algo/direct/weight_patches.h"

#include "core/algorithm.h"
#include "cuda/algo/direct/weight_plan.h"
#include "cuda/micro/launch.h"

namespace torchconv::cuda::sliding {
namespace {

template <typename Number, int products, int columns>
void run_shape(const WeightPlan& plan, const Context& context) {
  launch(launch_of(plan.form.blocks(), block_threads(true), plan.shared_bytes, context.stream),
         &sum_patches<Number, products, columns>, plan.form);
}

template <typename Number>
void run_number(const WeightPlan& plan, const Context& context) {
  switch (plan.shape.columns * 100 + plan.shape.products) {
    case 12801: return run_shape<Number, 1, 128>(plan, context);
    case 12802: return run_shape<Number, 2, 128>(plan, context);
    case 6401: return run_shape<Number, 1, 64>(plan, context);
    case 6403: return run_shape<Number, 3, 64>(plan, context);
    case 3203: return run_shape<Number, 3, 32>(plan, context);
    case 3205: return run_shape<Number, 5, 32>(plan, context);
  }
}

}  // namespace

void sum_by_patches(const WeightPlan& plan, DType dtype, const Context& context) {
  switch (dtype) {
    case DType::bfloat16: return run_number<BFloat16>(plan, context);
    case DType::float16: return run_number<Float16>(plan, context);
    default: return run_number<Tf32>(plan, context);
  }
}

}  // namespace torchconv::cuda::sliding
