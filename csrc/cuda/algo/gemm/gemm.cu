// gemm: implicit matrix products on tensor cores, for float32, float64, bfloat16 and float16.
//
//     output[row, column] = sum over depth  input[row, depth] * weight[column, depth]
//
// as form.h has it: neither the patches nor a transposed input are ever written to memory; each
// block gathers its tiles from the views, whatever their strides. All three results are forward
// problems (core/relabel.h): by input one for each phase of the stride; by weight one whose depth
// is batch and positions, cut into splits that a second kernel adds up in their order. What is cut
// how depends on the problem alone: the same bits every run and on every device, without atomics.
//
//     bfloat16, float16   mma m16n8k16, sums in float32
//     float32             mma m16n8k8 of TF32 where the problem allows it; multiply-adds otherwise
//     float64             mma m8n8k4
//
// Registers of a thread (nvcc 13.0, no spills): a tile of 128 takes 215 to 222 where both operands
// are copied whole, 238 to 244 where 16-bit numbers are gathered, 210 for TF32 and up to 255 for
// float32; a tile of 64 takes 126 to 168.
//
// It ran on an H200 (2026-11-26). The emulator (tests/cuda) runs every kernel on the problem table.
#include <algorithm>

#include "core/algorithm.h"
#include "core/relabel.h"
#include "cuda/algo/gemm/kernel.h"
#include "cuda/algo/gemm/plan.h"
#include "cuda/micro/launch.h"

namespace torchconv::cuda {
namespace {

// One for each combination of phases. More come with replicated edges only, two for each tap.
constexpr int64_t kMostLaunches = 512;

int64_t count_forwards(const Problem& p) {
  int64_t count = 1;
  if (p.result != Result::input) return count;
  for (int a = 0; a < p.axes; ++a) {
    const int64_t phases = count_phases(p, a);
    if (phases > kMostLaunches) return phases;
    count *= phases;
    if (count > kMostLaunches) return count;
  }
  return count;
}

std::string refuses(const Problem& p) {
  if (p.dtype > DType::float16)
    return "not a real floating dtype (gemm has float32, float64, bfloat16 and float16)";
  if (p.capability != 0 && p.capability < 80)
    return "compute capability " + std::to_string(p.capability / 10) + "." +
           std::to_string(p.capability % 10) + " (gemm needs 8.0)";
  const int64_t launches = count_forwards(p);
  if (launches > kMostLaunches)
    return std::to_string(launches) + " forward problems or more (gemm launches at most " +
           std::to_string(kMostLaunches) + ")";
  return "";
}

template <typename Body>
void for_each_shape(const Problem& p, const Body& body) {
  for_each_forward(p, Operands{}, [&](const Problem& forward, const Operands&) { body(forward); });
}

// Multiply-adds a second that an H200 gave, about: a tenth of its tensor cores' rate.
double rate(const Problem& p) {
  switch (p.dtype) {
    case DType::float64: return 5e12;
    case DType::float32: return p.tf32 ? 20e12 : 8e12;
    default: return 40e12;
  }
}

// Padded tiles at that rate, or as long as memory takes, and the launches. Layers took 2.5 times that
// on an H200, the median of 700 in bfloat16.
double cost(const Problem& p) {
  double cost_s = 0;
  for_each_shape(p, [&](const Problem& forward) {
    const Plan plan = plan_of(forward);
    const double line = double(kLineBytes / element_bytes(p.dtype));
    const double blocks = double(tiles_of(forward, plan.size) * plan.splits);
    const double depth = double(ceil_div(depth_of(forward), plan.splits)) + line;
    const double rounds = blocks > 132 ? blocks / 132 : 1;
    const double multiply_s = rounds * 132 * plan.size * plan.size * depth / rate(p);
    const double elements =
        double(forward.batch) * double(forward.in_channels) * double(forward.input_positions()) +
        double(rows_of(forward)) * double(forward.out_channels) +
        double(depth_of(forward)) * double(forward.out_channels);
    const double memory_s = elements * double(element_bytes(p.dtype)) / 1e12;
    cost_s += 10e-6 + (plan.splits > 1 ? 3e-6 : 0);
    cost_s += multiply_s > memory_s ? multiply_s : memory_s;
  });
  return 2.5 * cost_s;
}

int64_t scratch_bytes(const Problem& p, int) {
  int64_t most = 0;
  for_each_shape(p, [&](const Problem& forward) {
    const int64_t bytes = partial_bytes(forward);
    most = bytes > most ? bytes : most;
  });
  return most;
}

template <typename Number, int size>
void multiply_all(const Form& f, const Context& context) {
  const Launch how = launch_of(std::min(count_tiles(f), kMostBlocks), threads_of_tile(size),
                               sizeof(Block<size>), context.stream);
  if constexpr (sizeof(Stored<Number>) == 2)
    if (f.input_whole && f.weight_whole) return launch(how, &multiply<Number, size, true>, f);
  launch(how, &multiply<Number, size, false>, f);
}

template <typename Number>
void run_form(const Form& f, int size, const Context& context) {
  if constexpr (!std::is_same_v<Number, double>)
    if (size == 128) multiply_all<Number, 128>(f, context);
  if (size == 64) multiply_all<Number, 64>(f, context);
  if (f.splits == 1) return;
  const int64_t elements = f.groups * f.rows * f.columns;
  const int64_t blocks = grid_stride_blocks(elements, 128, context.threads);
  launch(launch_of(blocks, 128, 0, context.stream), &add_splits<Stored<Number>, SumOf<Number>>, f);
}

void run_forward(Problem p, Operands operands, const Context& context) {
  simplify(&p, &operands);
  const Form f = form_of(p, operands, context.scratch);
  if (f.rows == 0 || f.columns == 0) return;
  const int size = plan_of(p).size;
  switch (p.dtype) {
    case DType::float64: return run_form<double>(f, size, context);
    case DType::bfloat16: return run_form<BFloat16>(f, size, context);
    case DType::float16: return run_form<Float16>(f, size, context);
    default: return p.tf32 ? run_form<Tf32>(f, size, context) : run_form<float>(f, size, context);
  }
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  Problem problem = p;
  Operands views = operands;
  if (p.result == Result::weight) simplify(&problem, &views);  // 1x1: positions are one long line
  for_each_forward(problem, views, [&](const Problem& forward, const Operands& views) {
    run_forward(forward, views, context);
  });
}

}  // namespace

extern const Algorithm gemm;
const Algorithm gemm = {"gemm", refuses, cost, scratch_bytes, run};

}  // namespace torchconv::cuda
