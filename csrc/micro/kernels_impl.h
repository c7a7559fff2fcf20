// The hot loops, compiled once per target: see kernels.h for what each function promises.

namespace torchconv::TORCHCONV_TARGET {

#include "micro/simd.h"

#include "micro/fft_impl.h"
#include "micro/slide_impl.h"
#include "micro/tile_impl.h"
#include "micro/activation_impl.h"
#include "micro/gather_impl.h"

// Stores up to a vector of elements that are contiguous in memory.
template <typename T, typename Stored>
inline void put(Stored* to, Vec<T> v, Finish finish, int64_t count) {
  const Stored* const at = to;
  if (finish.activation != Activation::none) v = activated<T>(v, finish.activation);
  if (count < kLanes<T>)
    store_part<T, Stored>(to, finish.add ? load_part<T, Stored>(at, count) + v : v, count);
  else
    store_full<T>(to, finish.add ? load_full<T>(at) + v : v);
}
// One element.
template <typename T, typename Stored>
inline void put_one(Stored* to, T x, Finish finish) {
  if (finish.activation != Activation::none) x = activated<T>(Vec<T>{} + x, finish.activation)[0];
  narrow(finish.add ? widen<T>(*to) + x : x, to);
}

#include "micro/in_place_impl.h"
#include "micro/winograd_impl.h"

// Rows of sums become columns of memory where that is contiguous across them: channels innermost.
template <typename T, typename Stored>
void scatter_turned(const T* from, int64_t from_row, Finish finish, const Lines& to) {
  constexpr int lanes = kLanes<T>;
  for (int64_t r = 0; r < to.rows; r += lanes)
    for (int64_t k = 0; k < to.count; k += lanes) {
      const int64_t rows = to.rows - r < lanes ? to.rows - r : lanes;
      const int64_t count = to.count - k < lanes ? to.count - k : lanes;
      Vec<T> v[lanes] = {};
      const T* const first = from + r * from_row + k;
      if (rows == lanes && count == lanes) {
        load_turned<T>(first, from_row, v);
      } else {
        for (int64_t i = 0; i < rows; ++i) {
          const T* const at = first + i * from_row;
          v[i] = count < lanes ? load_part<T, T>(at, count) : load(at);
        }
        zip_all<T, lanes>(v);
      }
      Stored* const at = static_cast<Stored*>(to.data) + r + k * to.step;
      for (int64_t i = 0; i < count; ++i) put<T>(at + i * to.step, v[i], finish, rows);
    }
}

// Two rows of sums are every other element of one line of memory.
template <typename T, typename Stored>
void scatter_pairs(const T* from, int64_t from_row, Finish finish, const Lines& to) {
  constexpr int lanes = kLanes<T>;
  for (int64_t k = 0; k < to.count; k += lanes) {
    const int64_t count = to.count - k < lanes ? to.count - k : lanes;
    Vec<T> v[2];
    for (int r = 0; r < 2; ++r)
      v[r] = count < lanes ? load_part<T, T>(from + r * from_row + k, count)
                           : load(from + r * from_row + k);
    zip_all<T, 2>(v);
    Stored* const at = static_cast<Stored*>(to.data) + 2 * k;
    put<T>(at, v[0], finish, 2 * count);
    if (2 * count > lanes) put<T>(at + lanes, v[1], finish, 2 * count - lanes);
  }
}

template <typename T, typename Stored>
void scatter_lines(const T* from, int64_t from_row, Finish finish, const Lines& to) {
  if (to.row == 1 && to.step > 1 && to.rows > 1 && 2 * to.rows >= kLanes<T>)
    return scatter_turned<T, Stored>(from, from_row, finish, to);
  if (to.row == 1 && to.rows == 2 && to.step == 2)
    return scatter_pairs<T, Stored>(from, from_row, finish, to);
  Stored* line = static_cast<Stored*>(to.data);
  if (to.step == 2 && !finish.add && finish.activation == Activation::none) {
    for (int64_t r = 0; r < to.rows; ++r, line += to.row, from += from_row)
      for (int64_t k = 0; k < to.count; k += kLanes<T>) {
        const int64_t left = to.count - k;
        store_even<T>(line + 2 * k,
                      left < kLanes<T> ? load_part<T, T>(from + k, left) : load(from + k),
                      left < kLanes<T> ? left : kLanes<T>);
      }
    return;
  }
  const int64_t whole = to.count / kLanes<T> * kLanes<T>, rest = to.count - whole;
  for (int64_t r = 0; r < to.rows; ++r, line += to.row, from += from_row) {
    if (to.step != 1) {
      for (int64_t k = 0; k < to.count; ++k) put_one(line + k * to.step, from[k], finish);
      continue;
    }
    for (int64_t k = 0; k < whole; k += kLanes<T>)
      put<T>(line + k, load(from + k), finish, kLanes<T>);
    if (rest) put<T>(line + whole, load_part<T, T>(from + whole, rest), finish, rest);
  }
}

#include "micro/lanes_impl.h"
#include "micro/planes_impl.h"

// Calls f with a pointer of the stored type; T tells which stored types there are. A signed number
// that is not extended is the unsigned one of its bits.
template <typename F>
inline void with_stored(Store store, float, const F& f) {
  if (store == Store::bf16) return f(static_cast<BFloat16*>(nullptr));
  if (store == Store::f16) return f(static_cast<Float16*>(nullptr));
  f(static_cast<float*>(nullptr));
}
template <typename F>
inline void with_stored(Store, double, const F& f) {
  f(static_cast<double*>(nullptr));
}
template <typename F>
inline void with_stored(Store store, uint16_t, const F& f) {
  if (store == Store::u8) return f(static_cast<uint8_t*>(nullptr));
  if (store == Store::i8) return f(static_cast<int8_t*>(nullptr));
  f(static_cast<uint16_t*>(nullptr));
}
template <typename F>
inline void with_stored(Store, uint32_t, const F& f) {
  f(static_cast<uint32_t*>(nullptr));
}
template <typename F>
inline void with_stored(Store, uint64_t, const F& f) {
  f(static_cast<uint64_t*>(nullptr));
}

#include "micro/dots_impl.h"

template <typename T>
void gather(Store stored, const Lines& from, T* to, int64_t to_row) {
  with_stored(stored, T(),
              [&]<typename Stored>(Stored*) { gather_lines<T, Stored>(from, to, to_row); });
}
template <typename T>
void interleave(Store stored, const Lines& from, T sign, T* to, int64_t to_row, int64_t to_step) {
  with_stored(stored, T(), [&]<typename Stored>(Stored*) {
    interleave_lines<T, Stored>(from, sign, to, to_row, to_step);
  });
}
template <typename T>
void scatter(Store stored, const T* from, int64_t from_row, Finish finish, const Lines& to) {
  with_stored(stored, T(), [&]<typename Stored>(Stored*) {
    scatter_lines<T, Stored>(from, from_row, finish, to);
  });
}

template <typename T>
void slide_planes(Store stored, const SlidePlanes& planes, const void* x, const T* weight, T start,
                  Activation activation, T* window, void* y) {
  with_stored(stored, T(), [&]<typename Stored>(Stored*) {
    slide_planes_of<T, Stored>(planes, x, weight, start, activation, window, y);
  });
}

template <typename T>
void to_lanes(Store stored, const Sheet& from, T* to, int64_t to_line, int64_t to_step) {
  with_stored(stored, T(), [&]<typename Stored>(Stored*) {
    to_lanes_as<T, Stored>(from, to, to_line, to_step);
  });
}
template <typename T>
void from_lanes(Store stored, const T* from, int64_t from_line, int64_t from_step, Finish finish,
                const Sheet& to) {
  with_stored(stored, T(), [&]<typename Stored>(Stored*) {
    from_lanes_as<T, Stored>(from, from_line, from_step, finish, to);
  });
}

template <typename T, int rows>
void fill_lanes(Kernels<T>* table) {
  table->lanes_slide[rows - 1] = lanes_slide<T, rows>;
  table->lanes_dot[rows - 1] = lanes_dot<T, rows>;
  if constexpr (rows > 1) fill_lanes<T, rows - 1>(table);
}

template <typename T>
void turn(Store stored, const Lines& from, T* to, int64_t to_step) {
  with_stored(stored, T(),
              [&]<typename Stored>(Stored*) { turn_lines<T, Stored>(from, to, to_step); });
}
template <typename T>
void turn_back(Store stored, const T* from, int64_t from_step, const T* start, Finish finish,
               const Lines& to) {
  with_stored(stored, T(), [&]<typename Stored>(Stored*) {
    turn_back_lines<T, Stored>(from, from_step, start, finish, to);
  });
}

// What every table has.
template <typename T>
Kernels<T> make_common() {
  Kernels<T> table{};
  table.lanes = kLanes<Sum<T>>;
  table.steps = Product<T>::steps;
  table.rows = kRows;
  table.vectors = kVectors;
  table.flush_denormals = flush_denormals;
  table.restore_denormals = restore_denormals;
  return table;
}

// The tiles, and what carries their sums.
template <typename T>
Kernels<T> make_tiles() {
  Kernels<T> table = make_common<T>();
  fill_outer<T, kRows, Panel::packed>(table.outer);
  fill_lines<T, kRows>(table.outer_lines);
  table.scatter = scatter<Sum<T>>;
  return table;
}
// Those that find their operands through a table of offsets.
template <typename T>
void fill_indirect(Kernels<T>* table) {
  fill_offsets<T, kRows>(table->outer_offsets);
  fill_places<T, 1>(table);
  fill_places<T, 2>(table);
  fill_places<T, 3>(table);
}

template <typename T>
Kernels<T> make_kernels() {
  Kernels<T> table = make_tiles<T>();
  table.arrange = [](int64_t, int64_t, T*) {};
  fill_outer<T, kRows, Panel::blocks>(table.outer_blocks);
  fill_indirect(&table);
  table.dots = dots<T>;
  table.slide = slide<T>;
  table.lanes_planes = lanes_planes<T>;
  table.lane_rows = kLaneRows;
  fill_lanes<T, kLaneRows>(&table);
  table.to_lanes = to_lanes<T>;
  table.from_lanes = from_lanes<T>;
  table.add_lanes = add_lanes<T>;
  table.tap_columns = kTapColumns;
  fill_meet<T, kTapColumns>(&table);
  table.gather = gather<T>;
  table.interleave = interleave<T>;
  table.turn = turn<T>;
  table.turn_back = turn_back<T>;
  if constexpr (T(0.5) > 0) {  // transforms need fractions
    table.slide_planes = slide_planes<T>;
    fill_outer<T, kRows, Panel::vectors>(table.outer_vectors);
    table.tiles[int(Tile::plain)] = tile_kernels<T, Plain<T>>();
    table.tiles[int(Tile::f3_2)] = tile_kernels<T, Filter<T, FourPoints, 3>>();
    table.tiles[int(Tile::f2_3)] = tile_kernels<T, Filter<T, FourPoints, 2>>();
    table.tiles[int(Tile::f5_2)] = tile_kernels<T, Filter<T, SixPoints, 5>>();
    table.tiles[int(Tile::f4_3)] = tile_kernels<T, Filter<T, SixPoints, 4>>();
    table.tiles[int(Tile::f3_4)] = tile_kernels<T, Filter<T, SixPoints, 3>>();
    table.tiles[int(Tile::f2_5)] = tile_kernels<T, Filter<T, SixPoints, 2>>();
    table.fft = fft_kernels<T>();
  }
  return table;
}

}  // namespace torchconv::TORCHCONV_TARGET
