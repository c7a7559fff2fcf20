// direct, forward: the sums of a block of output lines stay in registers while all taps go by.
#include "algo/direct/parts.h"
#include "micro/lines_tasks.h"

namespace torchconv::direct_detail {
namespace {

constexpr int64_t kSumsElements = 4096;
constexpr int64_t kLeastSumLines = 8;
constexpr int64_t kManyTapRows = 7;
constexpr int64_t kEdgeLines = 4;  // of a stretch of lines that see some of the taps' rows

template <typename T>
struct SlidePlan : LinesPlan {
  int64_t taps, sum_lines;
  explicit SlidePlan(const Problem& p) : LinesPlan(plan_of<T>(p)) {
    taps = planes * channels * p.taps();
    sum_lines = std::max(kSumsElements / columns, kLeastSumLines);
  }
};

template <typename T>
struct SlideWorker {
  int64_t* along;
  TapRows *rows, *seen;
  T* lines;
  T* weights;  // [tap]
  T* sums;     // [line][column] of the output
  SlideWorker(const SlidePlan<T>& plan, Arena* arena) {
    along = arena->take<int64_t>(plan.column.kernel_size);
    rows = arena->take<TapRows>(plan.images * plan.tap_classes());
    seen = arena->take<TapRows>(plan.images * plan.tap_classes());
    lines = arena->take<T>(plan.lines_elements());
    weights = arena->take<T>(plan.taps);
    sums = arena->take<T>(plan.sum_lines * plan.columns);
  }
};

template <typename T>
struct Slide : LinesEngine<T, SlidePlan<T>> {
  using Worker = SlideWorker<T>;
  using Base = LinesEngine<T, SlidePlan<T>>;
  using Base::Base, Base::p, Base::operands, Base::plan, Base::weight, Base::output, Base::padded,
      Base::taps_grid;
  const bool writes_in_place = is_plain<T>(output, output.stride.axis[p.axes - 1]) &&
                               !operands.accumulate && p.activation == Activation::none;

  // The rows of taps that meet the input at a place, class by class.
  Taps taps_at(const Place& place, const Worker& worker) const {
    plan.fill_along(worker.along);
    Taps taps{worker.rows, 0, plan.weight_row, worker.along, plan.column.kernel_size};
    for (int64_t image = 0; image < plan.images; ++image) {
      int64_t offset = 0;
      if (!padded.meets(place, image % plan.outer_taps, &offset)) continue;
      for (int64_t h = 0; h < plan.tap_classes(); ++h)
        worker.rows[taps.count++] = {
            image * plan.image_elements() + h * plan.line.dilation * plan.line_length(),
            (image * plan.line.kernel_size + h) * plan.column.kernel_size,
            ceil_div(plan.line.kernel_size - h, plan.tap_step)};
    }
    return taps;
  }

  // The first of the input's lines, counted from line 0 of a place, that row `rows` of taps meets at
  // output line r of it; lies where its offset says.
  int64_t first_line(const Place& place, const TapRows& rows, int64_t r) const {
    const int64_t in_image = rows.offset % plan.image_elements() / plan.line_length();
    return (place.line + r) * plan.line.stride - plan.line.padding + in_image;
  }

  // Where the taps have many rows, lines near the edge meet some in the padding, and pass over
  // those. Calls f(l, lines, taps) for stretches of lines r, r + line_step, ...
  template <typename F>
  void for_each_seen(const Place& place, const Taps& taps, int64_t r, int64_t lines,
                     const Worker& worker, const F& f) const {
    const bool skips = plan.line.kernel_size >= kManyTapRows && plan.x_step > 0 &&
                       p.padding_mode == PaddingMode::zeros;
    if (!skips) return f(0, lines, taps);
    int64_t begin = 0, end = lines;  // of the lines that see all rows
    for (int64_t c = 0; c < taps.count; ++c) {
      const int64_t first = first_line(place, taps.classes[c], r);
      const int64_t last = first + (taps.classes[c].rows - 1) * plan.x_step;
      begin = std::max(begin, first < 0 ? ceil_div(-first, plan.x_step) : 0);
      const int64_t room = plan.line.input_size - 1 - last;
      end = std::min(end, room < 0 ? 0 : room / plan.x_step + 1);
    }
    begin = std::min(begin, lines);
    if (begin < end) end = std::max(end, begin);
    const Taps seen{worker.seen, taps.count, taps.weight_row, taps.along, taps.columns};
    for (int64_t l = 0, next; l < lines; l = next) {
      if (l == begin && begin < end) {
        f(l, (next = end) - l, taps);
        continue;
      }
      next = std::min(l + kEdgeLines, l < begin && begin < end ? begin : lines);
      for (int64_t c = 0; c < taps.count; ++c) {
        const TapRows& rows = taps.classes[c];
        const int64_t first = first_line(place, rows, r);
        // Of the rows k, which lie at first + (l + k) * x_step.
        const int64_t low = -(first + (next - 1) * plan.x_step);
        const int64_t high = plan.line.input_size - 1 - first - l * plan.x_step;
        const int64_t k0 = low > 0 ? std::min(ceil_div(low, plan.x_step), rows.rows) : 0;
        const int64_t k1 = high < 0 ? 0 : std::min(high / plan.x_step + 1, rows.rows);
        worker.seen[c] = {rows.offset + k0 * plan.x_step * plan.line_length(),
                          rows.weight + k0 * taps.weight_row, std::max<int64_t>(k1 - k0, 0)};
      }
      f(l, next - l, seen);
    }
  }

  // Slides the packed weights over the lines of a place; `offset` is its first output's.
  void make_lines(const Place& place, const Taps& taps, T start, int64_t offset,
                  const Worker& worker) const {
    const int64_t down = line_step(p, output);
    const int64_t x_row = plan.x_step * plan.line_length();
    int64_t r = 0;
    const auto slide = [&](const T* x, int64_t first, int64_t lines, T* y, int64_t y_row) {
      for_each_seen(place, taps, r + first * plan.line_step, lines, worker,
                    [&](int64_t l, int64_t some, const Taps& seen) {
                      kernels<T>().slide(seen, worker.weights, x + l * x_row, x_row, start, some,
                                         place.columns, y + l * y_row, y_row);
                    });
    };
    for (; r < std::min(plan.line_step, place.lines); ++r) {
      const int64_t lines = ceil_div(place.lines - r, plan.line_step);
      const int64_t apart = lines > 1 ? plan.line_step * down : 0;
      const T* const x = worker.lines + (r > 0 ? r * plan.line.stride * plan.line_length() : 0);
      char* const y = output.at(offset + r * down);
      if (writes_in_place) {
        slide(x, 0, lines, reinterpret_cast<T*>(y), apart);
        continue;
      }
      for (int64_t l = 0; l < lines; l += plan.sum_lines) {
        const int64_t some = std::min(plan.sum_lines, lines - l);
        slide(x + (l > 0 ? l * x_row : 0), l, some, worker.sums, plan.columns);
        const Lines to{y + l * apart * output.bytes, some, apart, place.columns,
                       output.stride.axis[p.axes - 1]};
        kernels<T>().scatter(output.store, worker.sums, plan.columns,
                             Finish{operands.accumulate, p.activation}, to);
      }
    }
  }

  // One place of a block of pairs.
  void task(const Place& place, const Pairs& pairs, int64_t block, const Worker& worker) const {
    padded.clear(worker.lines);
    const Taps taps = taps_at(place, worker);
    const int64_t offset = offset_of(p, output, place);
    const int64_t first = block * pairs.per_block;
    const int64_t end = std::min(first + pairs.per_block, pairs.count);
    for (int64_t pair = first; pair < end; ++pair) {
      const int64_t n = pair / p.groups, g = pair % p.groups;
      padded.pack(place, n, g, worker.lines);
      for (int64_t co = 0; co < p.out_channels_per_group(); ++co)
        for (int64_t q = 0; q < plan.planes; ++q) {
          pack_weights(weight, taps_grid, g, co, q, worker.weights);
          make_lines(place, taps, start_of<T>(p, operands, g, co, q),
                     offset + q + n * output.stride.batch + g * output.stride.group +
                         co * output.stride.out_channel,
                     worker);
        }
    }
  }
};

template <typename T>
int64_t worker_bytes(const Problem& p) {
  const int64_t padded = padded_bytes<Slide<T>>(p);
  if constexpr (std::is_floating_point_v<T>)
    if (slides_in_place(p) && !writes_nothing(p)) return std::max(padded, in_place_bytes<T>(p));
  return padded;
}

}  // namespace

template <typename T>
void run_forward(const Problem& p, const Operands& operands, const Context& all_threads) {
  // As many as there is scratch for: the parts of a result may have more products than it has.
  Context context = all_threads;
  context.threads = workers_for(p, context.threads);
  if constexpr (std::is_floating_point_v<T>)
    if (slides_in_place(p)) {
      for_each_forward(p, operands, [&](const Problem& q, const Operands& views) {
        if (writes_nothing(q)) return;
        lies_in_place(q, views) ? run_in_place<T>(q, views, context)
                                : run_padded<Slide<T>>(q, views, context);
      });
      return;
    }
  run_padded<Slide<T>>(p, operands, context);
}

template <typename T>
int64_t forward_scratch(const Problem& p, int threads) {
  return largest(p, worker_bytes<T>) * workers_for(p, threads);
}

template void run_forward<float>(const Problem&, const Operands&, const Context&);
template void run_forward<double>(const Problem&, const Operands&, const Context&);
template void run_forward<uint16_t>(const Problem&, const Operands&, const Context&);
template void run_forward<uint32_t>(const Problem&, const Operands&, const Context&);
template void run_forward<uint64_t>(const Problem&, const Operands&, const Context&);
template int64_t forward_scratch<float>(const Problem&, int);
template int64_t forward_scratch<double>(const Problem&, int);
template int64_t forward_scratch<uint16_t>(const Problem&, int);
template int64_t forward_scratch<uint32_t>(const Problem&, int);
template int64_t forward_scratch<uint64_t>(const Problem&, int);

}  // namespace torchconv::direct_detail
