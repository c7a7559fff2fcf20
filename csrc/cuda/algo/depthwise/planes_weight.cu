// depthwise, by weight, on lines that lie side by side in memory (NCHW and its 1-d and 3-d kin).
//
// A block has one pair of channels and goes through its part of the tiles: some images, depths and
// rows, and a stretch of the line. The outputs of a tile and the inputs they meet come to shared
// memory. A thread has up to 8 taps of a line of taps and every so many strips of kPack outputs:
//
//     sum[u] += x[row][r * stride + u] * y[r]        for r of a strip, by loads of 16 bytes
//
// Last, the threads' sums are added in pairs, in a fixed order, and written as the part's, or as the
// weight where there is one part.
//
// nvcc 13.0, sm_90a: up to 128 registers, no spills, and four blocks on a multiprocessor for
// 16-bit floats; three blocks for the others.
#include <algorithm>

#include "cuda/algo/depthwise/box.h"

namespace torchconv::cuda::channelwise {
namespace {

constexpr int kThreads = 128;
constexpr int kTileBytes = 24 << 10;    // of shared memory that a tile grows to
constexpr int kMostBytes = 96 << 10;    // ... or has at least: the halo of the taps
constexpr int64_t kMostSteps = 64;      // stride or dilation that a tile may hold the gaps of
constexpr int64_t kMostSize = 1 << 30;  // of a line
constexpr int64_t kMostKernel = 1024;
constexpr int64_t kMostStrips = 512;  // of a line
constexpr int64_t kBlocks = 1056;     // that fill an H100: eight on each multiprocessor

// Taps that a thread has: all of a line of 3 or 4, or 8.
TORCHCONV_HOST_DEVICE constexpr int chunk(int taps) { return taps == 0 ? 8 : taps; }
template <typename T>
TORCHCONV_HOST_DEVICE constexpr int window(int taps, int stride) {
  return ((kPack<T> - 1) * stride + chunk(taps) + kPack<T> - 1) / kPack<T> * kPack<T>;
}

struct Tile {
  int images, strips;  // strips of a line
  Divisor by_strips;
  Box in, out;    // their planes are images
  int chunks;     // of a line of taps
  int tap_lines;  // of one pair of channels
  int tap_tiles;  // (line, chunk) that one block has
  int64_t tap_blocks;
  int64_t blocks_depth, blocks_height, blocks_width, blocks_images;

  int64_t tiles() const { return blocks_depth * blocks_height * blocks_width * blocks_images; }
};

// Where the parts of a block's shared memory begin.
struct SharedPlaces {
  int64_t outputs, in_tables, out_tables, bytes;
};
TORCHCONV_HOST_DEVICE inline SharedPlaces shared_places(const Tile& tile, int64_t element) {
  SharedPlaces s;
  s.outputs = tile.in.bytes(element);
  s.in_tables = s.outputs + tile.out.bytes(element);
  s.out_tables = s.in_tables + tile.in.table_bytes();
  s.bytes = s.out_tables + tile.out.table_bytes();
  return s;
}

// Adds the products of a tile under the taps of one thread; o counts the outputs from the tile's
// first.
template <typename T, int taps, int stride>
__device__ void add_tile(const Problem& p, const Tile& tile, const T* inputs, const T* outputs,
                         int images, const int (&left)[3], const int (&tap)[3], int slice,
                         int slices, typename SumOf<T>::Type (&sum)[chunk(taps)]) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kPack<T>;
  const int strides[2] = {int(p.axis[0].stride), int(p.axis[1].stride)};
  const int strips = images * tile.out.depth * tile.out.height * tile.strips;
#pragma unroll 1
  for (int strip = slice; strip < strips; strip += slices) {
    int column = strip;
    const int line = tile.by_strips.split(&column);
    column *= pack;
    int h = line;
    int d = tile.out.by_height.split(&h);
    const int image = tile.out.by_depth.split(&d);
    if (d >= left[0] || h >= left[1] || column >= left[2]) continue;
    const int row = (image * tile.in.depth + d * strides[0] + tap[0]) * tile.in.height +
                    h * strides[1] + tap[1];
    Sum x[window<T>(taps, stride)], y[pack];
    load_wide(x, inputs + row * tile.in.pitch + column * stride + tap[2]);
    load_wide(y, outputs + line * tile.out.pitch + column);
    const auto add = [&](int r) {
#pragma unroll
      for (int u = 0; u < chunk(taps); ++u) sum[u] += x[r * stride + u] * y[r];
    };
    const int count = left[2] - column;  // x goes on behind the last output
    if (count >= pack) {
#pragma unroll
      for (int r = 0; r < pack; ++r) add(r);
    } else {
#pragma unroll
      for (int r = 0; r < pack; ++r)
        if (r < count) add(r);
    }
  }
}

// Which pair of channels, which taps and which part of the tiles a block has.
struct Job {
  int64_t pair, tap_block, part;
  __device__ Job(const Tile& tile, int64_t pairs) {
    int64_t block = blockIdx.x;
    tap_block = split_off(&block, tile.tap_blocks);
    pair = split_off(&block, pairs);
    part = block;
  }
};

template <typename T, int taps, int stride>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 4 : 3)
    sum_tiles(Problem p, Operands operands, Tile tile, typename SumOf<T>::Type* sums, int64_t parts,
              int64_t tiles) {
  using Sum = typename SumOf<T>::Type;
  constexpr int kChunk = chunk(taps);
  unsigned char* const shared = dynamic_shared<unsigned char>();
  T* const inputs = reinterpret_cast<T*>(shared);
  const SharedPlaces places = shared_places(tile, sizeof(T));
  T* const outputs = reinterpret_cast<T*>(shared + places.outputs);
  Tables<T> in_tables(shared + places.in_tables, tile.in);
  Tables<T> out_tables(shared + places.out_tables, tile.out);
  __shared__ int64_t x_offsets[kMostPlanes], y_offsets[kMostPlanes];
  const int64_t outs = p.out_channels_per_group(), ins = p.in_channels_per_group();
  const Job job(tile, p.groups * outs * ins);
  int64_t g = job.pair;
  const int64_t ci = split_off(&g, ins), co = split_off(&g, outs);

  // The thread's taps, and its share of the strips.
  const int slices = kThreads / tile.tap_tiles;
  const int number = int(threadIdx.x) / slices, slice = int(threadIdx.x) % slices;
  const int64_t tap_tile = job.tap_block * tile.tap_tiles + number;
  const int line = int(tap_tile / tile.chunks), height = int(p.axis[1].kernel_size);
  const int first_tap = int(tap_tile % tile.chunks) * kChunk;
  const int tap[3] = {line / height * int(p.axis[0].dilation),
                      line % height * int(p.axis[1].dilation), first_tap};
  const bool works = number < tile.tap_tiles && line < tile.tap_lines;

  Sum sum[kChunk] = {};
  for (int64_t t = part_begin(tiles, parts, job.part); t < part_begin(tiles, parts, job.part + 1);
       ++t) {
    int64_t n = t;
    int64_t o[3], i[3];
    o[2] = split_off(&n, tile.blocks_width) * tile.out.width;
    o[1] = split_off(&n, tile.blocks_height) * tile.out.height;
    o[0] = split_off(&n, tile.blocks_depth) * tile.out.depth;
    n *= tile.images;
    int left[3];
    for (int a = 0; a < 3; ++a) {
      i[a] = o[a] * p.axis[a].stride - p.axis[a].padding;
      left[a] = int(p.axis[a].output_size - o[a]);
    }
    const int images = int(p.batch - n < tile.images ? p.batch - n : tile.images);
    __syncthreads();
    if (int(threadIdx.x) < images) {
      const int64_t image = n + threadIdx.x;
      x_offsets[threadIdx.x] =
          image * operands.input.batch + g * operands.input.group + ci * operands.input.in_channel;
      y_offsets[threadIdx.x] = image * operands.output.batch + g * operands.output.group +
                               co * operands.output.out_channel;
    }
    __syncthreads();
    in_tables.set(tile.in, p.padding_mode, p, &Axis::input_size, operands.input, x_offsets, images,
                  i);
    out_tables.set(tile.out, PaddingMode::zeros, p, &Axis::output_size, operands.output, y_offsets,
                   images, o);
    __syncthreads();
    fill(tile.in, in_tables, inputs);
    fill(tile.out, out_tables, outputs);
    __syncthreads();
    if (works)
      add_tile<T, taps, stride>(p, tile, inputs, outputs, images, left, tap, slice, slices, sum);
  }

  // [slice][tap tile][tap of it]; the later half of the slices is added to the first, and again.
  __syncthreads();
  Sum* const all = reinterpret_cast<Sum*>(shared);
  const int each = tile.tap_tiles * kChunk;
  if (number < tile.tap_tiles)
    for (int u = 0; u < kChunk; ++u) all[slice * each + number * kChunk + u] = sum[u];
  for (int left = slices; left > 1;) {
    const int kept = (left + 1) / 2;
    __syncthreads();
    for (int at = int(threadIdx.x); at < (left - kept) * each; at += kThreads)
      all[at] += all[kept * each + at];
    left = kept;
  }
  __syncthreads();
  const int64_t width = p.axis[2].kernel_size, all_taps = tile.tap_lines * width;
  for (int at = int(threadIdx.x); at < each; at += kThreads) {
    const int64_t mine = job.tap_block * tile.tap_tiles + at / kChunk;
    const int64_t column = mine % tile.chunks * kChunk + at % kChunk;
    if (mine / tile.chunks >= tile.tap_lines || column >= width) continue;
    const int64_t tap_line = mine / tile.chunks;
    if (parts > 1) {
      sums[(job.part * p.groups * outs * ins + job.pair) * all_taps + tap_line * width + column] =
          all[at];
      continue;
    }
    const View& weight = operands.weight;
    T* const w = static_cast<T*>(weight.data) + g * weight.group + co * weight.out_channel +
                 ci * weight.in_channel + tap_line / height * weight.axis[0] +
                 tap_line % height * weight.axis[1] + column * weight.axis[2];
    *w = narrow<T>(operands.accumulate ? all[at] + widen<Sum>(*w) : all[at]);
  }
}

template <typename T>
void set_sizes(const Problem& p, int taps, int64_t images, int64_t depth, int64_t height,
               int64_t strips, Tile* tile) {
  const Axis *d = &p.axis[0], *h = &p.axis[1], *w = &p.axis[2];
  const int pack = kPack<T>, step = chunk(taps);
  tile->images = int(images), tile->strips = int(strips);
  tile->by_strips = Divisor(strips);
  tile->out.set(images, depth, height, strips * pack);
  tile->out.pitch = tile->out.width;
  tile->in.set(images, (depth - 1) * d->stride + (d->kernel_size - 1) * d->dilation + 1,
               (height - 1) * h->stride + (h->kernel_size - 1) * h->dilation + 1,
               (tile->out.width - 1) * w->stride + w->kernel_size);
  tile->chunks = int(ceil_div(w->kernel_size, step));
  const int64_t reach =
      (strips - 1) * pack * w->stride + (tile->chunks - 1) * step + window<T>(taps, int(w->stride));
  tile->in.pitch = int(round_up(reach < tile->in.width ? tile->in.width : reach, pack));
  tile->blocks_depth = ceil_div(d->output_size, depth);
  tile->blocks_height = ceil_div(h->output_size, height);
  tile->blocks_width = ceil_div(w->output_size, tile->out.width);
  tile->blocks_images = ceil_div(p.batch, images);
}

// A line as long as it gets, then rows, for the halo's sake, then depths and images: as long as the
// tile is small.
template <typename T>
bool choose_tile(const Problem& p, int taps, Tile* tile) {
  const int64_t line = ceil_div(p.axis[2].output_size, kPack<T>);
  int64_t strips = even(line, kMostStrips);
  int64_t size[3] = {1, 1, 1};  // images, depths, rows
  const int64_t most[3] = {p.batch < kMostPlanes ? p.batch : kMostPlanes, p.axis[0].output_size,
                           p.axis[1].output_size};
  const auto try_sizes = [&](const int64_t (&s)[3]) {
    set_sizes<T>(p, taps, s[0], s[1], s[2], strips, tile);
    return shared_places(*tile, sizeof(T)).bytes;
  };
  while (strips > 16 && try_sizes(size) > kTileBytes) strips = even(line, strips / 2);
  if (try_sizes(size) > kMostBytes) return false;
  for (int a = 2; a >= 0; --a)
    for (bool grows = true; grows && size[a] < most[a];) {
      int64_t larger[3] = {size[0], size[1], size[2]};
      larger[a] = 2 * size[a] < most[a] ? 2 * size[a] : most[a];
      grows = try_sizes(larger) <= kTileBytes;
      if (grows) size[a] = larger[a];
    }
  for (int a = 0; a < 3; ++a) size[a] = even(most[a], size[a]);
  size[0] = size[0] < kMostPlanes ? size[0] : kMostPlanes;
  try_sizes(size);
  tile->tap_lines = int(p.axis[0].kernel_size * p.axis[1].kernel_size);
  const int64_t tap_tiles = int64_t(tile->tap_lines) * tile->chunks;
  tile->tap_tiles = int(even(tap_tiles, kThreads));
  tile->tap_blocks = ceil_div(tap_tiles, tile->tap_tiles);
  return true;
}

int64_t parts_of(const Problem& p, const Tile& tile) {
  const int64_t pairs = p.out_channels * p.in_channels_per_group();
  const int64_t wanted = ceil_div(kBlocks, pairs * tile.tap_blocks), most = tile.tiles();
  return wanted < most ? wanted : most;
}

// Calls body(T(), number of taps that are known, stride) with the kernel's template parameters.
template <typename T, typename Body>
bool for_taps(const Problem& p, const Body& body) {
  using Any = std::integral_constant<int, 0>;
  using One = std::integral_constant<int, 1>;
  using Two = std::integral_constant<int, 2>;
  using Three = std::integral_constant<int, 3>;
  using Four = std::integral_constant<int, 4>;
  if constexpr (sizeof(T) < 8) {  // doubles are few: one kernel for all taps
    const int64_t taps = p.axis[2].kernel_size;
    if (p.axis[2].stride == 2 && taps == 3) return body(T(), Three(), Two());
    if (p.axis[2].stride == 1 && taps == 3) return body(T(), Three(), One());
    if (p.axis[2].stride == 1 && taps == 4) return body(T(), Four(), One());
  }
  return p.axis[2].stride == 2 ? body(T(), Any(), Two()) : body(T(), Any(), One());
}

template <typename Body>
bool for_kernel(const Problem& p, const Body& body) {
  const Axis* w = &p.axis[2];
  if (w->stride > 2 || w->dilation != 1 || p.batch == 0) return false;
  for (int a = 0; a < 3; ++a)
    if (p.axis[a].stride > kMostSteps || p.axis[a].dilation > kMostSteps ||
        p.axis[a].kernel_size > kMostKernel || p.axis[a].output_size > kMostSize ||
        p.axis[a].output_size == 0)
      return false;
  switch (p.dtype) {
    case DType::float32: return for_taps<float>(p, body);
    case DType::float64: return for_taps<double>(p, body);
    case DType::bfloat16: return for_taps<BFloat16>(p, body);
    case DType::float16: return for_taps<Float16>(p, body);
    default: return false;
  }
}

}  // namespace

int64_t parts_planes(const Problem& given) {
  Problem p = given;
  Operands none;
  if (!to_three_axes(&p, &none)) return 0;
  int64_t parts = 0;
  for_kernel(p, [&](auto typed, auto taps, auto) {
    Tile tile;
    if (choose_tile<decltype(typed)>(p, decltype(taps)::value, &tile)) parts = parts_of(p, tile);
    return true;
  });
  return parts;
}

bool weight_planes(const Problem& given, const Operands& views, const Context& context) {
  Problem p = given;
  Operands operands = views;
  if (!to_three_axes(&p, &operands)) return false;
  if (operands.input.axis[2] != 1 && p.axis[2].input_size > 1) return false;
  if (operands.output.axis[2] != 1 && p.axis[2].output_size > 1) return false;
  return for_kernel(p, [&](auto typed, auto taps, auto stride) {
    using T = decltype(typed);
    using Sum = typename SumOf<T>::Type;
    constexpr int kTaps = decltype(taps)::value, kStride = decltype(stride)::value;
    Tile tile;
    if (!choose_tile<T>(p, kTaps, &tile)) return false;
    const int64_t parts = parts_of(p, tile);
    const int64_t blocks = parts * p.out_channels * p.in_channels_per_group() * tile.tap_blocks;
    if (blocks > kMostBlocks) return false;
    const int64_t sums = int64_t(kThreads) * chunk(kTaps) * sizeof(Sum);
    const int64_t shared_bytes = std::max(shared_places(tile, sizeof(T)).bytes, sums);
    launch(launch_of(blocks, kThreads, shared_bytes, context.stream), &sum_tiles<T, kTaps, kStride>,
           p, operands, tile, static_cast<Sum*>(context.scratch), parts, tile.tiles());
    if (parts > 1) add_parts(given, views, context, parts);
    return true;
  });
}

}  // namespace torchconv::cuda::channelwise
