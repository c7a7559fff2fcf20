// A tile of outputs of planes.cu: what a block computes, and what its shared memory holds.
#pragma once

#include <algorithm>

#include "cuda/algo/depthwise/box.h"

namespace torchconv::cuda::channelwise {

constexpr int kMostThreads = 128;
constexpr int kResident = 5;                        // blocks of a multiprocessor
constexpr int kMostItems = 1024;                    // of a tile
constexpr int64_t kEnoughBlocks = 132 * kResident;  // for an H100
constexpr int kMostShared = 96 << 10;   // bytes; two blocks on an sm_90, one on an sm_86
constexpr int kAmpleShared = 36 << 10;  // a tile is made smaller down to this while it can
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
  int planes, strips, row_blocks;  // outputs of a block: strips of kPack, blocks of kRows rows
  int items;                       // strips of kRows rows, of all planes and depths
  Divisor by_strips, by_row_blocks, by_depth;
  Box in;         // inputs they meet: planes and, of each, its channels
  Box out;        // the outputs
  int tap_pitch;  // of a line of taps, sums
  bool store_wide, through_shared;
  int64_t blocks_planes, blocks_depth, blocks_height, blocks_width;

  int64_t blocks() const { return blocks_planes * blocks_of_a_plane(); }
  int64_t blocks_of_a_plane() const { return blocks_depth * blocks_height * blocks_width; }
};

// Where the parts of a block's shared memory begin.
struct SharedPlaces {
  int64_t weights, in_tables, out_tables, out, bytes;
};
TORCHCONV_HOST_DEVICE inline SharedPlaces shared_places(const Problem& p, const Tile& tile,
                                                        int element, int sum) {
  SharedPlaces s;
  const int64_t tap_lines = tile.in.planes * p.axis[0].kernel_size * p.axis[1].kernel_size;
  s.weights = tile.in.bytes(element);
  s.in_tables = s.weights + round_up(sum * tap_lines * tile.tap_pitch, kVectorBytes);
  s.out_tables = s.in_tables + tile.in.table_bytes();
  s.out = s.out_tables + tile.out.table_bytes();
  s.bytes = s.out + (tile.through_shared ? tile.out.bytes(element) : 0);
  return s;
}

// Problems of one launch, which do not depend on each other.
struct Job {
  Problem p;
  Operands operands;
  Tile tile;
  int64_t blocks;
};
struct Jobs {
  Job job[kTogether];
};
static_assert(sizeof(Jobs) <= 4096, "a kernel's parameters");

// What a block of these outputs meets, and how its threads share the work.
template <typename T>
void set_sizes(const Problem& p, int64_t planes, int64_t depth, int64_t row_blocks, int64_t strips,
               int taps, Tile* tile) {
  const Axis *d = &p.axis[0], *h = &p.axis[1], *w = &p.axis[2];
  const int pack = kPack<T>, step = chunk(taps);
  const int64_t height = std::min<int64_t>(row_blocks * kRows<T>, h->output_size);
  tile->planes = int(planes), tile->strips = int(strips), tile->row_blocks = int(row_blocks);
  tile->items = int(planes * depth * row_blocks * strips);
  tile->by_strips = Divisor(strips), tile->by_row_blocks = Divisor(row_blocks);
  tile->by_depth = Divisor(depth);
  tile->in.set(planes * p.in_channels_per_group(),
               (depth - 1) * d->stride + (d->kernel_size - 1) * d->dilation + 1,
               (height - 1) * h->stride + h->kernel_size,
               (strips * pack - 1) * w->stride + w->kernel_size);
  // The last strip's last window reaches this far.
  const int64_t reach = (strips - 1) * pack * w->stride + round_up(w->kernel_size, step) - step +
                        window<T>(taps, int(w->stride));
  tile->in.pitch = int(round_up(std::max<int64_t>(reach, tile->in.width), pack));
  tile->out.set(planes, depth, height, strips * pack);
  tile->out.pitch = int(strips * pack + pack);  // a line may begin behind an aligned element
  tile->tap_pitch = int(round_up(w->kernel_size, step == 8 ? 8 : 4));
  tile->blocks_depth = ceil_div(d->output_size, depth);
  tile->blocks_height = ceil_div(h->output_size, height);
  tile->blocks_width = ceil_div(w->output_size, strips * pack);
  tile->blocks_planes = ceil_div(p.batch * p.out_channels, planes);
}

template <typename T>
int64_t shared_bytes(const Problem& p, const Tile& tile) {
  return shared_places(p, tile, sizeof(T), sizeof(typename SumOf<T>::Type)).bytes;
}

// The tile with the most work that shared memory holds and that leaves work for the whole device;
// false where not even the smallest fits.
template <typename T>
bool choose_tile(const Problem& p, int taps, Tile* tile) {
  const int64_t all_planes = p.batch * p.out_channels, channels = p.in_channels_per_group();
  const int64_t line = ceil_div(p.axis[2].output_size, kPack<T>);
  const int64_t lines = ceil_div(p.axis[1].output_size, kRows<T>);
  const bool one_line = p.axis[1].output_size * p.axis[0].output_size == 1;
  constexpr int64_t kOfPlane = 256;  // items
  int64_t strips = even(line, one_line ? kMostItems : 32);
  int64_t rows = even(lines, kOfPlane / strips);
  int64_t depth = even(p.axis[0].output_size, kOfPlane / (strips * rows));
  int64_t planes =
      std::min({kMostItems / (strips * rows * depth), kMostPlanes / channels, all_planes});
  if (planes < 1) planes = 1;
  set_sizes<T>(p, planes, depth, rows, strips, taps, tile);
  planes = std::min(planes, ceil_div(all_planes * tile->blocks_of_a_plane(), kEnoughBlocks));
  for (;;) {
    set_sizes<T>(p, planes, depth, rows, strips, taps, tile);
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

}  // namespace torchconv::cuda::channelwise
