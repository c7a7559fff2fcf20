// direct: windows that slide over a box in shared memory, on Hopper's tensor cores; for bfloat16,
// float16 and float32.
//
//     sum[base, column] += box[base + shift, channel] * taps[shift, channel, column]
//
// as form.h has it. A block brings each piece of the input once to shared memory, whichever way it
// lies, and its products read it there under every shift: neither the patches nor a transposed input
// are written to memory, and finding a patch is one addition. The taps are packed by a kernel of
// their own, once a call. An input gradient under a stride is one launch. By weight the box is the
// same, and the bases are what is summed over (weight_form.h).
//
//     bfloat16, float16   products in float32
//     float32             in TF32, where the problem allows it
//
// Registers of a thread (nvcc 13.0, no spills): up to 128, for two blocks on a multiprocessor; up to
// 80 for columns of 16 and 32, for three.
#include <algorithm>

#include "core/algorithm.h"
#include "core/check.h"
#include "cuda/algo/direct/kernel.h"
#include "cuda/algo/direct/weight_plan.h"
#include "cuda/micro/launch.h"

namespace torchconv::cuda {
namespace {

using namespace sliding;

bool is_strided(const Problem& p) {
  for (int a = 0; a < p.axes; ++a)
    if (p.axis[a].stride > 1) return true;
  return false;
}

// Views of sizes alone: as torch lays tensors out.
Operands usual_views(const Problem& p) {
  return contiguous_operands(p, nullptr, nullptr, nullptr, nullptr);
}

bool lie_alike(const View& a, const View& b, int axes) {
  bool same = a.batch == b.batch && a.group == b.group && a.in_channel == b.in_channel &&
              a.out_channel == b.out_channel;
  for (int axis = 0; axis < axes; ++axis) same &= a.axis[axis] == b.axis[axis];
  return same;
}
bool lie_as_usual(const Problem& p, const Operands& operands) {
  const Operands usual = usual_views(p);
  return lie_alike(operands.input, usual.input, p.axes) &&
         lie_alike(operands.output, usual.output, p.axes);
}

// The plan of a problem. What a plan needs depends on the axes that are joined, and that on the
// views: there are two plans, one for the usual views and one for all others, which joins nothing.
Plan plan_of(const Problem& p, const Operands& operands, bool joins) {
  if (p.result == Result::output) return plan_forward(p, operands, joins);
  if (p.padding_mode != PaddingMode::zeros) return {};
  if (is_strided(p)) return plan_by_phases(p, operands);
  Plan plan;
  for_each_forward(p, operands, [&](const Problem& forward, const Operands& views) {
    plan = plan_forward(forward, views, joins);  // one, for there is one phase
  });
  return plan;
}
Plan usual_plan(const Problem& p) { return plan_of(p, usual_views(p), true); }
Plan other_plan(const Problem& p) { return plan_of(p, usual_views(p), false); }

std::string refuses(const Problem& p) {
  if (p.dtype != DType::float32 && p.dtype != DType::bfloat16 && p.dtype != DType::float16)
    return "not float32, bfloat16 or float16 (direct has no others)";
  if (p.capability / 10 != 9)
    return "compute capability " + std::to_string(p.capability / 10) + "." +
           std::to_string(p.capability % 10) + " (direct is made of instructions of 9.0 alone)";
  if (p.in_channels == p.groups && p.out_channels == p.groups)
    return "one channel a group (direct would multiply by zeros)";
  if (p.result == Result::input && p.padding_mode != PaddingMode::zeros)
    return "an input gradient under folding padding (direct knows zeros)";
  if (p.dtype == DType::float32 && !p.tf32)
    return "float32 without TF32 (the tensor cores' sums are not rounded, but cut off)";
  const bool has_plan = p.result == Result::weight
                            ? choose_weight(p).shape.products > 0
                            : usual_plan(p).columns > 0 && other_plan(p).columns > 0;
  if (!has_plan)
    return "a kernel, stride or dilation whose box is too large for shared memory (direct)";
  return "";
}

// Cycles of the products, of the loads and of a tile's begin and end; an H200 takes 1.7 times as long.
double cost(const Problem& p) {
  if (p.result == Result::weight) {
    const WeightPlan plan = choose_weight(p);
    return plan.shape.products == 0 ? 1 : 9e-6 + plan.cycles / 1.7e9;
  }
  const Plan plan = usual_plan(p);
  const Form& f = plan.form;
  if (plan.columns == 0) return 1;
  const double products = double(f.chunks) * f.shifts * (f.pieces / 2);  // of each unit
  const double product_cycles = plan.columns < 32 ? 24 : plan.columns * 0.75;
  const double load_cycles = double(f.chunks) * f.pieces * f.positions * 1.5;
  const double tile_cycles = kUnits * products * product_cycles + load_cycles + 1500;
  const double tiles = double(f.tiles * f.column_tiles);
  const double rounds = tiles > 132 ? tiles / 132 : 1;
  return 9e-6 + 1.7 * (rounds * tile_cycles / 1.7e9 + double(plan.packed_bytes) / 1e12);
}

int64_t scratch_bytes(const Problem& p, int) {
  if (p.result == Result::weight) return choose_weight(p).partial_bytes;
  const Plan usual = usual_plan(p), other = other_plan(p);
  return std::max(usual.packed_bytes + usual.partial_bytes,
                  other.packed_bytes + other.partial_bytes);
}

template <typename Number, int columns>
void run_columns(const Plan& plan, const Context& context) {
  const Form& f = plan.form;
  const int64_t tiles = f.tiles * f.column_tiles;
  Launch how = launch_of(tiles * f.splits, kThreads, plan.shared_bytes, context.stream);
  how.early = true;
  launch(how, &slide<Number, columns>, f);
  if (f.splits > 1)
    launch(launch_of(tiles, kThreads, plan.shared_bytes, context.stream),
           &add_splits<Number, columns>, f);
}

template <typename Number>
void run_plan(const Plan& plan, const Context& context) {
  const int64_t pieces = plan.packed_bytes / kPieceBytes;
  launch(launch_of(grid_stride_blocks(pieces, 128, context.threads), 128, 0, context.stream),
         &pack_taps<Number>, plan.form, plan.columns, pieces, context.scratch);
  switch (plan.columns) {
    case 16: return run_columns<Number, 16>(plan, context);
    case 32: return run_columns<Number, 32>(plan, context);
    case 64: return run_columns<Number, 64>(plan, context);
    default: return run_columns<Number, 128>(plan, context);
  }
}

// Whether pieces lie in memory as they are, all of them there or none.
bool are_vectors(const Form& f) {
  bool fits = f.input.in_channel == 1 && f.all_channels % f.elements == 0 &&
              f.joined * f.channels % f.elements == 0 &&
              uintptr_t(f.input.data) % kPieceBytes == 0 && f.input.batch % f.elements == 0;
  for (int a = 0; a < kAxes; ++a) fits &= f.input.axis[a] % f.elements == 0;
  return fits;
}

// Whether neighbouring columns are written as pieces.
bool stores_vectors(const Form& f) {
  bool fits = f.output.out_channel == 1 && f.column_phases == 1 && f.all_outs % f.elements == 0 &&
              f.joined * f.outs % f.elements == 0 && uintptr_t(f.output.data) % kPieceBytes == 0 &&
              f.output.batch % f.elements == 0;
  for (int a = 0; a < kAxes; ++a) fits &= f.output.axis[a] % f.elements == 0;
  return fits;
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  if (p.result == Result::weight) return run_weight(p, operands, context);
  if (p.batch == 0 || p.out_channels == 0) return;
  Plan plan = plan_of(p, operands, lie_as_usual(p, operands));
  plan.form.taps = context.scratch;
  plan.form.partial =
      reinterpret_cast<float*>(static_cast<char*>(context.scratch) + plan.packed_bytes);
  plan.form.vectors = are_vectors(plan.form);
  plan.form.store_vectors = stores_vectors(plan.form);
  switch (p.dtype) {
    case DType::bfloat16: return run_plan<BFloat16>(plan, context);
    case DType::float16: return run_plan<Float16>(plan, context);
    default: return run_plan<Tf32>(plan, context);
  }
}

}  // namespace

extern const Algorithm direct;
const Algorithm direct = {"direct", refuses, cost, scratch_bytes, run};

}  // namespace torchconv::cuda
