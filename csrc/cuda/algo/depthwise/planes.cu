// depthwise, forward, on lines that lie side by side in memory (NCHW and its 1-d and 3-d kin).
//
// A block computes a tile of outputs: of some planes (an image's output channel each), depths and
// rows, and a stretch of the line. The inputs it meets come once to shared memory through the fold,
// 16 bytes at a time where they are aligned. An item of a thread's work is kRows rows of kPack
// outputs, all in registers. It walks over the rows of the inputs: a row is read once from shared
// memory, by loads of 16 bytes, and serves every row of outputs under a tap of its own:
//
//     sum[v][r] += x[row][r * stride + t] * w[row - v * stride][t]
//
// Outputs that memory does not take 16 bytes at a time go through shared memory, so that neighbours
// are written together. An input gradient under a stride is several such problems, and one launch.
//
// Sizes inside a tile are ints; offsets into tensors are 64 bits.
//
// nvcc 13.0, sm_90a: 93 to 125 registers, no spills; four blocks on a multiprocessor.
#include "cuda/algo/depthwise/planes.h"

namespace torchconv::cuda::channelwise {
namespace {

// What a block knows of each of its planes.
struct Plane {
  int64_t weight, output, bias;  // offsets of its first elements
};

// First output of the block on each axis, and its first plane.
struct Corner {
  int64_t plane, o[3];
  __device__ Corner(const Tile& tile, int64_t block, int pack) {
    o[2] = split_off(&block, tile.blocks_width) * tile.strips * pack;
    o[1] = split_off(&block, tile.blocks_height) * tile.height;
    o[0] = split_off(&block, tile.blocks_depth) * tile.depth;
    plane = block * tile.planes;
  }
};

// An item: its first output, from the tile's first.
struct Place {
  int plane, depth, row, column;
  __device__ Place(const Tile& tile, int item, int rows, int pack) {
    int rest = item;
    int next = tile.by_strips.split(&rest);
    column = rest * pack;
    rest = tile.by_row_blocks.split(&next);
    row = next * rows;
    plane = tile.by_depth.split(&rest);
    depth = rest;
  }
};

// The taps of a channel of each plane, as sums, in lines of tap_pitch.
template <typename T, typename Sum>
__device__ void fill_taps(const Problem& p, const Operands& operands, const Tile& tile,
                          const Plane* planes, int filled, int64_t channel, Sum* taps) {
  constexpr int kAhead = 4;
  const View& view = operands.weight;
  const T* const data = static_cast<const T*>(view.data) + channel * view.in_channel;
  const int deep = int(p.axis[0].kernel_size), height = int(p.axis[1].kernel_size);
  const int width = int(p.axis[2].kernel_size), all = filled * deep * height * width;
#pragma unroll 1
  for (int number = int(threadIdx.x); number < all; number += kAhead * int(blockDim.x)) {
    T values[kAhead];
    int to[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const unsigned tap = unsigned(number + k * int(blockDim.x));
      to[k] = -1;
      values[k] = T{};
      if (int(tap) >= all) continue;
      const unsigned line = tap / unsigned(width), column = tap % unsigned(width);
      const unsigned slice = line / unsigned(height);
      to[k] = int(line) * tile.tap_pitch + int(column);
      values[k] =
          data[planes[slice / unsigned(deep)].weight + slice % unsigned(deep) * view.axis[0] +
               line % unsigned(height) * view.axis[1] + column * view.axis[2]];
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
      if (to[k] >= 0) taps[to[k]] = widen<Sum>(values[k]);
  }
}

// The sums of one item.
template <typename T, int taps, int stride>
struct Strip {
  using Sum = typename SumOf<T>::Type;
  static constexpr int kChunk = chunk(taps), kWindow = window<T>(taps, stride);
  static constexpr int kTaps = (kChunk + 3) / 4 * 4;  // as they are loaded
  Sum sum[kRows<T>][kPack<T>] = {};

  // One line of inputs under line row - v * row_stride of the taps, for each row v of outputs.
  __device__ __forceinline__ void add_line(const T* line, const Sum* tap_lines, int tap_pitch,
                                           int row, int rows, int row_stride, int height,
                                           int width) {
#pragma unroll 1
    for (int first = 0; first < (taps ? 1 : width); first += kChunk) {
      Sum x[kWindow];
      load_wide(x, line + first);
#pragma unroll
      for (int v = 0; v < kRows<T>; ++v) {
        const int t = row - v * row_stride;
        if (v >= rows || t < 0 || t >= height) continue;
        Sum w[kTaps];
        load_wide(w, tap_lines + t * tap_pitch + first);
#pragma unroll
        for (int u = 0; u < kChunk; ++u) {
          if (!taps && first + u >= width) break;
#pragma unroll
          for (int r = 0; r < kPack<T>; ++r) sum[v][r] += x[r * stride + u] * w[u];
        }
      }
    }
  }
};

// The sums of an item, to memory or to where they wait to be written together.
template <typename T, int taps, int stride>
__device__ __forceinline__ void store_strip(const Strip<T, taps, stride>& strip, const Job& job,
                                            const Plane& plane, const Corner& corner,
                                            const Place& at, int rows, T* out) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kPack<T>;
  const View& view = job.operands.output;
  Sum bias{};
  if (job.operands.bias.data)
    bias = widen<Sum>(static_cast<const T*>(job.operands.bias.data)[plane.bias]);
  T* line = static_cast<T*>(view.data) + plane.output + (corner.o[0] + at.depth) * view.axis[0] +
            (corner.o[1] + at.row) * view.axis[1] + (corner.o[2] + at.column) * view.axis[2];
  const Box& box = job.tile.out;
  const int first = ((at.plane * box.depth + at.depth) * box.height + at.row) * box.pitch;
  const int64_t left = job.p.axis[2].output_size - corner.o[2] - at.column;
#pragma unroll
  for (int v = 0; v < kRows<T>; ++v) {
    if (v >= rows) break;
    Pack<T, pack> values;
#pragma unroll
    for (int r = 0; r < pack; ++r) values.value[r] = narrow<T>(strip.sum[v][r] + bias);
    if (job.tile.through_shared) {
      *reinterpret_cast<Pack<T, pack>*>(out + first + v * box.pitch + at.column) = values;
    } else if (job.tile.store_wide && left >= pack) {
      *reinterpret_cast<Pack<T, pack>*>(line) = values;
    } else {
#pragma unroll
      for (int r = 0; r < pack; ++r) {
        if (r >= left) break;
        T* const element = line + r * view.axis[2];
        Sum sum = strip.sum[v][r] + bias;
        if (job.operands.accumulate) sum += widen<Sum>(*element);
        *element = narrow<T>(sum);
      }
    }
    line += view.axis[1];
  }
}

template <typename T, int taps, int stride>
__device__ __forceinline__ void sum_tile(const Job& job, int64_t block) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kPack<T>;
  const Problem& p = job.p;
  const Operands& operands = job.operands;
  const Tile& tile = job.tile;
  unsigned char* const shared = dynamic_shared<unsigned char>();
  const SharedPlaces places = shared_places(p, tile, sizeof(T), sizeof(Sum));
  T* const inputs = reinterpret_cast<T*>(shared);
  T* const outputs = reinterpret_cast<T*>(shared + places.out);
  Sum* const weights = reinterpret_cast<Sum*>(shared + places.weights);
  const Tables in_tables(shared + places.in_tables, tile.in, tile.planes);
  const Tables out_tables(shared + places.out_tables, tile.out, tile.planes);
  __shared__ Plane planes[kMostPlanes];
  __shared__ int64_t in_offsets[kMostPlanes], out_offsets[kMostPlanes];

  const Corner corner(tile, block, pack);
  const int64_t all_planes = p.batch * p.out_channels;
  const int filled =
      int(all_planes - corner.plane < tile.planes ? all_planes - corner.plane : tile.planes);
  if (int(threadIdx.x) < filled) {
    int64_t n = corner.plane + threadIdx.x;
    const int64_t co = split_off(&n, p.out_channels_per_group()), g = split_off(&n, p.groups);
    const int64_t output =
        n * operands.output.batch + g * operands.output.group + co * operands.output.out_channel;
    in_offsets[threadIdx.x] = n * operands.input.batch + g * operands.input.group;
    out_offsets[threadIdx.x] = output;
    planes[threadIdx.x] = {g * operands.weight.group + co * operands.weight.out_channel, output,
                           g * operands.bias.group + co * operands.bias.out_channel};
  }
  __syncthreads();
  const int64_t first[3] = {corner.o[0] * p.axis[0].stride - p.axis[0].padding,
                            corner.o[1] * p.axis[1].stride - p.axis[1].padding,
                            corner.o[2] * p.axis[2].stride - p.axis[2].padding};
  set_tables(tile.in, p.padding_mode, p, &Axis::input_size, operands.input, in_offsets, filled,
             first, in_tables);
  if (tile.through_shared)
    set_tables(tile.out, PaddingMode::zeros, p, &Axis::output_size, operands.output, out_offsets,
               filled, corner.o, out_tables);

  const int64_t channels = p.in_channels_per_group();
  const int deep = int(p.axis[0].kernel_size), height = int(p.axis[1].kernel_size);
  const int width = int(p.axis[2].kernel_size), row_stride = int(p.axis[1].stride);
  Strip<T, taps, stride> strip;
  View input = operands.input;  // of the channel
  for (int64_t channel = 0; channel < channels; ++channel) {
    __syncthreads();
    fill(tile.in, input, filled, first[2], p.axis[2].input_size, in_tables, inputs);
    fill_taps<T, Sum>(p, operands, tile, planes, filled, channel, weights);
    __syncthreads();
    input.data = static_cast<T*>(input.data) + input.in_channel;
    // Where there are several channels, a thread has one item, whose sums go on.
    for (int item = int(threadIdx.x); item < tile.items; item += int(blockDim.x)) {
      const Place at(tile, item, kRows<T>, pack);
      int rows = tile.height - at.row;
      if (rows > p.axis[1].output_size - corner.o[1] - at.row)
        rows = int(p.axis[1].output_size - corner.o[1] - at.row);
      if (rows > kRows<T>) rows = kRows<T>;
      if (rows <= 0 || at.plane >= filled || corner.o[0] + at.depth >= p.axis[0].output_size ||
          corner.o[2] + at.column >= p.axis[2].output_size)
        continue;
      if (channel == 0) strip = {};
#pragma unroll 1
      for (int t = 0; t < deep; ++t) {
        const int slice = at.plane * tile.in.depth + at.depth * int(p.axis[0].stride) +
                          t * int(p.axis[0].dilation);
        const T* line = inputs + (slice * tile.in.height + at.row * row_stride) * tile.in.pitch +
                        at.column * stride;
        const Sum* const tap_lines = weights + (at.plane * deep + t) * height * tile.tap_pitch;
        const int end = (rows - 1) * row_stride + height;
#pragma unroll 1
        for (int row = 0; row < end; ++row, line += tile.in.pitch)
          strip.add_line(line, tap_lines, tile.tap_pitch, row, rows, row_stride, height, width);
      }
      if (channel == channels - 1)
        store_strip(strip, job, planes[at.plane], corner, at, rows, outputs);
    }
  }
  if (!tile.through_shared) return;
  __syncthreads();
  const int64_t left = p.axis[2].output_size - corner.o[2];
  store(tile.out, operands.output, filled, corner.o[2],
        int(left < tile.out.width ? left : tile.out.width), out_tables, outputs);
}

template <typename T, int taps, int stride>
__global__ void __launch_bounds__(kMostThreads, 4) sum_tiles(const __grid_constant__ Jobs jobs) {
  int64_t block = blockIdx.x;
  int number = 0;
  for (; block >= jobs.job[number].blocks; ++number) block -= jobs.job[number].blocks;
  sum_tile<T, taps, stride>(jobs.job[number], block);
}

template <typename T, int taps, int stride>
bool run_jobs(Jobs* jobs, int count, const Context& context) {
  Launch how;
  int64_t blocks = 0, threads = 0;
  for (int j = 0; j < count; ++j) {
    Job& job = jobs->job[j];
    Tile& tile = job.tile;
    const View& output = job.operands.output;
    tile.store_wide =
        !job.operands.accumulate && widest_load<T>(output, job.p.axis[2].output_size) == kPack<T>;
    tile.through_shared = !job.operands.accumulate && !tile.store_wide;
    if (!choose_tile<T>(job.p, taps, &tile)) return false;
    tile.in.load = widest_load<T>(job.operands.input, job.p.axis[2].input_size);
    job.blocks = tile.blocks_planes * tile.blocks_depth * tile.blocks_height * tile.blocks_width;
    blocks += job.blocks;
    threads = std::max(threads, std::min<int64_t>(tile.items, kMostThreads));
    how.shared_bytes = std::max(how.shared_bytes, shared_bytes<T>(job.p, tile));
  }
  if (blocks > kMostBlocks) return false;
  how.blocks = dim3(unsigned(blocks));
  how.threads = dim3(unsigned(round_up(threads, kWarp)));
  how.stream = context.stream;
  launch(how, &sum_tiles<T, taps, stride>, *jobs);
  return true;
}

// Doubles are few, and their kernel one for all taps.
template <typename T>
bool run_dtype(Jobs* jobs, int count, const Context& context) {
  const Axis& w = jobs->job[0].p.axis[2];
  int64_t taps = w.kernel_size;
  for (int j = 1; j < count; ++j) {
    if (jobs->job[j].p.axis[2].stride != w.stride) return false;
    if (jobs->job[j].p.axis[2].kernel_size != taps) taps = 0;
  }
  if constexpr (sizeof(T) < 8) {
    if (w.stride == 2 && taps == 3) return run_jobs<T, 3, 2>(jobs, count, context);
    if (w.stride == 1 && taps == 3) return run_jobs<T, 3, 1>(jobs, count, context);
    if (w.stride == 1 && taps == 4) return run_jobs<T, 4, 1>(jobs, count, context);
    if (w.stride == 1 && taps == 7) return run_jobs<T, 7, 1>(jobs, count, context);
  }
  return w.stride == 2 ? run_jobs<T, 0, 2>(jobs, count, context)
                       : run_jobs<T, 0, 1>(jobs, count, context);
}

bool takes(const Problem& p, const Operands& operands) {
  const Axis *d = &p.axis[0], *h = &p.axis[1], *w = &p.axis[2];
  if (operands.input.axis[2] != 1 && w->input_size > 1) return false;
  if (w->stride > 2 || w->dilation != 1 || h->dilation != 1) return false;
  if (p.in_channels_per_group() == 0) return false;
  for (const Axis* a : {d, h, w})
    if (a->stride > kMostSteps || a->dilation > kMostSteps || a->kernel_size < 1 ||
        a->kernel_size > 1024 || a->output_size > kMostSize || a->input_size > kMostSize)
      return false;
  return true;
}

}  // namespace

bool forward_planes(const Forward* forwards, int count, const Context& context) {
  Jobs jobs = {};
  for (int j = 0; j < count; ++j) {
    Job& job = jobs.job[j];
    job.p = forwards[j].p, job.operands = forwards[j].operands;
    if (!to_three_axes(&job.p, &job.operands) || !takes(job.p, job.operands)) return false;
  }
  switch (jobs.job[0].p.dtype) {
    case DType::float32: return run_dtype<float>(&jobs, count, context);
    case DType::float64: return run_dtype<double>(&jobs, count, context);
    case DType::bfloat16: return run_dtype<BFloat16>(&jobs, count, context);
    case DType::float16: return run_dtype<Float16>(&jobs, count, context);
    default: return false;
  }
}

}  // namespace torchconv::cuda::channelwise
