// How a gemm by input is cut: the slots of an axis, and the blocks of X and of G (input.cpp).
#pragma once

#include "algo/gemm/parts.h"

namespace torchconv::gemm_detail {

constexpr int64_t kResultBytes = 512 << 10;   // of X, a block
constexpr int64_t kRowsWanted = 256;          // of G, which share a piece of Y
constexpr int64_t kProductBytes = 512 << 10;  // of G, a piece
constexpr int64_t kLeastRows = 64;
constexpr int64_t kLeastPositions = 96;  // of a band
constexpr int64_t kGapsFilled = 2;       // slots for each that a tap meets

// One axis of X as slots: tap t adds to slot t % slots from shift(t) on.
struct SlottedAxis {
  Axis axis;
  int64_t slots, length;  // of a slot

  explicit SlottedAxis(const Axis& x) : axis(x) {
    slots = std::min(tap_classes(x), x.kernel_size);
    // A few slots without a tap cost less, as zeros, than to write the zeros between the others.
    if (tap_classes(x) == x.stride && x.stride <= kGapsFilled * slots) slots = x.stride;
    length = x.output_size + shift(x.kernel_size - 1);
  }
  int64_t shift(int64_t t) const { return t * axis.dilation / axis.stride; }
  int64_t residue(int64_t slot) const { return slot * axis.dilation % axis.stride; }
  // The steps u at which a slot lies inside the input: its index is u * stride - low.
  int64_t low(int64_t slot) const { return axis.padding - residue(slot); }
  Inside steps(int64_t slot) const {
    const int64_t high = low(slot) + axis.input_size - 1;
    return {low(slot) > 0 ? ceil_div(low(slot), axis.stride) : 0,
            high < 0 ? 0 : high / axis.stride + 1};
  }
  // Whether every index of the input lies in a slot.
  bool covers() const {
    return slots == axis.stride && axis.padding >= 0 &&
           (axis.padding + axis.input_size - 1) / axis.stride < length;
  }
};

// How a by-input problem is cut. None of it depends on the threads.
template <typename T>
struct InputPlan {
  int workers;
  int64_t planes, products, taps, depth, chunk;
  int64_t channels, channel_blocks, images, image_blocks, band, bands;  // of a block, and blocks
  int64_t inner[kMaxAxes], image;    // elements of one step along an axis of slots; of all of them
  int64_t positions, columns, rows;  // of G: of a block, and of a piece of it
  int64_t packed_rows;               // of W at a time

  InputPlan(const Problem& p, int threads) {
    const int64_t lanes = kernels<T>().lanes, tile_rows = kernels<T>().rows;
    workers = workers_for(p, threads);
    planes = planes_of(p.dtype);
    taps = p.taps();
    products = products_of(planes);
    depth = p.out_channels_per_group();
    chunk = depth_chunk<T>(depth, planes);
    const SlottedAxis first(p.axis[0]);
    const int64_t reach = first.length - p.axis[0].output_size;
    inner[p.axes - 1] = 1;
    for (int a = p.axes - 1; a > 0; --a) {
      const SlottedAxis x(p.axis[a]);
      inner[a - 1] = inner[a] * x.slots * x.length;
    }
    const int64_t all = p.in_channels_per_group();
    channels = std::clamp<int64_t>(kRowsWanted / taps, 1, all);
    images = bands = 1;
    band = first.length;
    const auto bytes = [&] {
      return channels * planes * first.slots * band * inner[0] * int64_t(sizeof(Sum<T>));
    };
    const auto tasks = [&] { return p.groups * ceil_div(all, channels) * p.batch * bands; };
    const auto halve_channels = [&] {
      if (channels == 1 || channels * taps < 2 * kLeastRows) return false;
      channels = ceil_div(channels, 2);
      return true;
    };
    const auto halve_band = [&](int64_t least) {
      if (band <= least) return false;
      band = ceil_div(band, 2);
      bands = ceil_div(first.length, band);
      return true;
    };
    while (bytes() > kResultBytes)
      if (!halve_channels() && !halve_band(1)) break;
    // Each band packs the weights anew, and computes again what it shares with its neighbours.
    const int64_t per_line = p.output_positions() / p.axis[0].output_size;
    const int64_t least_band = std::max(8 * (reach + 1), 2 * kLeastPositions / per_line - 1);
    while (tasks() < kTasksWanted)
      if (!halve_channels() && !halve_band(least_band)) break;
    image = first.slots * band * inner[0];
    const int64_t per_image = p.output_positions();
    while (bands == 1 && images < p.batch && images * per_image < kMostColumns &&
           2 * images * bytes() <= kResultBytes && tasks() >= 2 * images * kTasksWanted)
      images *= 2;
    images = std::min(images, p.batch);
    channel_blocks = ceil_div(all, channels);
    image_blocks = ceil_div(p.batch, images);

    const int64_t lines = std::min(band + reach, p.axis[0].output_size);
    positions = images * lines * (per_image / p.axis[0].output_size);
    const int64_t chunk_bytes = products * chunk * int64_t(sizeof(T));
    const int64_t most_columns =
        round_down(std::min(planes * kBlockBytes / chunk_bytes, kMostColumns), lanes);
    columns = round_up(ceil_div(positions, ceil_div(positions, most_columns)), lanes);
    const auto fit = [&](int64_t all_bytes, int64_t row_bytes) {
      return std::min(channels * taps, round_down(all_bytes / row_bytes, tile_rows));
    };
    rows = fit(kProductBytes, products * columns * int64_t(sizeof(Sum<T>)));
    packed_rows = std::min(rows, fit(kBlockBytes, chunk_bytes));
  }
  int64_t tasks(const Problem& p) const { return p.groups * channel_blocks * image_blocks * bands; }
};

}  // namespace torchconv::gemm_detail
