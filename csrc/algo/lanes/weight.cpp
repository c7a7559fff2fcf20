// lanes, by weight: w[co, ci, t] += x[ci][i(o, t)] * y[co][o], each of them a vector of groups.
//
// A task takes one block of groups and a split of the pieces. The sums of a piece stay in registers
// and are added to the task's; where the blocks are few there are several splits, whose sums are
// added in order at the end. None of it depends on the threads.
#include "algo/lanes/groups.h"
#include "algo/lanes/parts.h"

namespace torchconv::lanes_detail {
namespace {

constexpr int64_t kPartialBytes = 768 << 10;  // of sums kept apart for a split reduction

// Of the pieces, where `at_once` blocks go together.
template <typename T>
int64_t splits_of(const Cut& cut, int64_t at_once) {
  const int64_t parts = ceil_div(cut.blocks, at_once);
  const int64_t most = kPartialBytes / (cut.blocks * cut.weight_elements() * int64_t(sizeof(T)));
  return std::max<int64_t>(std::min({ceil_div(kTasksWanted, parts), cut.pieces, most}), 1);
}

// Elements of the sums that splits keep, in panels or in place.
template <typename T>
int64_t partial_elements(const Cut& cut) {
  const int64_t splits =
      std::max(splits_of<T>(cut, 1), splits_of<T>(cut.in_place(sizeof(T)), cut.at_once(sizeof(T))));
  return splits > 1 ? cut.blocks * splits * cut.weight_elements() : 0;
}

template <typename T>
struct Worker {
  T *input, *output, *sums;
  LaneTap* taps;
  Worker(const Cut& cut, Arena* arena) {
    input = arena->take<T>(cut.input_elements());
    output = arena->take<T>(cut.output_elements());
    sums = arena->take<T>(cut.at_once(sizeof(T)) * cut.weight_elements());
    taps = arena->take<LaneTap>(cut.depth);
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
void add_piece(const Groups<T>& groups, const Piece& piece, int64_t block, const LaneTap* taps,
               const Worker<T>& worker, T* sums) {
  const Cut& cut = groups.cut;
  groups.pack_input(piece, block, worker.input);
  groups.pack_output(piece, block, worker.output);
  const LaneMap map = cut.map(piece);
  for_each_panel(cut, sums, [&](int64_t r, int64_t rows, T* panel) {
    kernels<T>().lanes_dot[rows - 1](cut.depth, taps, map, worker.input,
                                     worker.output + r * map.y_image, panel);
  });
}

// The sums of block b, below `blocks` and counted from `first`, are at sums + b * apart.
template <typename T>
void add_in_place(const Groups<T>& groups, const Piece& piece, int64_t first, int64_t blocks,
                  const Worker<T>& worker, T* sums, int64_t apart) {
  const auto* const x = reinterpret_cast<const T*>(groups.input.data);
  const auto* const y = reinterpret_cast<const T*>(groups.output.data);
  groups.for_each_map(piece, worker.taps, [&](int64_t depth, const LaneMap& map, int64_t from) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t group = groups.cut.first_group(first + b);
      kernels<T>().lanes_dot[0](depth, worker.taps, map, x + group, y + from + group,
                                sums + b * apart);
    }
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
  const int64_t elements = cut.weight_elements();
  Arena arena{static_cast<char*>(context.scratch)};
  LaneTap* const taps = arena.take<LaneTap>(cut.depth);
  cut.fill_taps(taps);
  T* const partial = arena.take<T>(partial_elements<T>(cut));
  Arena counter{nullptr};
  Worker<T>(cut, &counter);
  const int workers = workers_for(p, context.threads);

  // Blocks [from, until), `at_once` together: add(piece, first, blocks, worker, sums, apart).
  const auto make = [&](const Cut& c, int64_t from, int64_t until, int64_t at_once,
                        const auto& add) {
    const int64_t splits = splits_of<T>(c, at_once), apart = splits * elements;
    const int64_t parts = ceil_div(until - from, at_once);
    for_each_task<T>(context, parts * splits, workers, [&](int64_t task, int w) {
      Arena own{arena.base + arena.used + w * counter.used};
      const Worker<T> worker(cut, &own);
      const int64_t part = task / splits, split = task % splits;
      const int64_t first = from + part * at_once, blocks = std::min(at_once, until - first);
      T* const sums = splits > 1 ? partial + first * apart + split * elements : worker.sums;
      for (int64_t b = 0; b < blocks; ++b) std::fill_n(sums + b * apart, elements, T(0));
      for (int64_t i = c.pieces * split / splits; i < c.pieces * (split + 1) / splits; ++i)
        add(c.piece(p, i), first, blocks, worker, sums, apart);
      for (int64_t b = 0; splits == 1 && b < blocks; ++b)
        store(groups, first + b, sums + b * apart);
    });
    if (splits == 1) return;
    for_each_task<T>(context, until - from, workers, [&](int64_t task, int) {
      T* const sums = partial + (from + task) * apart;
      for (int64_t s = 1; s < splits; ++s)
        for (int64_t i = 0; i < elements; ++i) sums[i] += sums[s * elements + i];
      store(groups, from + task, sums);
    });
  };
  const int64_t in_place = groups.blocks_in_place();
  make(cut.in_place(sizeof(T)), 0, in_place, cut.at_once(sizeof(T)),
       [&](const Piece& piece, int64_t first, int64_t blocks, const Worker<T>& worker, T* sums,
           int64_t apart) { add_in_place(groups, piece, first, blocks, worker, sums, apart); });
  make(cut, in_place, cut.blocks, 1,
       [&](const Piece& piece, int64_t block, int64_t, const Worker<T>& worker, T* sums, int64_t) {
         add_piece(groups, piece, block, taps, worker, sums);
       });
}

template <typename T>
int64_t weight_scratch(const Problem& p, int threads) {
  const Cut cut = cut_of<T>(p);
  Arena arena{nullptr};
  arena.take<LaneTap>(cut.depth);
  arena.take<T>(partial_elements<T>(cut));
  for (int w = 0; w < workers_for(p, threads); ++w) Worker<T>(cut, &arena);
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
