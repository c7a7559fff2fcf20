// depthwise, forward, on lines that lie side by side in memory (NCHW and its 1-d and 3-d kin).
//
// A block computes a tile of outputs: of some planes (an image's output channel each), depths and
// rows, and a stretch of the line. The inputs it meets come once to shared memory through the fold,
// 16 bytes at a time where they are aligned. A thread owns kRows rows of kPack outputs, all in
// registers, and walks over the rows of the inputs: a row is read once from shared memory, by loads
// of 16 bytes, and serves every row of outputs under a tap of its own:
//
//     sum[v][r] += x[row][r * stride + t] * w[row - v * stride][t]
//
// Sizes inside a tile are ints; offsets into tensors are 64 bits.
//
// nvcc 13.0, sm_90a: 107 to 120 registers, no spills; two blocks on a multiprocessor.
#include "cuda/algo/depthwise/box.h"

namespace torchconv::cuda::channelwise {
namespace {

constexpr int kMostThreads = 256;
constexpr int kMostShared = 96 << 10;   // bytes; two blocks on an sm_90, one on an sm_86
constexpr int kAmpleShared = 40 << 10;  // a tile is made smaller down to this while it can
constexpr int64_t kMostSteps = 64;      // stride or dilation that a tile may hold the gaps of
constexpr int64_t kMostSize = 1 << 30;  // of a line

template <typename T>
constexpr int kRows = sizeof(T) == 2 ? 2 : 4;  // with kPack: 16 sums of a thread, 8 doubles

// Taps of a line that a thread takes at once: all, or 8 after 8.
TORCHCONV_HOST_DEVICE constexpr int chunk(int taps) { return taps == 0 ? 8 : taps; }
template <typename T>
TORCHCONV_HOST_DEVICE constexpr int window(int taps, int stride) {
  return ((kPack<T> - 1) * stride + chunk(taps) + kPack<T> - 1) / kPack<T> * kPack<T>;
}

struct Tile {
  int planes, depth, height, strips;  // outputs of a block; a strip is kPack of a line
  Box in;                             // inputs they meet
  int tap_pitch;                      // of a line of taps, sums
  bool store_wide;                    // outputs are aligned to 16 bytes
  int threads;
  int64_t blocks_planes, blocks_depth, blocks_height, blocks_width;

  TORCHCONV_HOST_DEVICE int64_t input_bytes(int64_t element) const {
    return round_up(int64_t(planes) * in.depth * in.height * in.pitch * element, kVectorBytes);
  }
};

// What a block knows of each of its planes.
struct Plane {
  int64_t weight, output, bias;  // offsets of its first elements
};

// First output of the block on each axis, and its first plane.
struct Corner {
  int64_t plane, o[3];
  __device__ Corner(const Tile& tile, int pack) {
    int64_t block = blockIdx.x;
    o[2] = split_off(&block, tile.blocks_width) * tile.strips * pack;
    o[1] = split_off(&block, tile.blocks_height) * tile.height;
    o[0] = split_off(&block, tile.blocks_depth) * tile.depth;
    plane = block * tile.planes;
  }
};

template <typename T, typename Sum>
__device__ void fill_taps(const Problem& p, const Operands& operands, const Tile& tile,
                          const Plane* planes, int filled, int64_t channel, Sum* taps) {
  const View& view = operands.weight;
  const int width = int(p.axis[2].kernel_size), height = int(p.axis[1].kernel_size);
  const int lines = filled * int(p.axis[0].kernel_size) * height;
  for (int tap = int(threadIdx.x); tap < lines * width; tap += tile.threads) {
    const int line = tap / width, column = tap % width;
    const int slice = line / height, plane = slice / int(p.axis[0].kernel_size);
    const int64_t at = planes[plane].weight + channel * view.in_channel +
                       slice % p.axis[0].kernel_size * view.axis[0] + line % height * view.axis[1] +
                       column * view.axis[2];
    taps[line * tile.tap_pitch + column] = widen<Sum>(static_cast<const T*>(view.data)[at]);
  }
}

// The sums of one thread.
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

template <typename T, int taps, int stride>
__global__ void __launch_bounds__(kMostThreads, 2)
    sum_tile(Problem p, Operands operands, Tile tile, int64_t all_planes) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kPack<T>;
  unsigned char* const shared = dynamic_shared<unsigned char>();
  T* const inputs = reinterpret_cast<T*>(shared);
  Sum* const weights = reinterpret_cast<Sum*>(shared + tile.input_bytes(sizeof(T)));
  __shared__ Plane planes[kMostPlanes];
  __shared__ int64_t offsets[kMostPlanes];  // of their inputs
  const Corner corner(tile, pack);
  const int filled =
      int(all_planes - corner.plane < tile.planes ? all_planes - corner.plane : tile.planes);
  if (int(threadIdx.x) < filled) {
    int64_t n = corner.plane + threadIdx.x;
    const int64_t co = split_off(&n, p.out_channels_per_group()), g = split_off(&n, p.groups);
    offsets[threadIdx.x] = n * operands.input.batch + g * operands.input.group;
    planes[threadIdx.x] = {
        g * operands.weight.group + co * operands.weight.out_channel,
        n * operands.output.batch + g * operands.output.group + co * operands.output.out_channel,
        g * operands.bias.group + co * operands.bias.out_channel};
  }
  __syncthreads();

  // The thread's strip: kRows rows of one depth of one plane.
  int rest = int(threadIdx.x);
  const int column = rest % tile.strips * pack;
  rest /= tile.strips;
  const int row_blocks = (tile.height + kRows<T> - 1) / kRows<T>;
  const int first_row = rest % row_blocks * kRows<T>;
  rest /= row_blocks;
  const int depth = rest % tile.depth, plane = rest / tile.depth;
  const int height = int(p.axis[1].kernel_size), deep = int(p.axis[0].kernel_size);
  int rows = tile.height - first_row;
  if (rows > p.axis[1].output_size - corner.o[1] - first_row)
    rows = int(p.axis[1].output_size - corner.o[1] - first_row);
  if (rows > kRows<T>) rows = kRows<T>;
  const bool works = plane < filled && corner.o[0] + depth < p.axis[0].output_size &&
                     corner.o[2] + column < p.axis[2].output_size;
  if (!works) rows = 0;

  Strip<T, taps, stride> strip;
  const int64_t channels = p.in_channels_per_group();
  const int64_t first[3] = {corner.o[0] * p.axis[0].stride - p.axis[0].padding,
                            corner.o[1] * p.axis[1].stride - p.axis[1].padding,
                            corner.o[2] * p.axis[2].stride - p.axis[2].padding};
  for (int64_t ci = 0; ci < channels; ++ci) {
    if (ci > 0) __syncthreads();
    if (ci > 0 && int(threadIdx.x) < filled) offsets[threadIdx.x] += operands.input.in_channel;
    if (channels > 1) __syncthreads();
    fill(tile.in, p.padding_mode, p, &Axis::input_size, operands.input, offsets, filled, first,
         inputs);
    fill_taps<T, Sum>(p, operands, tile, planes, filled, ci, weights);
    __syncthreads();
    if (rows <= 0) continue;
    const int row_stride = int(p.axis[1].stride);
    for (int t = 0; t < deep; ++t) {
      const int slice =
          plane * tile.in.depth + depth * int(p.axis[0].stride) + t * int(p.axis[0].dilation);
      const T* const lines = inputs +
                             (slice * tile.in.height + first_row * row_stride) * tile.in.pitch +
                             column * stride;
      const Sum* const tap_lines = weights + (plane * deep + t) * height * tile.tap_pitch;
      for (int row = 0; row < (rows - 1) * row_stride + height; ++row)
        strip.add_line(lines + row * tile.in.pitch, tap_lines, tile.tap_pitch, row, rows,
                       row_stride, height, int(p.axis[2].kernel_size));
    }
  }
  if (rows <= 0) return;

  const View& view = operands.output;
  Sum bias{};
  if (operands.bias.data)
    bias = widen<Sum>(static_cast<const T*>(operands.bias.data)[planes[plane].bias]);
  T* line = static_cast<T*>(view.data) + planes[plane].output +
            (corner.o[0] + depth) * view.axis[0] + (corner.o[1] + first_row) * view.axis[1] +
            (corner.o[2] + column) * view.axis[2];
  const int64_t left = p.axis[2].output_size - corner.o[2] - column;
#pragma unroll
  for (int v = 0; v < kRows<T>; ++v) {
    if (v >= rows) break;
    if (tile.store_wide && left >= pack) {
      Pack<T, pack> out;
#pragma unroll
      for (int r = 0; r < pack; ++r) out.value[r] = narrow<T>(strip.sum[v][r] + bias);
      *reinterpret_cast<Pack<T, pack>*>(line) = out;
    } else {
#pragma unroll
      for (int r = 0; r < pack; ++r) {
        if (r >= left) break;
        T* const at = line + r * view.axis[2];
        Sum sum = strip.sum[v][r] + bias;
        if (operands.accumulate) sum += widen<Sum>(*at);
        *at = narrow<T>(sum);
      }
    }
    line += view.axis[1];
  }
}

// What a block of these outputs meets, and how its threads share the work.
template <typename T>
void set_sizes(const Problem& p, int planes, int depth, int row_blocks, int strips, int taps,
               Tile* tile) {
  const Axis *d = &p.axis[0], *h = &p.axis[1], *w = &p.axis[2];
  const int pack = kPack<T>, rows = kRows<T>, step = chunk(taps);
  tile->planes = planes, tile->depth = depth, tile->strips = strips;
  tile->height = int(row_blocks * rows < h->output_size ? row_blocks * rows : h->output_size);
  tile->in.depth = int((depth - 1) * d->stride + (d->kernel_size - 1) * d->dilation + 1);
  tile->in.height = int((tile->height - 1) * h->stride + h->kernel_size);
  tile->in.width = int((strips * pack - 1) * w->stride + w->kernel_size);
  // The last strip's last window reaches this far.
  const int64_t reach = (strips - 1) * pack * w->stride + round_up(w->kernel_size, step) - step +
                        window<T>(taps, int(w->stride));
  tile->in.pitch = int(round_up(reach < tile->in.width ? tile->in.width : reach, pack));
  tile->tap_pitch = int(round_up(w->kernel_size, step == 8 ? 8 : 4));
  tile->threads = int(round_up(planes * depth * row_blocks * strips, kWarp));
  tile->blocks_depth = ceil_div(d->output_size, depth);
  tile->blocks_height = ceil_div(h->output_size, tile->height);
  tile->blocks_width = ceil_div(w->output_size, strips * pack);
  tile->blocks_planes = ceil_div(p.batch * p.out_channels, planes);
}

template <typename T>
int64_t shared_bytes(const Problem& p, const Tile& tile) {
  return tile.input_bytes(sizeof(T)) + int64_t(sizeof(typename SumOf<T>::Type)) * tile.planes *
                                           p.axis[0].kernel_size * p.axis[1].kernel_size *
                                           tile.tap_pitch;
}

// The tile with the most work for kMostThreads threads that shared memory holds; false where not
// even the smallest fits.
template <typename T>
bool choose_tile(const Problem& p, int taps, Tile* tile) {
  const int64_t line = ceil_div(p.axis[2].output_size, kPack<T>);
  const int64_t lines = ceil_div(p.axis[1].output_size, kRows<T>);
  const bool one_line = p.axis[1].output_size * p.axis[0].output_size == 1;
  int64_t strips = even(line, one_line ? 128 : 32);
  int64_t rows = even(lines, kMostThreads / strips);
  int64_t depth = even(p.axis[0].output_size, kMostThreads / (strips * rows));
  int64_t planes = kMostThreads / (strips * rows * depth);
  planes = planes < kMostPlanes ? planes : kMostPlanes;
  if (planes > p.batch * p.out_channels) planes = p.batch * p.out_channels;
  for (;;) {
    set_sizes<T>(p, int(planes), int(depth), int(rows), int(strips), taps, tile);
    const int64_t bytes = shared_bytes<T>(p, *tile);
    if (bytes <= kAmpleShared) return true;
    int64_t* const larger = planes > 1   ? &planes
                            : depth > 1  ? &depth
                            : rows > 1   ? &rows
                            : strips > 1 ? &strips
                                         : nullptr;
    if (!larger) return bytes <= kMostShared;
    // Halves of a tile of rows meet more than half of the inputs: not below 64 threads.
    if (larger != &planes && rows * strips * depth <= 64 && bytes <= kMostShared) return true;
    *larger = ceil_div(*larger, 2);
  }
}

template <typename T, int taps, int stride>
bool run_tiles(const Problem& p, const Operands& operands, const Context& context) {
  Tile tile;
  if (!choose_tile<T>(p, taps, &tile)) return false;
  set_loads<T>(aligned_lines<T>(operands.input, p.axis[2].input_size), tile.in.width, &tile.in);
  tile.store_wide =
      !operands.accumulate && aligned_lines<T>(operands.output, p.axis[2].output_size);
  const int64_t blocks =
      tile.blocks_planes * tile.blocks_depth * tile.blocks_height * tile.blocks_width;
  if (blocks > kMostBlocks) return false;
  Launch how;
  how.blocks = dim3(unsigned(blocks));
  how.threads = dim3(unsigned(tile.threads));
  how.shared_bytes = shared_bytes<T>(p, tile);
  how.stream = context.stream;
  launch(how, &sum_tile<T, taps, stride>, p, operands, tile, p.batch * p.out_channels);
  return true;
}

// Doubles are few, and their kernel one for all taps.
template <typename T>
bool run_dtype(const Problem& p, const Operands& operands, const Context& context) {
  if constexpr (sizeof(T) < 8) {
    const int64_t taps = p.axis[2].kernel_size;
    if (p.axis[2].stride == 2 && taps == 3) return run_tiles<T, 3, 2>(p, operands, context);
    if (p.axis[2].stride == 1 && taps == 3) return run_tiles<T, 3, 1>(p, operands, context);
    if (p.axis[2].stride == 1 && taps == 4) return run_tiles<T, 4, 1>(p, operands, context);
    if (p.axis[2].stride == 1 && taps == 7) return run_tiles<T, 7, 1>(p, operands, context);
  }
  return p.axis[2].stride == 2 ? run_tiles<T, 0, 2>(p, operands, context)
                               : run_tiles<T, 0, 1>(p, operands, context);
}

}  // namespace

bool forward_planes(const Problem& given, const Operands& views, const Context& context) {
  Problem p = given;
  Operands operands = views;
  if (!to_three_axes(&p, &operands)) return false;
  const Axis *d = &p.axis[0], *h = &p.axis[1], *w = &p.axis[2];
  if (operands.input.axis[2] != 1 && w->input_size > 1) return false;
  if (w->stride > 2 || w->dilation != 1 || h->dilation != 1) return false;
  for (const Axis* a : {d, h, w})
    if (a->stride > kMostSteps || a->dilation > kMostSteps || a->kernel_size < 1 ||
        a->kernel_size > 1024 || a->output_size > kMostSize)
      return false;
  switch (p.dtype) {
    case DType::float32: return run_dtype<float>(p, operands, context);
    case DType::float64: return run_dtype<double>(p, operands, context);
    case DType::bfloat16: return run_dtype<BFloat16>(p, operands, context);
    case DType::float16: return run_dtype<Float16>(p, operands, context);
    default: return false;
  }
}

}  // namespace torchconv::cuda::channelwise
