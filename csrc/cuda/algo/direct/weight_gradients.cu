// The weight gradient by gradients, for bfloat16 and float16.
//
// Registers of a thread (nvcc 13.0, no spills): up to 232, and 40 of a loader. It ran on an H200
// (2026-11-27).
#include "cuda/algo/direct/weight_gradients.h"

#include "core/algorithm.h"
#include "cuda/algo/direct/weight_plan.h"
#include "cuda/micro/launch.h"

namespace torchconv::cuda::sliding {
namespace {

template <typename Number, int shifts, int columns>
void run_shape(const WeightPlan& plan, const Context& context) {
  const WeightForm& w = plan.form;
  const Launch how = launch_of(w.blocks(), block_threads(false), plan.shared_bytes, context.stream);
  if (shifts == 1 && w.source[0].lines)
    launch(how, &slide_weight<Number, shifts, columns, shifts != 1>, w);
  else
    launch(how, &slide_weight<Number, shifts, columns, true>, w);
}

template <typename Number>
void run_number(const WeightPlan& plan, const Context& context) {
  switch (plan.shape.columns * 100 + plan.shape.products) {
    case 12801: return run_shape<Number, 1, 128>(plan, context);
    case 12803: return run_shape<Number, 3, 128>(plan, context);
    case 6401: return run_shape<Number, 1, 64>(plan, context);
    case 6403: return run_shape<Number, 3, 64>(plan, context);
    case 6405: return run_shape<Number, 5, 64>(plan, context);
    case 3205: return run_shape<Number, 5, 32>(plan, context);
    case 3210: return run_shape<Number, 10, 32>(plan, context);
    case 1605: return run_shape<Number, 5, 16>(plan, context);
    case 1613: return run_shape<Number, 13, 16>(plan, context);
  }
}

}  // namespace

void sum_by_gradients(const WeightPlan& plan, DType dtype, const Context& context) {
  if (dtype == DType::float16) return run_number<Float16>(plan, context);
  run_number<BFloat16>(plan, context);
}

}  // namespace torchconv::cuda::sliding
