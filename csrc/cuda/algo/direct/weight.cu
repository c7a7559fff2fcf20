// direct's weight gradient, for bfloat16 and float16: weight_plan.h has the mathematics.
//
// Registers of a thread (nvcc 13.0, no spills): 255 for 160 sums and more, 130 to 226 for fewer. It
// ran on an H200 (2026-11-26).
#include "core/algorithm.h"
#include "cuda/algo/direct/weight.h"
#include "cuda/micro/launch.h"

namespace torchconv::cuda::sliding {
namespace {

// From so many elements on, a lane that adds several leaves lanes enough.
constexpr int64_t kManyElements = 1 << 20;

template <typename Number, int shifts, int columns>
void run_shape(const WeightPlan& plan, const Context& context) {
  const WeightForm& w = plan.form;
  const Form& f = w.f;
  Launch how = launch_of(w.blocks(), kThreads, plan.shared_bytes, context.stream);
  if (shifts == 1 && w.source[0].lines)
    launch(how, &slide_weight<Number, shifts, columns, shifts != 1>, w);
  else
    launch(how, &slide_weight<Number, shifts, columns, true>, w);
  const int64_t lines = f.all_outs * f.shifts;
  how = launch_of(grid_stride_blocks(lines * kWarp, 128, context.threads), 128, 0, context.stream);
  how.early = true;
  if (f.channels % 4 == 0 && lines * f.channels >= kManyElements)
    launch(how, &add_weight_splits<Number, 4>, w, columns, lines);
  else
    launch(how, &add_weight_splits<Number, 1>, w, columns, lines);
}

template <typename Number>
void run_number(const WeightPlan& plan, const Context& context) {
  switch (plan.shape.columns * 100 + plan.shape.shifts) {
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

void run_weight(const Problem& p, const Operands& operands, const Context& context) {
  WeightPlan plan = plan_weight(p, operands);
  plan.form.partial = static_cast<float*>(context.scratch);
  if (p.dtype == DType::float16) return run_number<Float16>(plan, context);
  run_number<BFloat16>(plan, context);
}

}  // namespace torchconv::cuda::sliding
