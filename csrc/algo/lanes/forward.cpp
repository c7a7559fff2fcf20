// lanes, forward: y[co][o] += x[ci][i(o, t)] * w[co, ci, t], each of them a vector of groups.
//
// A task takes one block of groups and a share of the pieces: the weights are packed once a task,
// the input once a piece.
#include "algo/lanes/groups.h"
#include "algo/lanes/parts.h"
#include "algo/lanes/planes.h"

namespace torchconv::lanes_detail {
namespace {

constexpr int64_t kTasksPerWorker = 4;
constexpr int64_t kManyTapRows = 5;

template <typename T>
struct Worker {
  T *input, *weights, *start, *sums;
  LaneTap* taps;
  TapRows* rows;
  Worker(const Cut& cut, Arena* arena) {
    const int64_t at_once = cut.at_once(sizeof(T));
    taps = arena->take<LaneTap>(cut.depth);
    input = arena->take<T>(cut.input_elements());
    weights = arena->take<T>(at_once * cut.weight_elements());
    start = arena->take<T>(at_once * cut.rows_out * cut.lanes);
    sums = arena->take<T>(cut.output_elements());
    rows =
        arena->take<TapRows>(std::max(cut.rows_of_taps(), cut.in_place(sizeof(T)).rows_of_taps()));
  }
};

// Of many rows of taps, a line near the edge meets some in the padding: those are passed over. Calls
// f(line, lines, rows of taps) for stretches of a piece's lines that meet the same.
template <typename F>
void for_each_seen(const Problem& p, const Cut& cut, const Piece& piece, const F& f) {
  const Axis& x = cut.line;
  if (x.kernel_size < kManyTapRows || p.padding_mode != PaddingMode::zeros)
    return f(0, piece.lines, Inside{0, x.kernel_size});
  const auto seen = [&](int64_t line) {
    return inside(x.input_size, (piece.line + line) * x.stride - x.padding, x.dilation,
                  x.kernel_size);
  };
  for (int64_t line = 0, next; line < piece.lines; line = next) {
    const Inside rows = seen(line);
    for (next = line + 1; next < piece.lines; ++next) {
      const Inside others = seen(next);
      if (others.begin != rows.begin || others.end != rows.end) break;
    }
    f(line, next - line, rows);
  }
}

// Those of all taps that lie in some rows; their number.
int64_t seen_taps(const Cut& cut, Inside rows, const LaneTap* taps, LaneTap* to) {
  const int64_t columns = cut.column.kernel_size, image = cut.line.kernel_size * columns;
  int64_t count = 0;
  for (int64_t k = 0; k < cut.depth; k += image)
    for (int64_t t = rows.begin * columns; t < rows.end * columns; ++t) to[count++] = taps[k + t];
  return count;
}

template <typename T>
void make_piece(const Groups<T>& groups, const Piece& piece, int64_t block, const LaneTap* taps,
                const Worker<T>& worker) {
  const Cut& cut = groups.cut;
  const Kernels<T>& kernel = kernels<T>();
  groups.pack_input(piece, block, worker.input);
  const LaneMap all = cut.map(piece);
  for_each_seen(groups.p, cut, piece, [&](int64_t line, int64_t lines, Inside rows_of_taps) {
    LaneMap map = all;
    map.lines = lines;
    const int64_t depth = seen_taps(cut, rows_of_taps, taps, worker.taps);
    for (int64_t r = 0; r < cut.rows_out; r += kernel.lane_rows) {
      const int64_t rows = std::min<int64_t>(kernel.lane_rows, cut.rows_out - r);
      kernel.lanes_slide[rows - 1](depth, worker.taps, map,
                                   worker.weights + r * cut.depth * cut.lanes,
                                   worker.start + r * cut.lanes, worker.input + line * map.x_line,
                                   worker.sums + r * map.y_image + line * map.y_line);
    }
  });
  groups.store_output(piece, block, worker.sums);
}

template <typename T>
void activate(const Groups<T>& groups, const LaneMap& map, T* y) {
  const Finish finish{false, groups.p.activation};
  for (int64_t l = 0; l < map.lines && finish.activation != Activation::none; ++l, y += map.y_line)
    kernels<T>().scatter(groups.output.store, y, map.y_column, finish,
                         Lines{y, map.columns, map.y_column, groups.cut.lanes, 1});
}

// Blocks [first, last) of a piece, whose weights are packed one after the other.
template <typename T>
void make_in_place(const Groups<T>& groups, const Piece& piece, int64_t first, int64_t last,
                   const Worker<T>& worker) {
  const Cut& cut = groups.cut;
  const auto* const x = reinterpret_cast<const T*>(groups.input.data);
  auto* const y = reinterpret_cast<T*>(groups.output.data);
  groups.for_each_map(piece, worker.taps, [&](int64_t depth, const LaneMap& map, int64_t to) {
    for (int64_t b = first; b < last; ++b) {
      T* const made = y + to + cut.first_group(b);
      kernels<T>().lanes_slide[0](
          depth, worker.taps, map, worker.weights + (b - first) * cut.weight_elements(),
          worker.start + (b - first) * cut.lanes, x + cut.first_group(b), made);
      activate(groups, map, made);
    }
  });
}

// Pieces of a bare cut. What is known of one holds for that of the next image.
template <typename T>
struct BarePieces {
  const Groups<T>& groups;
  const Cut& cut;
  const Worker<T>& worker;
  int64_t known = -1;
  Window window = {};
  LanePlanes planes = {};

  void make(int64_t number, int64_t block) {
    const Piece piece = cut.piece(groups.p, number);
    const int64_t image = cut.image(), lanes = cut.lanes;
    if (!knows(number)) {
      window = window_of(cut, piece);
      const LaneSteps steps{window.columns * lanes, lanes, piece.columns * lanes, lanes};
      planes = planes_of(cut, piece, window, steps, worker.rows, [&](int64_t t, int64_t* offset) {
        int64_t in_tensor = 0;
        *offset += t * image;
        return groups.outer_offset(piece, t, &in_tensor);
      });
    }
    for (int64_t t = 0; t < cut.outer_taps; ++t) {
      int64_t offset = piece.n * groups.input.stride.batch;
      if (groups.outer_offset(piece, t, &offset))
        groups.pack_window(window, block, offset, worker.input + t * image);
    }
    kernels<T>().lanes_planes(planes, worker.weights, worker.start, worker.input, worker.sums);
    groups.store_output(piece, block, worker.sums);
  }

  // Blocks [first, last), whose weights are packed one after the other, where they lie.
  void make_in_place(int64_t number, int64_t first, int64_t last) {
    const Piece piece = cut.piece(groups.p, number);
    const View &in = groups.input.stride, &out = groups.output.stride;
    const int column = groups.p.axes - 1;
    const LaneSteps steps{groups.line_step(groups.input), in.axis[column],
                          groups.line_step(groups.output), out.axis[column]};
    if (!knows(number))
      planes = planes_of(
          cut, piece, all_of(cut), steps, worker.rows,
          [&](int64_t t, int64_t* offset) { return groups.outer_offset(piece, t, offset); });
    int64_t to = piece.n * out.batch + piece.line * steps.y_line + piece.column * steps.y_column;
    for (int a = 0; a < column - 1; ++a) to += piece.outer[a] * out.axis[a];
    const T* const x = reinterpret_cast<const T*>(groups.input.data) + piece.n * in.batch;
    for (int64_t b = first; b < last; ++b) {
      T* const y = reinterpret_cast<T*>(groups.output.data) + to + cut.first_group(b);
      kernels<T>().lanes_planes(planes, worker.weights + (b - first) * cut.weight_elements(),
                                worker.start + (b - first) * cut.lanes, x + cut.first_group(b), y);
      activate(groups, LaneMap{piece.lines, piece.columns, 0, 0, 0, steps.y_line, steps.y_column},
               y);
    }
  }

 private:
  bool knows(int64_t number) {
    const int64_t in_image = number % (cut.pieces / groups.p.batch);
    return std::exchange(known, in_image) == in_image;
  }
};

template <typename T>
void pack_block(const Groups<T>& groups, int64_t block, T* weights, T* start) {
  const Cut& cut = groups.cut;
  const int64_t most = kernels<T>().lane_rows;
  for (int64_t r = 0; r < cut.rows_out; r += most)
    groups.pack_weights(block, r, std::min(most, cut.rows_out - r),
                        weights + r * cut.depth * cut.lanes);
  groups.pack_bias(block, start);
}

}  // namespace

template <typename T>
void run_forward(const Problem& p, const Operands& operands, const Context& context) {
  if (writes_nothing(p)) return;
  const Cut cut = cut_of<T>(p);
  const Groups<T> groups(p, operands, cut);
  Arena arena{static_cast<char*>(context.scratch)};
  LaneTap* const taps = arena.take<LaneTap>(cut.depth);
  cut.fill_taps(taps);
  Arena counter{nullptr};
  Worker<T>(cut, &counter);
  const int workers = workers_for(p, context.threads);
  // Takes blocks [from, until), `at_once` together. No sum is cut, so the number of tasks may depend
  // on the workers.
  const auto make = [&](const Cut& c, int64_t from, int64_t until, int64_t at_once,
                        const auto& make_all) {
    const int64_t parts = ceil_div(until - from, at_once);
    if (parts == 0) return;
    const int64_t wanted = workers == 1 ? 1 : ceil_div(kTasksPerWorker * workers, parts);
    const int64_t shares = std::min(wanted, c.pieces);
    for_each_task<T>(context, parts * shares, workers, [&](int64_t task, int w) {
      Arena own{arena.base + arena.used + w * counter.used};
      const Worker<T> worker(cut, &own);
      const int64_t part = task / shares, share = task % shares;
      const int64_t first = from + part * at_once, last = std::min(first + at_once, until);
      for (int64_t b = first; b < last; ++b)
        pack_block(groups, b, worker.weights + (b - first) * cut.weight_elements(),
                   worker.start + (b - first) * cut.rows_out * cut.lanes);
      make_all(c, c.pieces * share / shares, c.pieces * (share + 1) / shares, first, last, worker);
    });
  };
  const int64_t in_place = groups.blocks_in_place();
  make(cut.in_place(sizeof(T)), 0, in_place, cut.at_once(sizeof(T)),
       [&](const Cut& c, int64_t i, int64_t end, int64_t first, int64_t last,
           const Worker<T>& worker) {
         BarePieces<T> bare{groups, c, worker};
         for (; i < end; ++i)
           c.bare ? bare.make_in_place(i, first, last)
                  : make_in_place(groups, c.piece(p, i), first, last, worker);
       });
  make(cut, in_place, cut.blocks, 1,
       [&](const Cut& c, int64_t i, int64_t end, int64_t block, int64_t, const Worker<T>& worker) {
         BarePieces<T> bare{groups, c, worker};
         for (; i < end; ++i)
           c.bare ? bare.make(i, block) : make_piece(groups, c.piece(p, i), block, taps, worker);
       });
}

template <typename T>
int64_t forward_scratch(const Problem& p, int threads) {
  if (writes_nothing(p)) return 0;
  const Cut cut = cut_of<T>(p);
  Arena arena{nullptr};
  arena.take<LaneTap>(cut.depth);
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
