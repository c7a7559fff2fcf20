// depthwise, by weight, on channels that lie side by side in memory (channels_last).
//
// A thread has a vector of channels, 16 bytes, a few taps of a line of taps, and every so many
// strips of kOutputs neighbours in its block's part of the lines of outputs:
//
//     sum[u] += x[q * stride + u] * y[q]        for q of a strip
//
// Every load is of 16 bytes and of neighbouring channels across a warp; what threads with other taps
// ask for again comes from the first-level cache. Last, the sums of the threads with the same taps
// are added in a fixed order and written as the part's.
//
// nvcc 13.0, sm_90a: 109 to 158 registers, no spills; three blocks on a multiprocessor.
#include "cuda/algo/depthwise/last.h"

namespace torchconv::cuda::channelwise {
namespace {

constexpr int kThreads = 128;       // three blocks on a multiprocessor leave 168 registers a thread
constexpr int kChannelThreads = 8;  // along channels: 128 bytes, a line of the cache
constexpr int64_t kBlocks = 1056;   // that fill an H100: eight on each multiprocessor

// Outputs of a strip: y and the sums of a thread fit its registers.
template <typename T>
constexpr int kOutputs = sizeof(T) == 2 ? 2 : 4;

struct Tile {
  int channels;  // threads along them, a power of two
  int chunks;    // of a line of taps
  int tap_lines;
  int tap_tiles;   // (line, chunk) that one block has
  int slices;      // threads with the same taps and channels
  int64_t strips;  // of a line
  int64_t blocks_channels, tap_blocks;
};

// The products of one strip, whose first output's first tap is at i.
template <typename T, int taps, int stride>
__device__ __forceinline__ void add_strip(
    PaddingMode mode, const T* x_line, int64_t x_step, int64_t i, int64_t size, const T* y_line,
    int64_t y_step, int64_t left, typename SumOf<T>::Type (&sum)[taps_at_once(taps)][kPack<T>]) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kPack<T>, outputs = kOutputs<T>, kChunk = taps_at_once(taps);
  constexpr int kWindow = (outputs - 1) * stride + kChunk;
  Pack<T, pack> x[kWindow];
#pragma unroll
  for (int c = 0; c < kWindow; ++c) x[c] = load_channels(mode, x_line, x_step, i + c, size);
  Sum y[outputs][pack];
#pragma unroll
  for (int q = 0; q < outputs; ++q)
    if (q < left) load_wide(y[q], y_line + q * y_step);
#pragma unroll
  for (int c = 0; c < kWindow; ++c) {
    Sum value[pack];
#pragma unroll
    for (int j = 0; j < pack; ++j) value[j] = widen<Sum>(x[c].value[j]);
#pragma unroll
    for (int u = 0; u < kChunk; ++u) {
      if ((c - u) % stride != 0 || c < u || (c - u) / stride >= outputs) continue;
      if ((c - u) / stride >= left) continue;
#pragma unroll
      for (int j = 0; j < pack; ++j) sum[u][j] += value[j] * y[(c - u) / stride][j];
    }
  }
}

template <typename T, int taps, int stride>
__global__ void __launch_bounds__(kThreads, 3)
    sum_lines(Problem p, Operands operands, Tile tile, typename SumOf<T>::Type* sums, int64_t parts,
              int64_t lines) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kPack<T>, kChunk = taps_at_once(taps), outputs = kOutputs<T>;
  const View &input = operands.input, &output = operands.output;
  int64_t part = blockIdx.x;
  const int64_t first_channel = split_off(&part, tile.blocks_channels) * tile.channels * pack;
  const int64_t tap_block = split_off(&part, tile.tap_blocks);

  const int vector = int(threadIdx.x) & (tile.channels - 1);
  const int number = int(threadIdx.x) / tile.channels;
  const int tap_number = number % tile.tap_tiles, slice = number / tile.tap_tiles;
  const int64_t channel = first_channel + vector * pack;
  const int64_t tap_tile = tap_block * tile.tap_tiles + tap_number;
  const int tap_line = int(tap_tile / tile.chunks),
            first_tap = int(tap_tile % tile.chunks) * kChunk;
  const int height = int(p.axis[1].kernel_size);
  const int64_t tap[2] = {tap_line / height * p.axis[0].dilation - p.axis[0].padding,
                          tap_line % height * p.axis[1].dilation - p.axis[1].padding};

  Sum sum[kChunk][pack] = {};
  const int64_t begin = part_begin(lines, parts, part) * tile.strips;
  const int64_t end = part_begin(lines, parts, part + 1) * tile.strips;
  const bool works = channel < p.groups && tap_line < tile.tap_lines && slice < tile.slices;
  for (int64_t item = begin + slice; item < end && works; item += tile.slices) {
    int64_t n = item;
    const int64_t o2 = split_off(&n, tile.strips) * outputs;
    const int64_t o1 = split_off(&n, p.axis[1].output_size);
    const int64_t o0 = split_off(&n, p.axis[0].output_size);
    const int64_t d =
        fold_inside(p.padding_mode, o0 * p.axis[0].stride + tap[0], p.axis[0].input_size);
    const int64_t h =
        fold_inside(p.padding_mode, o1 * p.axis[1].stride + tap[1], p.axis[1].input_size);
    if (d < 0 || h < 0) continue;
    add_strip<T, taps, stride>(p.padding_mode,
                               static_cast<const T*>(input.data) + n * input.batch + channel +
                                   d * input.axis[0] + h * input.axis[1],
                               input.axis[2], o2 * stride - p.axis[2].padding + first_tap,
                               p.axis[2].input_size,
                               static_cast<const T*>(output.data) + n * output.batch + channel +
                                   o0 * output.axis[0] + o1 * output.axis[1] + o2 * output.axis[2],
                               output.axis[2], p.axis[2].output_size - o2, sum);
  }

  // [slice][tap tile, tap of it][channel], then one thread for a tap of a channel.
  Sum* const all = dynamic_shared<Sum>();
  const int across = tile.channels * pack, each = tile.tap_tiles * kChunk * across;
  if (slice < tile.slices)
    for (int u = 0; u < kChunk; ++u)
      for (int j = 0; j < pack; ++j)
        all[slice * each + (tap_number * kChunk + u) * across + vector * pack + j] = sum[u][j];
  __syncthreads();
  const int64_t width = p.axis[2].kernel_size, all_taps = tile.tap_lines * width;
  for (int at = int(threadIdx.x); at < each; at += kThreads) {
    const int64_t mine = tap_block * tile.tap_tiles + at / across / kChunk;
    const int64_t column = mine % tile.chunks * kChunk + at / across % kChunk;
    const int64_t c = first_channel + at % across;
    if (mine / tile.chunks >= tile.tap_lines || column >= width || c >= p.groups) continue;
    Sum total{};
    for (int s = 0; s < tile.slices; ++s) total += all[s * each + at];
    sums[(part * p.groups + c) * all_taps + mine / tile.chunks * width + column] = total;
  }
}

template <typename T>
Tile choose_tile(const Problem& p, int taps) {
  Tile tile;
  const int64_t vectors = ceil_div(p.groups, kPack<T>);
  tile.channels = channel_threads(vectors, kChannelThreads);
  tile.chunks = int(ceil_div(p.axis[2].kernel_size, taps_at_once(taps)));
  tile.tap_lines = int(p.axis[0].kernel_size * p.axis[1].kernel_size);
  const int64_t tap_tiles = int64_t(tile.tap_lines) * tile.chunks, items = kThreads / tile.channels;
  tile.tap_blocks = ceil_div(tap_tiles, items);
  tile.tap_tiles = int(ceil_div(tap_tiles, tile.tap_blocks));
  tile.slices = int(items) / tile.tap_tiles;
  tile.strips = ceil_div(p.axis[2].output_size, kOutputs<T>);
  tile.blocks_channels = ceil_div(vectors, tile.channels);
  return tile;
}

int64_t lines_of(const Problem& p) {
  return p.batch * p.axis[0].output_size * p.axis[1].output_size;
}

int64_t parts_of(const Problem& p, const Tile& tile) {
  const int64_t wanted = ceil_div(kBlocks, tile.blocks_channels * tile.tap_blocks);
  return wanted < lines_of(p) ? wanted : lines_of(p);
}

}  // namespace

int64_t parts_channels_last(const Problem& given) {
  Problem p = given;
  Operands none;
  if (!depthwise_in_three_axes(&p, &none)) return 0;
  int64_t parts = 0;
  for_kernel_of(p, [&](auto typed, auto taps, auto) {
    parts = parts_of(p, choose_tile<decltype(typed)>(p, decltype(taps)::value));
    return true;
  });
  return parts;
}

bool weight_channels_last(const Problem& given, const Operands& views, const Context& context) {
  Problem p = given;
  Operands operands = views;
  if (!depthwise_in_three_axes(&p, &operands)) return false;
  return for_kernel_of(p, [&](auto typed, auto taps, auto stride) {
    using T = decltype(typed);
    using Sum = typename SumOf<T>::Type;
    constexpr int kTaps = decltype(taps)::value, kStride = decltype(stride)::value;
    if (!channels_aligned<T>(p, operands.input) || !channels_aligned<T>(p, operands.output))
      return false;
    const Tile tile = choose_tile<T>(p, kTaps);
    const int64_t parts = parts_of(p, tile);
    Launch how;
    how.blocks = dim3(unsigned(parts * tile.blocks_channels * tile.tap_blocks));
    how.threads = dim3(kThreads);
    how.shared_bytes = int64_t(tile.slices) * tile.tap_tiles * taps_at_once(kTaps) * tile.channels *
                       kPack<T> * int64_t(sizeof(Sum));
    how.stream = context.stream;
    launch(how, &sum_lines<T, kTaps, kStride>, p, operands, tile,
           static_cast<Sum*>(context.scratch), parts, lines_of(p));
    add_parts(given, views, context, parts);
    return true;
  });
}

}  // namespace torchconv::cuda::channelwise
