#include "plan/planner.h"

#include <atomic>
#include <cstdlib>

#include "core/check.h"
#include "plan/algorithms.h"
#include "plan/pace.h"

namespace torchconv {
namespace {

// A forced algorithm is kept by its name, which may stand for one on each device. The same pointer
// for the same name, so that a comparison is one of pointers; null for a name of no list.
const char* interned(const std::string& name) {
  for (const Device device : {Device::cpu, Device::cuda})
    if (const Algorithm* algorithm = find_algorithm(name, device)) return algorithm->name;
  return nullptr;
}

// What TORCHCONV_ALGORITHM names; a name that is of no list refuses every problem.
const char* named_in_environment() {
  const char* name = std::getenv("TORCHCONV_ALGORITHM");
  if (!name || !*name) return nullptr;
  const char* known = interned(name);
  return known ? known : name;
}

// Null: the planner is free.
std::atomic<const char*>& forced() {
  static std::atomic<const char*> name{named_in_environment()};
  return name;
}

// What a caller who forces the algorithm may have, the planner must leave.
std::string refusal_of(const Algorithm& algorithm, const Problem& problem) {
  if (problem.precise && algorithm.error_factor > 1)
    return std::string("highest precision (") + algorithm.name + " rounds more than a plain sum)";
  return algorithm.refuses(problem);
}

Kept kept_by(const Algorithm& algorithm, const Problem& problem) {
  return algorithm.kept ? algorithm.kept(problem) : Kept{};
}

// On this machine.
double cost_here(const Algorithm& algorithm, const Problem& problem) {
  return algorithm.cost(problem) * pace(algorithm, problem);
}

const Algorithm* find_best(const Problem& problem, const char* forced_name) {
  if (forced_name) {
    const Algorithm* algorithm = find_algorithm(forced_name, problem.device);
    return algorithm && algorithm->refuses(problem).empty() ? algorithm : nullptr;
  }
  const Algorithm* best = nullptr;
  double best_s = 0;
  for (const Algorithm* algorithm : algorithms(problem.device)) {
    if (!refusal_of(*algorithm, problem).empty()) continue;
    const double cost_s = cost_here(*algorithm, problem);
    if (best && cost_s >= best_s) continue;
    best = algorithm;
    best_s = cost_s;
  }
  return best;
}

// A choice with everything it was made of.
struct LastChoice {
  Problem problem;
  int threads = 0;
  const char* forced = nullptr;
  unsigned pace = 0;
  Choice choice;
};

// A network has some dozens of layers, with three results each.
constexpr size_t kLastChoices = 256;

size_t place(const Problem& problem) {
  uint64_t hash =
      uint64_t(problem.result) + 4 * uint64_t(problem.device) + 8 * uint64_t(problem.dtype);
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
  return hash % kLastChoices;
}

}  // namespace

const std::vector<const Algorithm*>& algorithms(Device device) {
#define TORCHCONV_ADDRESS(name) &name,
#define TORCHCONV_CUDA_ADDRESS(name) &cuda::name,
  static const std::vector<const Algorithm*> on_cpu = {TORCHCONV_ALGORITHMS(TORCHCONV_ADDRESS)};
#ifdef TORCHCONV_CUDA
  static const std::vector<const Algorithm*> on_cuda = {
      TORCHCONV_CUDA_ALGORITHMS(TORCHCONV_CUDA_ADDRESS)};
#else
  static const std::vector<const Algorithm*> on_cuda;
#endif
#undef TORCHCONV_ADDRESS
#undef TORCHCONV_CUDA_ADDRESS
  return device == Device::cuda ? on_cuda : on_cpu;
}

const Algorithm* find_algorithm(const std::string& name, Device device) {
  for (const Algorithm* algorithm : algorithms(device))
    if (name == algorithm->name) return algorithm;
  return nullptr;
}

Choice choose(const Problem& problem, int threads) {
  static thread_local std::vector<LastChoice> choices(kLastChoices);
  LastChoice& last = choices[place(problem)];
  const char* forced_name = forced();
  const unsigned pace = pace_version();
  if (last.threads == threads && last.forced == forced_name && last.pace == pace &&
      last.problem == problem)
    return last.choice;
  Choice choice{find_best(problem, forced_name), 0, {}};
  if (choice.algorithm) {
    choice.scratch_bytes = choice.algorithm->scratch_bytes(problem, threads);
    choice.kept = kept_by(*choice.algorithm, problem);
  }
  last = {problem, threads, forced_name, pace, choice};
  return choice;
}

std::string refusal(const Problem& problem) {
  if (algorithms(problem.device).empty()) return "this build of torchconv has no CUDA kernels";
  const char* forced_name = forced();
  if (!forced_name) return "";
  std::string text = std::string("algorithm ") + forced_name + " was forced but ";
  if (const Algorithm* algorithm = find_algorithm(forced_name, problem.device))
    return text + "refuses: " + algorithm->refuses(problem);
  text += std::string("none on ") + name(problem.device) + " has this name; there are";
  for (const Algorithm* algorithm : algorithms(problem.device))
    text.append(" ").append(algorithm->name);
  return text;
}

Plan explain(const Problem& problem, int threads) {
  Plan plan{problem, threads, nullptr, "", {}};
  const char* forced_name = forced();
  plan.algorithm = find_best(problem, forced_name);
  plan.reason = !plan.algorithm ? refusal(problem) : forced_name ? "forced" : "lowest cost";
  for (const Algorithm* algorithm : algorithms(problem.device)) {
    Candidate candidate{algorithm, refusal_of(*algorithm, problem), 0, 0, {}};
    if (forced_name && algorithm == find_algorithm(forced_name, problem.device))
      candidate.refusal = algorithm->refuses(problem);
    if (candidate.refusal.empty()) {
      candidate.cost_s = cost_here(*algorithm, problem);
      candidate.scratch_bytes = algorithm->scratch_bytes(problem, threads);
      candidate.kept = kept_by(*algorithm, problem);
    }
    plan.candidates.push_back(candidate);
  }
  return plan;
}

bool force_algorithm(const std::string& name) {
  const char* known = interned(name);
  if (!known && !name.empty()) return false;
  forced() = known;
  return true;
}

std::string forced_algorithm() {
  const char* forced_name = forced();
  return forced_name ? forced_name : "";
}

}  // namespace torchconv
