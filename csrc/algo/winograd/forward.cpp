// winograd, forward. Per pass over as many output channels as its transformed weights allow:
//
//     for each strip of output channels:   U = G w,  the weights of each point    all workers
//     for each block of tiles:             V = Bt x                               one task
//       for each strip:                      L2
//         for each point:  M = V U           a matrix product: tiles x channels
//         y = At M + bias
//
// Where the weights are more than the input, by strips:
//
//     for all tiles, or large blocks:      V = Bt x                               all workers
//     for each strip of output channels:                                          one task
//       for each chunk of input channels:  U = G w
//         for each point:  M += V U
//       y = At M + bias
//
// Vectors run along channels, so a tile is anywhere in any image, and what lies along the lines of
// an NCHW tensor is turned on the way in and out.
#include "algo/winograd/tiles.h"

namespace torchconv::winograd_detail {
namespace {

constexpr int64_t kStripBytes = 24 << 10;  // of the weights of a product: half an L1 cache
constexpr int64_t kMostKeptTiles = 128;    // 64 channels at 56x56, 196 tiles, gained nothing

struct Forward {
  const Problem& p;
  const Operands& operands;
  const Plan& plan;
  int64_t weight_plane;  // of a strip, [point][depth][strip's channels]: all depth where it is kept
  bool backwards[kMaxAxes];
  View straight;
  InputTiles tiles;
  Reals weight, output;
  TileTransform to_weights, to_outputs;
  int64_t first_tap;  // where the first tap lies among the packed ones

  Forward(const Problem& problem, const Operands& o, const Plan& winograd_plan, bool keeps)
      : p(problem),
        operands(o),
        plan(winograd_plan),
        weight_plane(keeps ? plan.whole_plane : plan.weight_plane),
        straight(straightened(problem, o.weight, backwards)),
        tiles(problem, o.input, winograd_plan, winograd_plan.input_plane),
        weight(straight, p.dtype),
        output(o.output, p.dtype),
        to_weights(weights_transform()),
        to_outputs(outputs_transform()) {}

  int64_t strip_elements() const { return plan.points * weight_plane; }

  TileTransform weights_transform() {
    int64_t from[kMaxAxes], to[kMaxAxes];
    packed_steps(plan.axes, plan.lanes, [&](int a) { return plan.axis[a].taps; }, from);
    packed_steps(plan.axes, weight_plane, [&](int a) { return plan.axis[a].points; }, to);
    first_tap = 0;
    for (int a = 0; a < plan.axes; ++a) {
      if (!backwards[a]) continue;
      first_tap += (plan.axis[a].taps - 1) * from[a];
      from[a] = -from[a];
    }
    return {plan, TileTransform::weight, from, to};
  }
  TileTransform outputs_transform() const {
    int64_t from[kMaxAxes], to[kMaxAxes];
    packed_steps(plan.axes, plan.product_plane, [&](int a) { return plan.axis[a].points; }, from);
    line_steps(plan, plan.output_line, &TileAxis::outputs, to);
    return {plan, TileTransform::output, from, to};
  }

  // The same where taps are phases'.
  void pack_phases(int64_t g, int64_t begin, int64_t count, int64_t co, int64_t rows,
                   float* to) const {
    const View& stride = weight.stride;
    std::fill_n(to, count * plan.taps * plan.lanes, 0.0f);  // of taps there are none of
    for_each_piece(plan, begin, begin + count, [&](const Piece& piece) {
      const int64_t base =
          g * stride.group + co * stride.out_channel + piece.ci * stride.in_channel;
      for_each_tap_line(
          plan, p, stride, piece, [&](int64_t tap, int64_t taps, int64_t offset, int64_t step) {
            for (int64_t c = 0; c < piece.channels; ++c) {
              const Lines lines{weight.at(base + offset + c * stride.in_channel), rows,
                                stride.out_channel, taps, step};
              kernels<float>().turn(weight.store, lines,
                                    to + ((piece.at + c) * plan.taps + tap) * plan.lanes,
                                    plan.lanes);
            }
          });
    });
  }

  // The weights of input channels [ci, ci + count), output channels [co, co + rows): as
  // [ci][tap][lanes].
  void pack_taps(int64_t g, int64_t ci, int64_t count, int64_t co, int64_t rows, float* to) const {
    if (plan.phases > 1) return pack_phases(g, ci, count, co, rows, to);
    const View& stride = weight.stride;
    const int64_t base = g * stride.group + co * stride.out_channel;
    for (int64_t r = 0; r < rows; ++r)  // their lines are short, and far from each other
      for (int64_t k = 0; k < count; ++k)
        __builtin_prefetch(weight.at(base + r * stride.out_channel + (ci + k) * stride.in_channel));
    if (stride.in_channel == 1) {  // taps outermost: a line is one tap of all input channels
      const Grid grid = tap_grid(p, stride);
      for_each_run(grid, 0, plan.taps, [&](const Run& run) {
        for (int64_t k = 0; k < run.count; ++k) {
          const int64_t offset = base + ci + grid.offset(run) + k * grid.stride[grid.axes - 1];
          const Lines lines{weight.at(offset), rows, stride.out_channel, count, 1};
          kernels<float>().turn(weight.store, lines, to + (run.column + k) * plan.lanes,
                                plan.taps * plan.lanes);
        }
      });
      return;
    }
    const Grid grid = weight_grid(p, stride);
    for_each_run(grid, ci * plan.taps, count * plan.taps, [&](const Run& run) {
      const Lines lines{weight.at(base + grid.offset(run)), rows, stride.out_channel, run.count,
                        grid.stride[grid.axes - 1]};
      kernels<float>().turn(weight.store, lines, to + run.column * plan.lanes, plan.lanes);
    });
  }

  // One strip's weights of input channels [ci, ci + lanes); `to` begins with those of `first`.
  void transform_weights(int64_t g, int64_t strip, int64_t ci, float* to, const Worker& worker,
                         int64_t first = 0) const {
    const int64_t count = std::min(plan.lanes, plan.depth - ci);
    const int64_t begin = plan.strip_begin(strip), end = plan.strip_begin(strip + 1);
    for (int64_t co = begin; co < end; co += plan.lanes) {
      const int64_t rows = std::min(plan.lanes, plan.channels - co);
      pack_taps(g, ci, count, co, rows, worker.taps);
      for (int64_t k = 0; k < count; ++k)
        to_weights.apply(worker.taps + first_tap + k * plan.taps * plan.lanes,
                         to + (ci - first + k) * plan.strip + co - begin, worker.between);
    }
  }

  // A block's input channels [begin, end).
  void transform_input(int64_t g, int64_t begin, int64_t end, int64_t first, int64_t count,
                       float* to, const Worker& worker) const {
    for_each_tile_run(plan, first, count, [&](const Run& run) {
      tiles.transform(
          run, g, begin, end, worker.lines, worker.between,
          [&](int64_t tile, int64_t ci) { return to + plan.position(tile, begin + ci); });
    });
  }

  // Input channels [begin, begin + chunk); strip_weights begin with those of `first`.
  void multiply(int64_t tiles, int64_t width, int64_t begin, const float* input,
                const float* strip_weights, const Worker& worker, int64_t first = 0) const {
    const Kernels<float>& kernel = kernels<float>();
    const int64_t chunk = round_down(kStripBytes / (plan.strip * 4), plan.lanes);
    for (int64_t point = 0; point < plan.points; ++point) {
      const float* const u = strip_weights + point * weight_plane;
      const float* const v = input + point * plan.input_plane;
      float* const m = worker.products + point * plan.product_plane;
      const int64_t end = std::min(begin + plan.chunk, plan.depth);
      int64_t k0 = begin;
      do {
        const int64_t depth = std::min(chunk, end - k0);
        for (int64_t t = 0; t < tiles; t += plan.rows)
          kernel.outer_blocks[std::min(plan.rows, tiles - t) - 1][width - 1](
              depth, v + plan.position(t, k0), u + (k0 - first) * plan.strip, plan.strip,
              m + t * plan.strip, plan.strip, nullptr, k0 > 0);
        k0 += chunk;
      } while (k0 < end);
    }
  }

  // Output channels [co, co + rows), at column c of the products.
  void store(int64_t g, int64_t co, int64_t rows, int64_t c, int64_t first, int64_t count,
             const Worker& worker) const {
    const int64_t elements = plan.axis[plan.last].outputs, step = output.stride.axis[plan.last];
    const int64_t size = p.axis[plan.last].output_size;
    for_each_tile_run(plan, first, count, [&](const Run& run) {
      for (int64_t t = 0; t < run.count; ++t)
        to_outputs.apply(worker.products + (run.column + t) * plan.strip + c,
                         worker.sums + plan.place(run, t, elements), worker.between);
      for (int64_t l = 0; l < plan.output_lines; ++l) {
        int64_t offset =
            run.n * output.stride.batch + g * output.stride.group + co * output.stride.out_channel;
        if (!add_line_offset(plan, p, output, run, l, &offset)) continue;
        for_each_stretch(plan, run, elements, [&](int64_t k, int64_t o, int64_t all) {
          if (o >= size) return;
          const Lines lines{output.at(offset + o * step), rows, output.stride.out_channel,
                            std::min(all, size - o), step};
          kernels<float>().turn_back(
              output.store, worker.sums + (l * plan.output_line + k) * plan.lanes, plan.lanes,
              worker.start + c, Finish{operands.accumulate, p.activation}, lines);
        });
      }
    });
  }

  void pack_start(int64_t g, int64_t co, int64_t count, float* start) const {
    std::fill_n(start, plan.strip, 0.0f);
    if (!operands.bias.data) return;
    const Reals bias(operands.bias, p.dtype);
    const int64_t offset = g * bias.stride.group + co * bias.stride.out_channel;
    kernels<float>().gather(bias.store,
                            Lines{bias.at(offset), 1, 0, count, bias.stride.out_channel}, start,
                            plan.strip);
  }

  // One block of tiles by the strips of task `number` of all groups'.
  void task(int64_t number, int64_t block, const float* task_weights, const Worker& worker) const {
    const int64_t g = number / plan.tasks_per_group;
    const int64_t first = block * plan.tiles_per_block;
    const int64_t count = std::min(plan.tiles_per_block, plan.tile_count - first);
    transform_input(g, 0, plan.depth, first, count, worker.input, worker);
    const int64_t strip = number % plan.tasks_per_group * plan.strips_per_task;
    for (int64_t s = strip; s < std::min(plan.strips, strip + plan.strips_per_task); ++s) {
      multiply(count, width_of(s), 0, worker.input, task_weights + (s - strip) * strip_elements(),
               worker);
      store_strip(g, s, first, count, worker);
    }
  }
  int64_t width_of(int64_t strip) const {
    return (plan.strip_begin(strip + 1) - plan.strip_begin(strip)) / plan.lanes;
  }
  void store_strip(int64_t g, int64_t strip, int64_t first, int64_t count,
                   const Worker& worker) const {
    const int64_t begin = plan.strip_begin(strip);
    const int64_t channels = std::min(plan.strip_begin(strip + 1), plan.channels) - begin;
    pack_start(g, begin, channels, worker.start);
    for (int64_t c = 0; c < channels; c += plan.lanes)
      store(g, begin + c, std::min(plan.lanes, channels - c), c, first, count, worker);
  }

  // One strip by tiles from the first on. `kept`: where all its weights are, or are to be made.
  void strip_task(int64_t g, int64_t strip, int64_t first_tile, int64_t tile_count,
                  const float* input, float* kept, bool filled, const Worker& worker) const {
    for (int64_t begin = 0; begin < plan.depth; begin += plan.chunk) {
      const int64_t end = std::min(begin + plan.chunk, plan.depth), first = kept ? 0 : begin;
      float* const made = kept ? kept : worker.weights;
      for (int64_t ci = begin; ci < end && !filled; ci += plan.lanes)
        transform_weights(g, strip, ci, made, worker, first);
      multiply(tile_count, width_of(strip), begin, input, made, worker, first);
    }
    store_strip(g, strip, first_tile, tile_count, worker);
  }
};

// By strips: the input of a block of tiles once, by all workers, then a strip a task.
template <typename WorkerOf>
void run_strips(const Forward& forward, float* input, const Context& context,
                const WorkerOf& worker_of) {
  const Plan& plan = forward.plan;
  const int64_t channel_blocks = ceil_div(plan.depth, plan.lanes);
  for (int64_t b = 0; b < forward.p.groups * plan.tile_blocks; ++b) {
    const int64_t g = b / plan.tile_blocks;
    const int64_t first = b % plan.tile_blocks * plan.tiles_per_block;
    const int64_t count = std::min(plan.tiles_per_block, plan.tile_count - first);
    for_each_task<float>(context, channel_blocks, plan.workers, [&](int64_t t, int w) {
      const int64_t ci = t * plan.lanes;
      forward.transform_input(g, ci, std::min(ci + plan.lanes, plan.depth), first, count, input,
                              worker_of(w));
    });
    for_each_task<float>(context, plan.strips, plan.workers, [&](int64_t s, int w) {
      float* const kept = static_cast<float*>(context.kept);
      forward.strip_task(g, s, first, count, input,
                         kept ? kept + (g * plan.strips + s) * forward.strip_elements() : nullptr,
                         context.filled || (kept && first > 0), worker_of(w));
    });
  }
}

}  // namespace

void run_forward(Problem p, Operands operands, const Context& context) {
  if (writes_nothing(p)) return;
  simplify(&p, &operands);
  const Plan plan(p, context.threads);
  Arena arena{static_cast<char*>(context.scratch)};
  float* const shared = arena.take<float>(plan.shared_elements());
  const Forward forward(p, operands, plan, context.kept != nullptr);
  const int64_t apart = worker_bytes(plan);
  const auto worker_of = [&](int worker) {
    Arena own{arena.base + arena.used + worker * apart};
    return Worker(plan, &own);
  };
  if (plan.by_strips) return run_strips(forward, shared, context, worker_of);
  // What is kept has room for the weights of all passes at once.
  const int64_t all = p.groups * plan.tasks_per_group;
  const int64_t tasks_per_pass = context.kept ? all : plan.tasks_per_pass;
  float* const weights = context.kept ? static_cast<float*>(context.kept) : shared;
  const int64_t channel_blocks = ceil_div(plan.depth, plan.lanes);
  for (int64_t pass = 0; pass < all; pass += tasks_per_pass) {
    const int64_t numbers = std::min(tasks_per_pass, all - pass);
    // Where the strips of a task lie: one after the other, however tasks divide them.
    const auto task_weights = [&](int64_t number) {
      return weights +
             (plan.first_strip(number) - plan.first_strip(pass)) * forward.strip_elements();
    };
    const int64_t strips = context.filled ? 0 : numbers * plan.strips_per_task;
    for_each_task<float>(context, strips * channel_blocks, plan.workers, [&](int64_t t, int w) {
      const int64_t number = pass + t / channel_blocks / plan.strips_per_task;
      const int64_t in_task = t / channel_blocks % plan.strips_per_task;
      const int64_t s = in_task + number % plan.tasks_per_group * plan.strips_per_task;
      if (s < plan.strips)
        forward.transform_weights(number / plan.tasks_per_group, s, t % channel_blocks * plan.lanes,
                                  task_weights(number) + in_task * forward.strip_elements(),
                                  worker_of(w));
    });
    for_each_task<float>(context, numbers * plan.tile_blocks, plan.workers, [&](int64_t t, int w) {
      const int64_t number = pass + t / plan.tile_blocks;
      forward.task(number, t % plan.tile_blocks, task_weights(number), worker_of(w));
    });
  }
}

int64_t forward_scratch(const Problem& problem, int threads) {
  if (writes_nothing(problem)) return 0;
  Problem p = problem;
  Operands none;
  simplify(&p, &none);
  const Plan plan(p, threads);
  Arena arena{nullptr};
  arena.take<float>(plan.shared_elements());
  return arena.used + plan.workers * worker_bytes(plan);
}

Kept forward_kept(const Problem& p) {
  if (writes_nothing(p)) return {};
  const Plan plan(p, /*threads=*/1);
  if (plan.tile_count > kMostKeptTiles) return {};
  Kept kept{p.groups * plan.strips * plan.points * plan.whole_plane * int64_t(sizeof(float)), 0};
  for (int a = 0; a < p.axes; ++a)
    kept.layout = (kept.layout * kTiles + uint64_t(plan.axis[a].tile)) * (kMostStride + 1) +
                  uint64_t(plan.axis[a].stride);
  return kept;
}

}  // namespace torchconv::winograd_detail
