// The forward problems that a problem by input with a stride is made of (core/relabel.h), all at once.
#pragma once

#include "micro/tasks.h"

namespace torchconv::lanes_detail {

constexpr int kMostPhases = 16;

// One forward problem, and which indices of the input its outputs are.
struct Phased {
  Problem problem;
  Operands operands;
  Phase phases[kMaxAxes];
};

struct Phases {
  Phased all[kMostPhases];
  int count = 0;

  Phases(const Problem& p, const Operands& operands) {
    int64_t combinations = 1;
    for (int a = 0; a < p.axes; ++a) combinations *= count_phases(p, a);
    for (int64_t c = 0; c < combinations; ++c) add(p, operands, c);
  }

 private:
  void add(const Problem& p, const Operands& operands, int64_t number) {
    Phased& one = all[count];
    for (int a = p.axes - 1; a >= 0; --a) {
      one.phases[a] = phase(p, a, number % count_phases(p, a));
      number /= count_phases(p, a);
      if (one.phases[a].axis.output_size == 0) return;
    }
    one.problem = input_as_forward(p, one.phases);
    one.operands = input_as_forward(p, operands, one.phases);
    ++count;
  }
};

}  // namespace torchconv::lanes_detail
