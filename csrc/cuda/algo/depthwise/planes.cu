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
// nvcc 13.0, sm_90a: up to 102 registers, no spills; five blocks on a multiprocessor, four where the
// taps are not known.
#include "cuda/algo/depthwise/planes.h"

namespace torchconv::cuda::channelwise {
namespace {

// First output of the block on each axis, and its first plane.
struct Corner {
  int64_t plane, o[3];
  __device__ Corner(const Tile& tile, int64_t block, int pack) {
    o[2] = split_off(&block, tile.blocks_width) * tile.strips * pack;
    o[1] = split_off(&block, tile.blocks_height) * tile.out.height;
    o[0] = split_off(&block, tile.blocks_depth) * tile.out.depth;
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

// The taps of each plane's channels, at their offsets, as sums in lines of tap_pitch.
template <typename T, typename Sum>
__device__ void fill_taps(const Problem& p, const View& view, const Tile& tile,
                          const int64_t* offsets, int filled, Sum* taps) {
  constexpr int kAhead = 4;
  const T* const data = static_cast<const T*>(view.data);
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
      values[k] = data[offsets[slice / unsigned(deep)] + slice % unsigned(deep) * view.axis[0] +
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
                                            typename SumOf<T>::Type bias, const Place& at, int rows,
                                            const Tables<T>& tables, T* out) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kPack<T>;
  const Box& box = job.tile.out;
  const int64_t step = job.operands.output.axis[2];
  const int first = (at.plane * box.depth + at.depth) * box.height + at.row;
  const int left = tables.size - int(tables.first) - at.column;
#pragma unroll
  for (int v = 0; v < kRows<T>; ++v) {
    if (v >= rows) break;
    T* const line = tables.rows[first + v] + tables.first * step;
    Pack<T, pack> values;
#pragma unroll
    for (int r = 0; r < pack; ++r) values.value[r] = narrow<T>(strip.sum[v][r] + bias);
    if (job.tile.through_shared) {
      T* const to = out + row_in_shared(box, first + v, line) + at.column;
#pragma unroll
      for (int r = 0; r < pack; ++r) to[r] = values.value[r];
    } else if (job.tile.store_wide && left >= pack) {
      *reinterpret_cast<Pack<T, pack>*>(line + at.column) = values;
    } else {
#pragma unroll
      for (int r = 0; r < pack; ++r) {
        if (r >= left) break;
        T* const element = line + (at.column + r) * step;
        *element = job.operands.accumulate
                       ? narrow<T>(strip.sum[v][r] + bias + widen<Sum>(*element))
                       : values.value[r];
      }
    }
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
  Sum* const weights = reinterpret_cast<Sum*>(shared + places.weights);
  T* const outputs = reinterpret_cast<T*>(shared + places.out);
  Tables<T> in_tables(shared + places.in_tables, tile.in);
  Tables<T> out_tables(shared + places.out_tables, tile.out);
  // Of the planes: of their channels' inputs and taps, outputs and biases.
  __shared__ int64_t in_offsets[kMostPlanes], tap_offsets[kMostPlanes];
  __shared__ int64_t out_offsets[kMostPlanes];
  __shared__ Sum biases[kMostPlanes];

  const int channels = int(p.in_channels_per_group());
  const int deep = int(p.axis[0].kernel_size), height = int(p.axis[1].kernel_size);
  const int width = int(p.axis[2].kernel_size), row_stride = int(p.axis[1].stride);
  {
    const Corner corner(tile, block, pack);
    const int64_t left = p.batch * p.out_channels - corner.plane;
    const int filled = int(left < tile.planes ? left : tile.planes);
    if (int(threadIdx.x) < filled) {
      int64_t n = corner.plane + threadIdx.x;
      const int64_t co = split_off(&n, p.out_channels_per_group()), g = split_off(&n, p.groups);
      for (int ci = 0; ci < channels; ++ci) {
        const int plane = int(threadIdx.x) * channels + ci;
        in_offsets[plane] =
            n * operands.input.batch + g * operands.input.group + ci * operands.input.in_channel;
        tap_offsets[plane] = g * operands.weight.group + co * operands.weight.out_channel +
                             ci * operands.weight.in_channel;
      }
      out_offsets[threadIdx.x] =
          n * operands.output.batch + g * operands.output.group + co * operands.output.out_channel;
      biases[threadIdx.x] = Sum{};
      if (operands.bias.data)
        biases[threadIdx.x] = widen<Sum>(static_cast<const T*>(
            operands.bias.data)[g * operands.bias.group + co * operands.bias.out_channel]);
    }
    __syncthreads();
    const int64_t first[3] = {corner.o[0] * p.axis[0].stride - p.axis[0].padding,
                              corner.o[1] * p.axis[1].stride - p.axis[1].padding,
                              corner.o[2] * p.axis[2].stride - p.axis[2].padding};
    in_tables.set(tile.in, p.padding_mode, p, &Axis::input_size, operands.input, in_offsets,
                  filled * channels, first);
    out_tables.set(tile.out, PaddingMode::zeros, p, &Axis::output_size, operands.output,
                   out_offsets, filled, corner.o);
    fill_taps<T, Sum>(p, operands.weight, tile, tap_offsets, filled * channels, weights);
  }
  __syncthreads();
  fill(tile.in, in_tables, inputs);
  __syncthreads();
#pragma unroll 1
  for (int item = int(threadIdx.x); item < tile.items; item += int(blockDim.x)) {
    const Place at(tile, item, kRows<T>, pack);
    const int first = (at.plane * tile.out.depth + at.depth) * tile.out.height + at.row;
    int rows = 0;  // that are there, and not another tile's
    while (rows < kRows<T> && at.row + rows < tile.out.height && out_tables.rows[first + rows])
      ++rows;
    if (rows == 0 || out_tables.first + at.column >= out_tables.size) continue;
    Strip<T, taps, stride> strip;
#pragma unroll 1
    for (int t = 0; t < channels * deep; ++t) {
      const int channel = channels == 1 ? 0 : t / deep, plane = at.plane * channels + channel;
      const int slice = plane * tile.in.depth + at.depth * int(p.axis[0].stride) +
                        (t - channel * deep) * int(p.axis[0].dilation);
      const T* line = inputs + (slice * tile.in.height + at.row * row_stride) * tile.in.pitch +
                      at.column * stride;
      const Sum* const tap_lines =
          weights + (at.plane * channels * deep + t) * height * tile.tap_pitch;
      const int end = (rows - 1) * row_stride + height;
#pragma unroll 1
      for (int row = 0; row < end; ++row, line += tile.in.pitch)
        strip.add_line(line, tap_lines, tile.tap_pitch, row, rows, row_stride, height, width);
    }
    store_strip(strip, job, biases[at.plane], at, rows, out_tables, outputs);
  }
  if (!tile.through_shared) return;
  __syncthreads();
  const int left = out_tables.size - int(out_tables.first);
  store(tile.out, left < tile.out.width ? left : tile.out.width, operands.output.axis[2],
        out_tables, outputs);
}

template <typename T, int taps, int stride>
__global__ void __launch_bounds__(kMostThreads, taps == 0 ? 4 : kResident)
    sum_tiles(const __grid_constant__ Jobs jobs) {
  int64_t block = blockIdx.x;
  int number = 0;
  for (; block >= jobs.job[number].blocks; ++number) block -= jobs.job[number].blocks;
  sum_tile<T, taps, stride>(jobs.job[number], block);
}

template <typename T, int taps, int stride>
bool run_jobs(Jobs* jobs, int count, const Context& context) {
  int64_t blocks = 0, threads = 0, bytes = 0;
  for (int j = 0; j < count; ++j) {
    Job& job = jobs->job[j];
    Tile& tile = job.tile;
    const View& output = job.operands.output;
    tile.store_wide =
        !job.operands.accumulate && aligned_lines<T>(output, job.p.axis[2].output_size);
    tile.through_shared = !job.operands.accumulate && !tile.store_wide;
    if (!choose_tile<T>(job.p, taps, &tile)) return false;
    job.blocks = tile.blocks();
    blocks += job.blocks;
    threads = std::max(threads, std::min<int64_t>(tile.items, kMostThreads));
    bytes = std::max(bytes, shared_bytes<T>(job.p, tile));
  }
  if (blocks > kMostBlocks) return false;
  launch(launch_of(blocks, round_up(threads, kWarp), bytes, context.stream),
         &sum_tiles<T, taps, stride>, *jobs);
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
  if (p.in_channels_per_group() < 1 || p.in_channels_per_group() > kMostPlanes) return false;
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
