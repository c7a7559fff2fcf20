// lanes, by weight: w[co, ci, t] += x[ci][i(o, t)] * y[co][o], each of them a vector of groups.
//
// A task takes one block of groups and a split of the pieces. The sums of a piece stay in registers
// and are added to the task's; where the blocks are few there are several splits, whose sums are
// added in order at the end. None of it depends on the threads.
#include "algo/lanes/groups.h"
#include "algo/lanes/parts.h"

namespace torchconv::lanes_detail {
namespace {

constexpr int64_t kTasksWanted = 16;
constexpr int64_t kPartialBytes = 768 << 10;  // of sums kept apart for a split reduction

template <typename T>
int64_t splits_of(const Cut& cut) {
  const int64_t most = kPartialBytes / (cut.blocks * cut.weight_elements() * int64_t(sizeof(T)));
  return std::max<int64_t>(std::min({ceil_div(kTasksWanted, cut.blocks), cut.pieces, most}), 1);
}

template <typename T>
struct Worker {
  T *input, *output, *sums;
  Worker(const Cut& cut, int64_t splits, Arena* arena) {
    input = arena->take<T>(cut.input_elements());
    output = arena->take<T>(cut.output_elements());
    sums = arena->take<T>(splits == 1 ? cut.weight_elements() : 0);
  }
};

// Calls f(r, rows, panel) for the rows that a tile takes at a time; the panels of the sums lie one
// after the other.
template <typename T, typename F>
void for_each_panel(const Cut& cut, T* sums, const F& f) {
  const int64_t most = kernels<T>().lane_rows / cut.planes * cut.planes;
  for (int64_t r = 0; r < cut.rows_out; r += most)
    f(r, std::min(most, cut.rows_out - r), sums + r * cut.depth * cut.lanes);
}

template <typename T>
void add_piece(const Groups<T>& groups, const Piece& piece, int64_t block, const int64_t* offsets,
               const Worker<T>& worker) {
  const Cut& cut = groups.cut;
  groups.pack_input(piece, block, worker.input);
  const int64_t image = piece.lines * piece.columns * cut.lanes;
  groups.pack_output(piece, block, worker.output);
  const int64_t x_row =
      piece.lines > 1 ? cut.line.stride * cut.line_length() * cut.lanes : int64_t(0);
  for_each_panel(cut, worker.sums, [&](int64_t r, int64_t rows, T* panel) {
    kernels<T>().lanes_dot[rows - 1](cut.depth, offsets, worker.input, x_row,
                                     worker.output + r * image, image, piece.lines, piece.columns,
                                     panel);
  });
}

// (yr + i yi)(xr + i xi) from the four real products of the two rows and the two planes; the
// results end up in the first plane.
template <typename T>
void combine_planes(const Cut& cut, int64_t rows, T* panel) {
  const int64_t half = cut.depth / 2 * rows * cut.lanes;
  for (int64_t i = 0; i < half; i += 2 * cut.lanes)
    for (int64_t lane = 0; lane < cut.lanes; ++lane) {
      T* const real = panel + i + lane;
      T* const imaginary = real + cut.lanes;
      *real -= imaginary[half];
      *imaginary += real[half];
    }
}

template <typename T>
void store(const Groups<T>& groups, int64_t block, T* sums) {
  for_each_panel(groups.cut, sums, [&](int64_t r, int64_t rows, T* panel) {
    if (groups.cut.planes == 2) combine_planes(groups.cut, rows, panel);
    groups.store_weights(block, r, rows, panel);
  });
}

}  // namespace

template <typename T>
void run_weight(const Problem& p, const Operands& operands, const Context& context) {
  const Cut cut = cut_of<T>(p);
  const Groups<T> groups(p, operands, cut);
  const int64_t splits = splits_of<T>(cut), elements = cut.weight_elements();
  Arena arena{static_cast<char*>(context.scratch)};
  int64_t* const offsets = arena.take<int64_t>(cut.depth);
  cut.fill_offsets(offsets);
  T* const partial = arena.take<T>(splits > 1 ? cut.blocks * splits * elements : 0);
  Arena counter{nullptr};
  Worker<T>(cut, splits, &counter);
  const int workers = workers_for(p, context.threads);

  for_each_task<T>(context, cut.blocks * splits, workers, [&](int64_t task, int w) {
    Arena own{arena.base + arena.used + w * counter.used};
    Worker<T> worker(cut, splits, &own);
    const int64_t block = task / splits, split = task % splits;
    if (splits > 1) worker.sums = partial + task * elements;
    std::fill_n(worker.sums, elements, T(0));
    for (int64_t i = cut.pieces * split / splits; i < cut.pieces * (split + 1) / splits; ++i)
      add_piece(groups, cut.piece(p, i), block, offsets, worker);
    if (splits == 1) store(groups, block, worker.sums);
  });
  if (splits == 1) return;
  for_each_task<T>(context, cut.blocks, workers, [&](int64_t block, int) {
    T* const sums = partial + block * splits * elements;
    for (int64_t s = 1; s < splits; ++s)
      for (int64_t i = 0; i < elements; ++i) sums[i] += sums[s * elements + i];
    store(groups, block, sums);
  });
}

template <typename T>
int64_t weight_scratch(const Problem& p, int threads) {
  const Cut cut = cut_of<T>(p);
  const int64_t splits = splits_of<T>(cut);
  Arena arena{nullptr};
  arena.take<int64_t>(cut.depth);
  arena.take<T>(splits > 1 ? cut.blocks * splits * cut.weight_elements() : 0);
  for (int w = 0; w < workers_for(p, threads); ++w) Worker<T>(cut, splits, &arena);
  return arena.used;
}

template void run_weight<float>(const Problem&, const Operands&, const Context&);
template void run_weight<double>(const Problem&, const Operands&, const Context&);
template void run_weight<uint16_t>(const Problem&, const Operands&, const Context&);
template void run_weight<uint32_t>(const Problem&, const Operands&, const Context&);
template void run_weight<uint64_t>(const Problem&, const Operands&, const Context&);
template int64_t weight_scratch<float>(const Problem&, int);
template int64_t weight_scratch<double>(const Problem&, int);
template int64_t weight_scratch<uint16_t>(const Problem&, int);
template int64_t weight_scratch<uint32_t>(const Problem&, int);
template int64_t weight_scratch<uint64_t>(const Problem&, int);

}  // namespace torchconv::lanes_detail
