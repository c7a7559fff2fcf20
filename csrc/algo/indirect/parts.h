// The ways of indirect: each makes some results of some problems.
#pragma once

#include <string>

#include "micro/lines_tasks.h"

namespace torchconv::indirect_detail {

constexpr int64_t kLinesKept = 96 << 10;   // bytes of lines that a place keeps, in an L2 cache
constexpr int64_t kMostBytes = 512 << 10;  // of lines, and of weights and offsets, of a group

// Seconds, as costs count them.
constexpr double kProduct = 1.7e-10;  // of a vector
constexpr double kPack = 3e-10;       // of an element, to the packed lines
constexpr double kStridedPack = 4.5e-10;
constexpr double kPackAgain = 1e-10;  // for another part of the result
constexpr double kLine = 5e-9;        // of each channel's line
constexpr double kMap = 3e-7;         // of an image of a group
constexpr double kTurned = 3e-9;      // of a vector of channels that lie far apart in memory
constexpr double kPlaces = 1.15;      // times kProduct, where elements are found one by one

struct Way {
  std::string (*refuses)(const Problem& problem);
  double (*seconds)(const Problem& problem);
  int64_t (*scratch_bytes)(const Problem& problem, int threads);
  void (*run)(const Problem& problem, const Operands& operands, const Context& context);
};

extern const Way by_lines;     // vectors of positions
extern const Way by_channels;  // vectors of output channels
extern const Way by_weight;    // the same, whose sums are the weight's

// Seconds to pack a weight, and a vector of weights of channels. Pairs are put together one by one.
template <typename T>
constexpr double kPackWeight = kChannelsOf<T> > 1 ? 3e-9 : 1e-9;
template <typename T>
constexpr double kTurnWeights = kChannelsOf<T> > 1 ? 1.5e-8 : kTurned;

// Calls f with a zero of what a product takes of the dtype: pairs of channels, where the machine
// multiplies bfloat16.
template <typename F>
auto in_product_type(DType dtype, const F& f) {
  if (dtype == DType::bfloat16 && kernels<BFloat16Pair>().lanes > 0) return f(BFloat16Pair{});
  return in_compute_type(dtype, f);
}

// The way of an engine (micro/lines_tasks.h) that says of itself, too,
//
//     refuses(problem)           of any result
//     seconds(problem, again)    of a forward problem, the first of a result or another
template <template <typename> typename Engine>
constexpr Way way_of() {
  return {[](const Problem& p) {
            return in_product_type(p.dtype, [&]<typename T>(T) { return Engine<T>::refuses(p); });
          },
          [](const Problem& p) {
            double sum = 0;
            for_each_forward(p, Operands{}, [&](const Problem& q, const Operands&) {
              sum += in_product_type(q.dtype,
                                     [&]<typename T>(T) { return Engine<T>::seconds(q, sum > 0); });
            });
            return sum;
          },
          [](const Problem& p, int threads) {
            return in_product_type(p.dtype, [&]<typename T>(T) {
              return largest(p, padded_bytes<Engine<T>>) * workers_for(p, threads);
            });
          },
          [](const Problem& p, const Operands& operands, const Context& context) {
            Context own = context;
            own.threads = workers_for(p, context.threads);  // as many as there is scratch for
            in_product_type(p.dtype,
                            [&]<typename T>(T) { run_padded<Engine<T>>(p, operands, own); });
          }};
}

// Pairs that share their packed weights: an image of each, where there are enough groups to share out.
inline int64_t pairs_of_group(const Problem& p) {
  return p.groups >= kTasksWanted ? std::max<int64_t>(p.batch, 1) : 1;
}

// Where each (image, tap) finds what the first output meets. Images that an outer tap does not meet
// stay zero. `along` has room for a line of taps.
inline void fill_offsets(const LinesPlan& plan, int64_t* along, int64_t* to) {
  plan.fill_along(along);
  for (int64_t image = 0; image < plan.images; ++image)
    for (int64_t h = 0; h < plan.line.kernel_size; ++h)
      for (int64_t t = 0; t < plan.column.kernel_size; ++t)
        *to++ =
            image * plan.image_elements() + h * plan.line.dilation * plan.line_length() + along[t];
}

// Of all images and groups: the lines packed, for the first time or `again`.
inline double pack_seconds(const Problem& p, const LinesPlan& plan, bool again) {
  return double(p.batch) * double(p.groups) * double(plan.places()) * double(plan.images) *
         double(plan.image_elements()) *
         (again              ? kPackAgain
          : plan.spacing > 1 ? kStridedPack
                             : kPack);
}

// Why a plan's parts are too large, or nothing.
inline std::string refuses_bytes(const char* what, double bytes) {
  if (bytes <= kMostBytes) return "";
  return what + (" of " + std::to_string(int64_t(bytes))) + " bytes (indirect keeps at most " +
         std::to_string(kMostBytes) + ")";
}

// A group's output channels as vectors, each plane's by itself, in blocks that a tile takes at once.
struct ChannelVectors {
  int64_t channels, lanes, per_plane, count, blocks;

  ChannelVectors(const Problem& p, int64_t lanes_of_one, int64_t most)
      : channels(p.out_channels_per_group()),
        lanes(lanes_of_one),
        per_plane(ceil_div(channels, lanes)),
        count(planes_of(p.dtype) * per_plane),
        blocks(ceil_div(count, most)) {}

  int64_t begin(int64_t block) const { return count * block / blocks; }
  int64_t width(int64_t block) const { return begin(block + 1) - begin(block); }
  int64_t plane(int64_t v) const { return v / per_plane; }
  int64_t first(int64_t v) const { return v % per_plane * lanes; }  // channel
  int64_t size(int64_t v) const { return std::min(lanes, channels - first(v)); }
};

// Lines of which single elements are found, positions a stride apart; unless taps skip some.
inline bool has_whole_lines(const Axis& x) { return x.stride <= x.kernel_size; }

template <typename T>
struct PlacesPlan : LinesPlan {
  ChannelVectors vectors;
  int64_t depth;  // taps of an output channel, planes counted

  explicit PlacesPlan(const Problem& p)
      : LinesPlan(plan_of<T>(p, kLinesKept, /*whole=*/has_whole_lines(p.axis[p.axes - 1]))),
        vectors(p, lanes, kernels<T>().vectors),
        depth(images * line.kernel_size * column.kernel_size) {}

  // Where the positions of some lines find what their first tap meets, from the first one's.
  void fill_places(int64_t some_lines, int64_t some_columns, int64_t* to) const {
    for (int64_t l = 0; l < some_lines; ++l)
      for (int64_t c = 0; c < some_columns; ++c)
        *to++ = l * line.stride * line_length() + c * column_step();
  }
  // Of so many positions, or taps, as tiles; block by block of all vectors.
  int64_t tile_rows(int64_t block) const {
    return kernels<T>().place_rows[vectors.width(block) - 1];
  }
};

// Seconds of a product of a vector of every block with an element.
template <typename T>
double product_seconds(const PlacesPlan<T>& plan) {
  double sum = 0;
  for (int64_t b = 0; b < plan.vectors.blocks; ++b) {
    const double width = double(plan.vectors.width(b)), rows = double(plan.tile_rows(b));
    // Of a tile: products, and the loads of their factors, two at a time.
    sum += kProduct * kPlaces * std::max(width, (width / rows + 1) / 2);
  }
  return sum;
}

}  // namespace torchconv::indirect_detail
