#include "plan/planner.h"

#include <atomic>
#include <cstdlib>

#include "plan/algorithms.h"

namespace torchconv {
namespace {

const Algorithm* find(const std::string& name) {
  for (const Algorithm* algorithm : algorithms())
    if (name == algorithm->name) return algorithm;
  return nullptr;
}

std::string refuses_as_unknown(const Problem&) {
  std::string refusal = "no algorithm has this name; there are";
  for (const Algorithm* algorithm : algorithms()) refusal += std::string(" ") + algorithm->name;
  return refusal;
}

// What TORCHCONV_ALGORITHM names; a name that is none of the list refuses every problem.
const Algorithm* named_in_environment() {
  const char* name = std::getenv("TORCHCONV_ALGORITHM");
  if (!name || !*name) return nullptr;
  static const Algorithm unknown = {name, refuses_as_unknown, nullptr, nullptr, nullptr};
  const Algorithm* algorithm = find(name);
  return algorithm ? algorithm : &unknown;
}

// Null: the planner is free.
std::atomic<const Algorithm*>& forced() {
  static std::atomic<const Algorithm*> algorithm{named_in_environment()};
  return algorithm;
}

// What a caller who forces the algorithm may have, the planner must leave.
std::string refusal_of(const Algorithm& algorithm, const Problem& problem) {
  if (problem.precise && algorithm.error_factor > 1)
    return std::string("highest precision (") + algorithm.name + " rounds more than a plain sum)";
  return algorithm.refuses(problem);
}

const Algorithm* find_best(const Problem& problem) {
  if (const Algorithm* algorithm = forced())
    return algorithm->refuses(problem).empty() ? algorithm : nullptr;
  const Algorithm* best = nullptr;
  double best_s = 0;
  for (const Algorithm* algorithm : algorithms()) {
    if (!refusal_of(*algorithm, problem).empty()) continue;
    const double cost_s = algorithm->cost(problem);
    if (best && cost_s >= best_s) continue;
    best = algorithm;
    best_s = cost_s;
  }
  return best;
}

// A choice with everything it was made of.
struct Kept {
  Problem problem;
  int threads = 0;
  const Algorithm* forced = nullptr;
  Choice choice;
};

// A network has some dozens of layers, with three results each.
constexpr size_t kKept = 256;

size_t place(const Problem& problem) {
  uint64_t hash = uint64_t(problem.result) + 8 * uint64_t(problem.dtype);
  const auto mix = [&hash](int64_t number) {
    hash = (hash ^ uint64_t(number)) * 0x9e3779b97f4a7c15;  // 2^64 / golden ratio, as Knuth has it
    hash ^= hash >> 32;
  };
  mix(problem.batch);
  mix(problem.in_channels);
  mix(problem.out_channels);
  for (int a = 0; a < problem.axes; ++a) {
    mix(problem.axis[a].input_size);
    mix(problem.axis[a].kernel_size);
    mix(problem.axis[a].output_size);
  }
  return hash % kKept;
}

}  // namespace

const std::vector<const Algorithm*>& algorithms() {
#define TORCHCONV_ADDRESS(name) &name,
  static const std::vector<const Algorithm*> list = {TORCHCONV_ALGORITHMS(TORCHCONV_ADDRESS)};
#undef TORCHCONV_ADDRESS
  return list;
}

Choice choose(const Problem& problem, int threads) {
  static thread_local std::vector<Kept> kept(kKept);
  Kept& last = kept[place(problem)];
  if (last.threads == threads && last.forced == forced() && last.problem == problem)
    return last.choice;
  Choice choice{find_best(problem), 0};
  if (choice.algorithm) choice.scratch_bytes = choice.algorithm->scratch_bytes(problem, threads);
  last = {problem, threads, forced(), choice};
  return choice;
}

std::string refusal(const Problem& problem) {
  const Algorithm* algorithm = forced();
  return algorithm ? std::string("algorithm ") + algorithm->name +
                         " was forced but refuses: " + algorithm->refuses(problem)
                   : "";
}

Plan explain(const Problem& problem, int threads) {
  Plan plan{problem, threads, nullptr, "", {}};
  plan.algorithm = find_best(problem);
  plan.reason = !plan.algorithm ? refusal(problem) : forced() ? "forced" : "lowest cost";
  for (const Algorithm* algorithm : algorithms()) {
    Candidate candidate{algorithm, refusal_of(*algorithm, problem), 0, 0};
    if (algorithm == forced()) candidate.refusal = algorithm->refuses(problem);
    if (candidate.refusal.empty()) {
      candidate.cost_s = algorithm->cost(problem);
      candidate.scratch_bytes = algorithm->scratch_bytes(problem, threads);
    }
    plan.candidates.push_back(candidate);
  }
  return plan;
}

bool force_algorithm(const std::string& name) {
  const Algorithm* algorithm = find(name);
  if (!algorithm && !name.empty()) return false;
  forced() = algorithm;
  return true;
}

std::string forced_algorithm() {
  const Algorithm* algorithm = forced();
  return algorithm ? algorithm->name : "";
}

}  // namespace torchconv
