// How winograd cuts a problem, and the memory that takes.
#pragma once

#include "micro/pack.h"
#include "micro/tasks.h"

namespace torchconv::winograd_detail {

constexpr int64_t kWeightsBytes = 8 << 20;  // of weights, or sums of theirs, that workers share
constexpr int64_t kBlockBytes = 1 << 20;    // of transformed input and products that a task wants
constexpr int64_t kWorkerBytes = 2 << 20;   // that one worker may need in all
constexpr int64_t kChunkBytes = 256 << 10;  // of weights that a task makes as it needs them
constexpr int64_t kTilesPerRun = 16;        // gathered at a time: their lines stay in L1
constexpr double kTileSeconds = 1e-8;       // to come to a vector of tiles, beside its points

constexpr int64_t kMostStride = 16;
constexpr int64_t kMostTaps = 16;  // of an axis, at stride 1
constexpr int64_t kTileTaps = 5;   // of a tile

// A problem under a stride is one of stride 1 over phases: phase r of an axis holds the inputs
// stride * j + r, counted from the first output's, and the taps stride * u + r. A filter of more taps
// than a tile has is one of few over phases as well: taps [0, 4) on the inputs as they are, taps
// [4, 8) on the inputs from the fourth on, and so forth. Every choice of phases is further input
// channels, and phases that are short of a tap have a zero there.
inline int64_t strides_of(const Axis& x) { return std::min(x.stride, x.kernel_size); }
// Of a phase: blocks of three cost 1.5 products an output, of four 2.
inline int64_t taps_of(const Axis& x) {
  const int64_t taps = ceil_div(x.kernel_size, x.stride);
  if (taps <= kTileTaps) return taps;
  return 3 * ceil_div(taps, 3) < 4 * ceil_div(taps, 4) ? 3 : 4;
}
inline int64_t phases_of(const Axis& x) {
  return strides_of(x) *
         ceil_div(ceil_div(x.kernel_size, x.stride), std::max<int64_t>(taps_of(x), 1));
}

// One axis, cut into tiles. A dilated axis is `dilation` interleaved undilated ones, which take turns:
// tile number t is number t / interleaved of the outputs t % interleaved + dilation * j.
struct TileAxis {
  Tile tile = Tile::plain;
  int64_t points = 1, outputs = 1, taps = 1;
  int64_t interleaved = 1;
  int64_t dilation = 1, stride = 1, phases = 1;
  int64_t strides = 1;  // phases of one block of taps

  // The first output of a tile.
  int64_t origin(int64_t t) const { return t % interleaved + t / interleaved * outputs * dilation; }
  // The first tap of phase number f.
  int64_t first_tap(int64_t f) const { return f % strides + f / strides * taps * stride; }
};

// The tiles of a problem, all its images', and how they are walked.
struct Tiling {
  int axes = 0, last = 0;
  TileAxis axis[kMaxAxes];
  Grid tiles;  // of all images; its strides are unused
  int64_t points = 1, taps = 1, lines = 1,
          output_lines = 1;    // of a tile; lines along the last axis
  int64_t phases = 1;          // choices of one on every axis
  int64_t in_channels, depth;  // of a group; what a product sums over: channels of all phases
  int64_t lanes, rows;         // of the kernels
  int64_t tile_count, tiles_per_block;
  int64_t run, line, output_line;  // tiles of a run, vectors of its lines
  int64_t beside;                  // of neighbouring problems that are interleaved

  explicit Tiling(const Problem& p);
  void set_block(int64_t tiles);
  // How many of a run's are side by side: all problems that are interleaved, and then several tiles
  // of each, or some of them.
  int64_t beside_of(const Run& run) const { return std::min(run.count, axis[last].interleaved); }
  // Where in its lines tile number k of a run begins, which has so many elements.
  int64_t place(const Run& run, int64_t k, int64_t elements) const {
    const int64_t count = beside_of(run);
    return (k / count * elements * beside + k % count) * lanes;
  }
};

struct Plan : Tiling {
  int workers = 1;
  int64_t padded_depth;
  int64_t channels, vectors;  // output channels of a group
  int64_t strip, strips;      // channels of the widest strip, strips of a group
  int64_t strips_per_task, tasks_per_group, tasks_per_pass;
  int64_t tile_blocks;
  int64_t chunk;   // input channels whose weights are made at a time: all, or
  bool by_strips;  // few, by tasks that share the transformed input and take one strip each
  int64_t input_plane, weight_plane, product_plane;  // elements of one point's matrix
  int64_t whole_plane;                               // the weight's, of all input channels

  Plan(const Problem& p, int threads);
  void cut_tiles(const Problem& p);
  void cut_strips();
  int64_t most_tiles() const;
  int64_t strip_begin(int64_t s) const { return vectors * s / strips * lanes; }
  // Of all groups' strips, the first that belongs to a task.
  int64_t first_strip(int64_t task) const {
    return task / tasks_per_group * strips + task % tasks_per_group * strips_per_task;
  }
  int64_t strip_elements() const { return points * weight_plane; }
  int64_t weights_elements() const { return tasks_per_pass * strips_per_task * strip_elements(); }
  // Transformed, that workers share: input, or weights of a pass.
  int64_t shared_elements() const { return by_strips ? points * input_plane : weights_elements(); }
  int64_t position(int64_t tile, int64_t channel) const {  // of a vector of the transformed input
    return tile / rows * rows * padded_depth + channel * rows + tile % rows * lanes;
  }
};

// Whether an axis is transformed: from two taps on. Others have one.
inline bool is_tiled(const Axis& x) { return taps_of(x) > 1; }

// A plane ends one cache line off a power of two: the points of a tile, one plane apart, must not
// fall into one set of the cache.
inline int64_t plane_of(int64_t elements, int64_t lanes) { return elements + lanes; }

// Taps that run backwards (a true convolution, an input gradient) are read and written forwards, in
// whole lines, and turned round by a step of the transform; not where phases divide the lines.
View straightened(const Problem& p, View weight, bool* backwards);

struct Worker {
  float* input;     // [point][tile block][channel block][rows][lanes]
  float* weights;   // [point][chunk][strip], by strips
  float* products;  // [point][tile][strip]
  float* lines;     // [line][vector] of the input that a run of tiles sees
  float* sums;      // [line][vector] of the output that it makes
  float* between;   // what lies between two axes of a transform
  float* taps;      // [lanes][taps][lanes] of the weight
  float* start;     // [strip]: the bias
  Worker(const Plan& plan, Arena* arena) {
    input = arena->take<float>(plan.by_strips ? 0 : plan.points * plan.input_plane);
    weights = arena->take<float>(plan.by_strips ? plan.strip_elements() : 0);
    products = arena->take<float>(plan.points * plan.product_plane);
    lines = arena->take<float>(plan.lines * plan.line * plan.lanes);
    sums = arena->take<float>(plan.output_lines * plan.output_line * plan.lanes);
    between = arena->take<float>(2 * plan.points * plan.lanes);
    taps = arena->take<float>(plan.lanes * plan.taps * plan.lanes);
    start = arena->take<float>(plan.strip);
  }
};

// A transform of a tile, one pass per axis of more than one tap. Every element is a vector of
// channels; element (i, j, ...) lies at i * step[0] + j * step[1] + ...
class TileTransform {
 public:
  enum Stage { input, weight, output, output_back, weight_back };
  TileTransform(const Tiling& tiling, Stage stage, const int64_t* from_step,
                const int64_t* to_step);
  // `between` has room for two tiles of points.
  void apply(const float* from, float* to, float* between) const;

 private:
  struct Loop {
    int64_t count = 1, from = 0, to = 0;
  };
  struct Pass {
    TileKernels<float>::Transform transform;
    int64_t from_step, to_step;
    Loop loop[kMaxAxes - 1];  // over the other axes, the lines first
  };
  int passes_ = 0;
  int64_t half_;
  Pass pass_[kMaxAxes];
};

// Row-major steps over sizes, the last of `unit`.
template <typename Size>
void packed_steps(int axes, int64_t unit, const Size& size, int64_t* step) {
  for (int a = axes - 1; a >= 0; --a) {
    step[a] = unit;
    unit *= size(a);
  }
}

int64_t worker_bytes(const Plan& plan);
Kept forward_kept(const Problem& problem);  // all transformed weights of a forward problem

void run_forward(Problem problem, Operands operands, const Context& context);
int64_t forward_scratch(const Problem& problem, int threads);

// By weight, which has a plan and workers of its own.
void run_weight(Problem problem, Operands operands, const Context& context);
int64_t weight_scratch(const Problem& problem, int threads);
double weight_cost(const Problem& problem);

}  // namespace torchconv::winograd_detail
