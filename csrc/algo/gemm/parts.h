// What the parts of gemm share, and what they offer to gemm.cpp.
#pragma once

#include "core/relabel.h"
#include "micro/matrices.h"
#include "micro/pack.h"
#include "micro/tasks.h"

namespace torchconv::gemm_detail {

constexpr int64_t kStripBytes = 36 << 10;   // of B: most of an L1 cache of 32 to 48 kB
constexpr int64_t kBlockBytes = 256 << 10;  // of A, and of B: together most of an L2 cache
constexpr int64_t kDepthAtATime = 16;       // of W across its rows: lines read side by side
constexpr int64_t kMostColumns = 512;       // of a block, so that shallow ones leave room for rows

// Below which a block is halved: two each, so that one worker need not wait long for another.
inline int least_tasks(int workers) { return workers > 1 ? 2 * workers : 1; }

// For each row of A: so many elements of a panel, or of a line.
template <typename T>
int64_t panel_depth(int64_t depth) {
  return has_matrices<T>() ? line_of<T>(depth) : depth;
}
// So many elements of strips.
template <typename T>
int64_t strips_elements(int64_t depth, int64_t columns) {
  return has_matrices<T>() ? whole_steps<T>(depth) * round_up(columns, kernels<T>().lanes) : 0;
}
// The depth is walked in chunks as long as a strip of B allows, and about equal; shorter ones where
// A and B have two planes, to leave room for as many rows and columns.
template <typename T>
int64_t depth_chunk(int64_t depth, int64_t planes) {
  const Kernels<T>& kernel = kernels<T>();
  const int64_t longest =
      kStripBytes / (planes * kernel.vectors * kernel.lanes * int64_t(sizeof(T)));
  const int64_t chunks = std::max<int64_t>(ceil_div(depth, longest), 1);
  return round_up(std::max<int64_t>(ceil_div(depth, chunks), 1), kernel.steps);
}

// Calls f(row, height, column, vectors) for the tiles of a product over one chunk of the depth. A
// strip of B stays in L1 while the panels of A stream past it; or, where all of B does, the strips go
// past each panel, so that C, of which there is much for so few products, is written along its rows.
template <typename T, typename F>
void for_each_tile(int64_t rows, int64_t columns, int64_t depth, const F& f) {
  const Kernels<T>& kernel = kernels<T>();
  const bool is_short = depth * columns * int64_t(sizeof(T)) <= kStripBytes;
  const int64_t vectors = ceil_div(columns, kernel.lanes);
  for (int64_t first = 0; first < rows; first += is_short ? kernel.rows : rows) {
    const int64_t end = is_short ? std::min<int64_t>(first + kernel.rows, rows) : rows;
    for (int64_t strips = ceil_div(vectors, kernel.vectors), v = 0; strips > 0; --strips) {
      const int64_t width = ceil_div(vectors - v, strips), column = v * kernel.lanes;
      for (int64_t r = first; r < end; r += kernel.rows)
        f(r, std::min<int64_t>(kernel.rows, rows - r), column, width);
      v += width;
    }
  }
}

// C (+)= A * B over one chunk of the depth: A as panels, one tile high each, that lie one after the
// other, and are arranged here; B as rows of whole vectors. Or A as lines, and B as strips.
template <typename T>
void multiply(int64_t rows, int64_t columns, int64_t depth, T* a, const T* b, int64_t b_row,
              Sum<T>* c, int64_t c_row, const Sum<T>* start, bool add) {
  const Kernels<T>& kernel = kernels<T>();
  if (has_matrices<T>())
    return kernel.matrices(rows, columns, whole_steps<T>(depth), a, line_of<T>(depth), b, c, c_row,
                           start, add);
  for (int64_t r = 0; r < rows; r += kernel.rows)
    kernel.arrange(depth, std::min<int64_t>(kernel.rows, rows - r), a + r * depth);
  for_each_tile<T>(rows, columns, depth, [&](int64_t r, int64_t height, int64_t j, int64_t width) {
    kernel.outer[height - 1][width - 1](depth, a + r * depth, b + j, b_row, c + r * c_row + j,
                                        c_row, start ? start + r : nullptr, add);
  });
}

// The same for A as lines of the depth, as a gather leaves them; and B as rows, or as strips.
template <typename T>
void multiply_lines(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_row,
                    const T* b, int64_t b_row, Sum<T>* c, int64_t c_row, bool add) {
  const Kernels<T>& kernel = kernels<T>();
  if (has_matrices<T>())
    return kernel.matrices(rows, columns, whole_steps<T>(depth), a, a_row, b, c, c_row, nullptr,
                           add);
  for_each_tile<T>(rows, columns, depth, [&](int64_t r, int64_t height, int64_t j, int64_t width) {
    kernel.outer_lines[height - 1][width - 1](depth, a + r * a_row, a_row, b + j, b_row,
                                              c + r * c_row + j, c_row, add);
  });
}

// A complex product is three real ones, after Gauss:
//
//     (a + i b) (c + i d) = (s0 - s1) + i (s2 - s0 - s1),
//     s0 = a c,    s1 = b d,    s2 = (a + b) (c + d)
//
// A sum of n is off by at most 3 n eps of the sum of |a + i b| |c + i d|; four products, by 2 n eps.
constexpr int64_t products_of(int64_t planes) { return planes == 2 ? 3 : 1; }

// The factor of s2, behind the planes of a panel: parts lie `part` apart.
template <typename T>
void add_planes(T* panel, int64_t part, int64_t count) {
  if constexpr (std::is_same_v<T, Sum<T>>)
    for (int64_t k = 0; k < count; ++k) panel[2 * part + k] = panel[k] + panel[part + k];
}

// Rows of s0 and s1 become those of the planes.
template <typename T>
void combine_products(T* sums, int64_t part, int64_t rows, int64_t row, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r, sums += row)
    for (int64_t j = 0; j < columns; ++j) {
      const T x = sums[j], y = sums[part + j];
      sums[j] = x - y;
      sums[part + j] = sums[2 * part + j] - x - y;
    }
}

// The output seen as the input of a 1x1 convolution: its patches are its own elements.
struct OutputAsInput {
  Problem problem;
  Operands operands;
  OutputAsInput(const Problem& p, const View& output) : problem(p) {
    problem.padding_mode = PaddingMode::zeros;
    problem.in_channels = p.out_channels;
    for (int a = 0; a < p.axes; ++a) {
      const int64_t size = p.axis[a].output_size;
      problem.axis[a] = Axis{size, 1, size, 1, 0, 1};
    }
    operands.input = operands.output = output;
    operands.input.in_channel = output.out_channel;
    simplify(&problem, &operands);
  }
};

// Whether a forward problem has so few positions that W is better read where it lies: where its rows
// are contiguous, or its columns. Then run_few does the problem, else it returns false.
bool is_few(const Problem& problem, bool rows_lie_together);
template <typename T>
bool run_few(const Problem& problem, const Operands& operands, const Context& context);
template <typename T>
int64_t few_scratch(const Problem& problem, int threads);

template <typename T>
void run_forward(Problem problem, Operands operands, const Context& context);
template <typename T>
int64_t forward_scratch(const Problem& problem, int threads);

// By weight: whether one of W^T is made, where X comes gathered. Many positions for each row of W make
// up for turning W; and of two vectors of rows a tile has as many sums as it needs.
template <typename T>
bool turns_weight(int64_t rows, int64_t positions) {
  return positions > 2 * rows && rows >= 2 * kernels<T>().lanes;
}

// Problems by weight with at least one position and one weight.
template <typename T>
void run_weight(Problem problem, Operands operands, const Context& context);
template <typename T>
int64_t weight_scratch(const Problem& problem, int threads);

// Whether a problem by input is better made as a product that is added up; then the two below do
// it. Elements that no tap meets are left alone.
bool adds_up(const Problem& problem);
bool leaves_gaps(const Problem& problem);
template <typename T>
void run_input(const Problem& problem, const Operands& operands, const Context& context);
template <typename T>
int64_t input_scratch(const Problem& problem, int threads);

}  // namespace torchconv::gemm_detail
