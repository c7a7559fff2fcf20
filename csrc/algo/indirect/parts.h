// The ways of indirect: each makes some results of some problems.
#pragma once

#include <string>

#include "micro/lines_tasks.h"
#include "micro/matrices.h"

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
extern const Way by_matrices;  // strips of positions

// Seconds to pack a weight, and a vector of weights of channels. Pairs are put together one by one.
template <typename T>
constexpr double kPackWeight = kChannelsOf<T> > 1 ? 3e-9 : 1e-9;
template <typename T>
constexpr double kTurnWeights = kChannelsOf<T> > 1 ? 1.5e-8 : kTurned;

// Calls f with a zero of what a product of vectors takes of the dtype: pairs of channels, where the
// machine multiplies bfloat16. One that multiplies matrices of it takes twice the time of float for its
// vectors (measured on an Emerald Rapids).
template <typename F>
auto in_product_type(DType dtype, const F& f) {
  if (dtype == DType::bfloat16 && kernels<BFloat16Pair>().lanes > 0 && !has_matrices<BFloat16>())
    return f(BFloat16Pair{});
  return in_compute_type(dtype, f);
}

// What a way is of an engine (micro/lines_tasks.h) that says of itself, too,
//
//     refuses(problem)           of any result
//     seconds(problem, again)    of a forward problem, the first of a result or another
template <typename Engine, typename... More>
double seconds_of(const Problem& p, More... more) {
  double sum = 0;
  for_each_forward(p, Operands{}, [&](const Problem& q, const Operands&) {
    sum += Engine::seconds(q, sum > 0, more...);
  });
  return sum;
}
template <typename Engine>
int64_t scratch_of(const Problem& p, int threads) {
  return largest(p, padded_bytes<Engine>) * workers_for(p, threads);
}
template <typename Engine>
void run_of(const Problem& p, const Operands& operands, const Context& context) {
  Context own = context;
  own.threads = workers_for(p, context.threads);  // as many as there is scratch for
  run_padded<Engine>(p, operands, own);
}

// The way of an engine of each type.
template <template <typename> typename Engine>
constexpr Way way_of() {
  return {
      [](const Problem& p) {
        return in_product_type(p.dtype, [&]<typename T>(T) { return Engine<T>::refuses(p); });
      },
      [](const Problem& p) {
        return in_product_type(p.dtype, [&]<typename T>(T) { return seconds_of<Engine<T>>(p); });
      },
      [](const Problem& p, int threads) {
        return in_product_type(p.dtype,
                               [&]<typename T>(T) { return scratch_of<Engine<T>>(p, threads); });
      },
      [](const Problem& p, const Operands& operands, const Context& context) {
        in_product_type(p.dtype, [&]<typename T>(T) { run_of<Engine<T>>(p, operands, context); });
      }};
}

// Pairs that share their packed weights: an image of each, where there are enough groups to share out.
inline int64_t pairs_of_group(const Problem& p) {
  return p.groups >= kTasksWanted ? std::max<int64_t>(p.batch, 1) : 1;
}

// How a class of lines (LinesPlan::line_step) becomes vectors: each line by itself, or all as one
// that goes on over what lies between them, where that makes fewer.
struct Strip {
  int64_t lines, columns, row;  // of lines, from one to the next in the packed lines
  int64_t per_line;             // vectors; 0 where all lines are one
  int64_t vectors;

  Strip(int64_t lines_of_class, int64_t columns_of_line, int64_t row_step, int64_t lanes);
  // Where vector v starts in the packed lines, and line l in the sums.
  int64_t start(int64_t v, int64_t lanes) const;
  int64_t sums_row(int64_t lanes) const;
};

// Calls f(strip, x, offset, apart) for the strips of a place: its first line at x in the packed lines and
// at `offset` from the place's in the output, where lines are `down` apart and the strip's `apart`.
template <typename F>
void for_each_strip(const LinesPlan& plan, int64_t strip_lines, const Place& place, int64_t down,
                    const F& f) {
  const int64_t x_row = plan.x_step * plan.line_length();
  for (int64_t r = 0; r < std::min(plan.line_step, place.lines); ++r) {
    const int64_t lines = ceil_div(place.lines - r, plan.line_step);
    const int64_t apart = lines > 1 ? plan.line_step * down : 0;
    const int64_t x = r > 0 ? r * plan.line.stride * plan.line_length() : 0;
    for (int64_t l = 0; l < lines; l += strip_lines)
      f(Strip(std::min(strip_lines, lines - l), place.columns, x_row, plan.lanes),
        l > 0 ? x + l * x_row : x, r * down + l * apart, apart);
  }
}

// An image and a group of a block of pairs, and whether the group is another than the last pair's.
struct ImageOfGroup {
  int64_t n, g;
  bool is_new;
};
ImageOfGroup pair_of(const Problem& p, int64_t pair, int64_t first);

// Calls f(n, g, is_new) for the pairs of a block.
template <typename F>
void for_each_pair(const Problem& p, const Pairs& pairs, int64_t block, const F& f) {
  const int64_t first = block * pairs.per_block;
  const int64_t end = std::min(first + pairs.per_block, pairs.count);
  for (int64_t pair = first; pair < end; ++pair) {
    const ImageOfGroup at = pair_of(p, pair, first);
    f(at.n, at.g, at.is_new);
  }
}
inline int64_t offset_of(const Problem& p, const Reals& output, const Place& place, int64_t n,
                         int64_t g) {
  return offset_of(p, output, place) + n * output.stride.batch + g * output.stride.group;
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
inline std::string refuses_bytes(const char* what, double bytes, int64_t most = kMostBytes) {
  if (bytes <= double(most)) return "";
  return what + (" of " + std::to_string(int64_t(bytes))) + " bytes (indirect keeps at most " +
         std::to_string(most) + ")";
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
