// depthwise, by weight, on channels that lie side by side in memory (channels_last).
//
// A thread has a vector of channels and a few taps of a line of taps, and sweeps a slice of the
// outputs: kOutputs neighbours of a line, a strip, line after line, then the next strip. For each,
//
//     sum[u] += x[q * stride + u] * y[q]        for q of the strip
//
// where the window x is loaded once for all taps of the thread, all loads before the first product.
// Where both windows lie in their lines is the same for all lines and found before them. What
// threads with other lines of taps load again comes from the first-level cache. Last, the sums of
// the slices of a block are added as a tree and written as the part's.
//
// nvcc 13.0, sm_90a, bfloat16: 2.5 instructions and 0.10 loads for a product in lines of 7 taps, 3.9
// and 0.19 in lines of 3; 79 to 126 registers, no spills: 16 warps on a multiprocessor.
#include "cuda/algo/depthwise/last.h"

namespace torchconv::cuda::channelwise {
namespace {

constexpr int kLeastOfASlice = 2;  // strips of lines, so that a thread does more than begin and end

// Outputs of a strip: both windows and the sums of a thread fit its registers.
template <typename T, int stride>
constexpr int kOutputs = stride == 2      ? 4 / (sizeof(T) == 2 ? 1 : 2)
                         : sizeof(T) == 2 ? 7
                                          : 4;

struct Tile {
  int channels;       // threads along them
  int chunks;         // of a line of taps
  int tiles;          // (line, chunk) of all taps
  int block_tiles;    // of one block
  int slices;         // threads of a block with the same taps and channels
  int strips, lines;  // of outputs
  int blocks_channels, blocks_tiles, parts;
  int x_step, y_step;  // of a line, in bytes
};

template <typename T, int taps, int stride>
struct Taps {
  using Sum = typename SumOf<T>::Type;
  static constexpr int pack = kVector<T>, kChunk = taps_at_once(taps), kY = kOutputs<T, stride>;
  static constexpr int kX = (kY - 1) * stride + kChunk;
  Sum sum[kChunk][pack] = {};

  // The products of the first `count` outputs of a strip.
  __device__ __forceinline__ void add(const Vector<T> (&stored_x)[kX],
                                      const Vector<T> (&stored_y)[kY], int count) {
    Sum x[kX][pack];
#pragma unroll
    for (int c = 0; c < kX; ++c) widen_vector<T>(stored_x[c], x[c]);
#pragma unroll
    for (int q = 0; q < kY; ++q) {
      if (q >= count) break;
      Sum y[pack];
      widen_vector<T>(stored_y[q], y);
#pragma unroll
      for (int u = 0; u < kChunk; ++u)
#pragma unroll
        for (int j = 0; j < pack; ++j) sum[u][j] += x[q * stride + u][j] * y[j];
    }
  }

  // The products of `left` lines from `line` on, where the strip begins at output o2 and the first
  // tap lies `tap` before its first output's input.
  __device__ __forceinline__ void add_lines(const Problem& p, const char* x_data,
                                            const View& x_view, const char* y_data,
                                            const View& y_view, const Tile& tile,
                                            const int (&tap)[3], int o2, int line, int left) {
    const int depth = int(p.axis[0].output_size), height = int(p.axis[1].output_size);
    const int width = int(p.axis[2].output_size), count = width - o2 < kY ? width - o2 : kY;
    const Window<T, kX> x_window(p.padding_mode, o2 * stride + tap[2], int(p.axis[2].input_size),
                                 tile.x_step);
    const Window<T, kY> y_window(PaddingMode::zeros, o2, width, tile.y_step);
    x_data += x_window.start(), y_data += y_window.start();
    unsigned rest = unsigned(line);
    int o1 = split_off(&rest, height), o0 = split_off(&rest, depth), n = int(rest);
#pragma unroll 1
    for (; left > 0; --left) {
      const int d = fold_inside(p.padding_mode, o0 * int(p.axis[0].stride) + tap[0],
                                int(p.axis[0].input_size));
      const int h = fold_inside(p.padding_mode, o1 * int(p.axis[1].stride) + tap[1],
                                int(p.axis[1].input_size));
      if (d >= 0 && h >= 0) {
        Vector<T> x[kX], y[kY];
        x_window.load(x_data + n * x_view.batch + d * x_view.axis[0] + h * x_view.axis[1], x);
        y_window.load(y_data + n * y_view.batch + o0 * y_view.axis[0] + o1 * y_view.axis[1], y);
        if (count == kY)
          add(x, y, kY);
        else
          add(x, y, count);
      }
      if (++o1 < height) continue;
      o1 = 0;
      if (++o0 < depth) continue;
      o0 = 0, ++n;
    }
  }
};

template <typename T, int taps, int stride>
__global__ void __launch_bounds__(kThreads, 4)
    sum_lines(Problem p, Operands operands, Tile tile, typename SumOf<T>::Type* sums) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kVector<T>, kChunk = taps_at_once(taps);
  allow_next_kernel();
  unsigned slice = threadIdx.x, part = blockIdx.x;
  const int vector = split_off(&slice, tile.channels), number = split_off(&slice, tile.block_tiles);
  const int first_channel = split_off(&part, tile.blocks_channels) * tile.channels * pack;
  const int first_tile = split_off(&part, tile.blocks_tiles) * tile.block_tiles;
  const int channel = first_channel + vector * pack, mine = first_tile + number;
  const int height = int(p.axis[1].kernel_size), width = int(p.axis[2].kernel_size);
  const int tap_line = mine / tile.chunks, first_tap = mine % tile.chunks * kChunk;
  const bool works = int(slice) < tile.slices && mine < tile.tiles;

  Taps<T, taps, stride> total;
  if (works && channel < int(p.groups)) {
    const int t0 = tap_line / height;
    const int tap[3] = {t0 * int(p.axis[0].dilation) - int(p.axis[0].padding),
                        (tap_line - t0 * height) * int(p.axis[1].dilation) - int(p.axis[1].padding),
                        first_tap - int(p.axis[2].padding)};
    // Slices of strips x lines as even as they come, strip by strip.
    const int slices = tile.slices * tile.parts,
              number_of_all = int(part) * tile.slices + int(slice);
    const int each = tile.strips * tile.lines / slices, more = tile.strips * tile.lines % slices;
    unsigned strip = unsigned(number_of_all * each + (number_of_all < more ? number_of_all : more));
    int line = split_off(&strip, tile.lines);
    for (int left = each + (number_of_all < more); left > 0; ++strip) {
      const int here = left < tile.lines - line ? left : tile.lines - line;
      total.add_lines(p, static_cast<const char*>(operands.input.data) + channel * int(sizeof(T)),
                      operands.input,
                      static_cast<const char*>(operands.output.data) + channel * int(sizeof(T)),
                      operands.output, tile, tap, int(strip) * kOutputs<T, stride>, line, here);
      line = 0, left -= here;
    }
  }

  // [slice][channel][tap], where the taps of a block's tiles lie end to end.
  const auto first_of = [&](int t) { return t / tile.chunks * width + t % tile.chunks * kChunk; };
  const int end_tile =
      first_tile + tile.block_tiles < tile.tiles ? first_tile + tile.block_tiles : tile.tiles;
  const int begin = first_of(first_tile), run = first_of(end_tile) - begin;
  const int each = tile.channels * pack * run;
  Sum* const all = dynamic_shared<Sum>();
  if (works) {
    Sum* const to = all + int(slice) * each + vector * pack * run + first_of(mine) - begin;
#pragma unroll
    for (int u = 0; u < kChunk; ++u)
      if (first_tap + u < width)
#pragma unroll
        for (int j = 0; j < pack; ++j) to[j * run + u] = total.sum[u][j];
  }
  __syncthreads();
  for (int slices = tile.slices; slices > 1;) {
    const int kept = (slices + 1) / 2;
    for (int at = int(threadIdx.x); at < (slices - kept) * each; at += kThreads)
      all[at] += all[at + kept * each];
    __syncthreads();
    slices = kept;
  }
  Sum* const to = sums + (int64_t(part) * p.groups + first_channel) * p.taps() + begin;
  for (int at = int(threadIdx.x); at < each; at += kThreads) {
    unsigned c = unsigned(at);
    const int tap = split_off(&c, run);
    if (first_channel + int(c) < int(p.groups)) to[int(c) * p.taps() + tap] = all[at];
  }
}

template <typename T, int taps, int stride>
Tile choose_tile(const Problem& p) {
  Tile tile;
  const int64_t vectors = ceil_div(p.groups, kVector<T>);
  tile.channels = channel_threads(vectors);
  tile.chunks = int(ceil_div(p.axis[2].kernel_size, taps_at_once(taps)));
  tile.tiles = int(p.axis[0].kernel_size * p.axis[1].kernel_size) * tile.chunks;
  const int items = kThreads / tile.channels;
  tile.blocks_tiles = int(ceil_div(tile.tiles, items));
  tile.block_tiles = int(ceil_div(tile.tiles, tile.blocks_tiles));
  tile.slices = items / tile.block_tiles;
  tile.strips = int(ceil_div(p.axis[2].output_size, kOutputs<T, stride>));
  tile.lines = int(p.batch * p.axis[0].output_size * p.axis[1].output_size);
  tile.blocks_channels = int(ceil_div(vectors, tile.channels));
  const int64_t wanted = ceil_div(kBlocks, int64_t(tile.blocks_channels) * tile.blocks_tiles);
  const int64_t most = int64_t(tile.strips) * tile.lines / (kLeastOfASlice * tile.slices);
  tile.parts = int(most < 1 ? 1 : wanted < most ? wanted : most);
  return tile;
}

}  // namespace

int64_t parts_channels_last(const Problem& given) {
  Problem p = given;
  Operands none;
  if (!depthwise_in_three_axes(&p, &none)) return 0;
  int64_t parts = 0;
  for_kernel_of(p, [&](auto typed, auto taps, auto stride) {
    parts = choose_tile<decltype(typed), decltype(taps)::value, decltype(stride)::value>(p).parts;
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
    operands.input = in_bytes<T>(operands.input), operands.output = in_bytes<T>(operands.output);
    Tile tile = choose_tile<T, kTaps, kStride>(p);
    tile.x_step = int(operands.input.axis[2]), tile.y_step = int(operands.output.axis[2]);
    const int64_t blocks = int64_t(tile.parts) * tile.blocks_channels * tile.blocks_tiles;
    const int64_t sums_bytes = int64_t(tile.slices) * tile.block_tiles * taps_at_once(kTaps) *
                               tile.channels * kVector<T> * int64_t(sizeof(Sum));
    launch(launch_of(blocks, kThreads, sums_bytes, context.stream), &sum_lines<T, kTaps, kStride>,
           p, operands, tile, static_cast<Sum*>(context.scratch));
    add_parts(given, views, context, tile.parts);
    return true;
  });
}

}  // namespace torchconv::cuda::channelwise
