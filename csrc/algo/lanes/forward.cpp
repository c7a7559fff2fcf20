// lanes, forward: y[co][o] += x[ci][i(o, t)] * w[co, ci, t], each of them a vector of groups.
//
// A task takes one block of groups and a share of the pieces: the weights are packed once a task,
// the input once a piece.
#include "algo/lanes/groups.h"
#include "algo/lanes/parts.h"

namespace torchconv::lanes_detail {
namespace {

constexpr int64_t kTasksPerWorker = 4;

template <typename T>
struct Worker {
  T *input, *weights, *start, *sums;
  Worker(const Cut& cut, Arena* arena) {
    input = arena->take<T>(cut.input_elements());
    weights = arena->take<T>(cut.weight_elements());
    start = arena->take<T>(cut.rows_out * cut.lanes);
    sums = arena->take<T>(cut.output_elements());
  }
};

template <typename T>
void make_piece(const Groups<T>& groups, const Piece& piece, int64_t block, const int64_t* offsets,
                const Worker<T>& worker) {
  const Cut& cut = groups.cut;
  const Kernels<T>& kernel = kernels<T>();
  groups.pack_input(piece, block, worker.input);
  // A huge stride has one line, and no product.
  const int64_t x_row =
      piece.lines > 1 ? cut.line.stride * cut.line_length() * cut.lanes : int64_t(0);
  const int64_t image = piece.lines * piece.columns * cut.lanes;
  for (int64_t r = 0; r < cut.rows_out; r += kernel.lane_rows) {
    const int64_t rows = std::min<int64_t>(kernel.lane_rows, cut.rows_out - r);
    kernel.lanes_slide[rows - 1](cut.depth, worker.weights + r * cut.depth * cut.lanes, offsets,
                                 worker.input, x_row, worker.start + r * cut.lanes, piece.lines,
                                 piece.columns, worker.sums + r * image, image);
  }
  groups.store_output(piece, block, worker.sums);
}

}  // namespace

template <typename T>
void run_forward(const Problem& p, const Operands& operands, const Context& context) {
  if (writes_nothing(p)) return;
  const Cut cut = cut_of<T>(p);
  const Groups<T> groups(p, operands, cut);
  Arena arena{static_cast<char*>(context.scratch)};
  int64_t* const offsets = arena.take<int64_t>(cut.depth);
  cut.fill_offsets(offsets);
  Arena counter{nullptr};
  Worker<T>(cut, &counter);
  const int workers = workers_for(p, context.threads);
  // No sum is cut, so the number of tasks may depend on the workers.
  const int64_t wanted = workers == 1 ? 1 : ceil_div(kTasksPerWorker * workers, cut.blocks);
  const int64_t shares = std::min(wanted, cut.pieces);
  for_each_task<T>(context, cut.blocks * shares, workers, [&](int64_t task, int w) {
    Arena own{arena.base + arena.used + w * counter.used};
    const Worker<T> worker(cut, &own);
    const int64_t block = task / shares, share = task % shares;
    for (int64_t r = 0; r < cut.rows_out; r += kernels<T>().lane_rows)
      groups.pack_weights(block, r, std::min<int64_t>(kernels<T>().lane_rows, cut.rows_out - r),
                          worker.weights + r * cut.depth * cut.lanes);
    groups.pack_bias(block, worker.start);
    for (int64_t i = cut.pieces * share / shares; i < cut.pieces * (share + 1) / shares; ++i)
      make_piece(groups, cut.piece(p, i), block, offsets, worker);
  });
}

template <typename T>
int64_t forward_scratch(const Problem& p, int threads) {
  if (writes_nothing(p)) return 0;
  const Cut cut = cut_of<T>(p);
  Arena arena{nullptr};
  arena.take<int64_t>(cut.depth);
  for (int w = 0; w < workers_for(p, threads); ++w) Worker<T>(cut, &arena);
  return arena.used;
}

template void run_forward<float>(const Problem&, const Operands&, const Context&);
template void run_forward<double>(const Problem&, const Operands&, const Context&);
template void run_forward<uint16_t>(const Problem&, const Operands&, const Context&);
template void run_forward<uint32_t>(const Problem&, const Operands&, const Context&);
template void run_forward<uint64_t>(const Problem&, const Operands&, const Context&);
template int64_t forward_scratch<float>(const Problem&, int);
template int64_t forward_scratch<double>(const Problem&, int);
template int64_t forward_scratch<uint16_t>(const Problem&, int);
template int64_t forward_scratch<uint32_t>(const Problem&, int);
template int64_t forward_scratch<uint64_t>(const Problem&, int);

}  // namespace torchconv::lanes_detail
