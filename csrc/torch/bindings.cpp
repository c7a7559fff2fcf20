// The Python module torchconv._C: plans, checks and the build's facts. The operators need none of
// it: they register themselves when the library is loaded.
#include <cmath>

#include <ATen/Parallel.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

#include "core/check.h"
#include "core/relabel.h"
#include "core/text.h"
#include "micro/target.h"
#include "plan/pace.h"
#include "plan/planner.h"
#include "torch/checked.h"
#include "torch/cuda.h"
#include "torch/fast_call.h"
#include "torch/kept.h"
#include "torch/precision.h"

namespace py = pybind11;

namespace torchconv {
namespace {

using List = std::vector<int64_t>;
using SymList = std::vector<SymInt>;

// What Python sees of a Plan: values that outlive the process and can be pickled.
struct PlanRecord {
  struct Row {
    std::string name, refusal;
    double cost_s = 0;
    int64_t scratch_bytes = 0;
    int64_t kept_bytes = 0;
  };
  std::string problem;
  std::optional<std::string> algorithm;
  std::string reason;
  int threads = 1;
  std::vector<Row> candidates;
};

Device parse_device(const std::string& word) {
  for (const Device device : {Device::cpu, Device::cuda})
    if (word == name(device)) return device;
  throw py::value_error("device must be 'cpu' or 'cuda', got '" + word + "'");
}

std::vector<std::string> algorithm_names(const std::string& device) {
  std::vector<std::string> names;
  for (const Algorithm* algorithm : algorithms(parse_device(device)))
    names.emplace_back(algorithm->name);
  return names;
}

const Algorithm& named(const std::string& name, const std::string& device) {
  if (const Algorithm* algorithm = find_algorithm(name, parse_device(device))) return *algorithm;
  throw py::value_error("no algorithm is named '" + name + "'");
}

double error_factor(const std::string& algorithm, const std::string& device) {
  return named(algorithm, device).error_factor;
}

Problem parse_problem(const std::string& line) {
  Problem problem;
  const std::string wrong = from_text(line, &problem);
  if (!wrong.empty()) throw py::value_error(wrong);
  return problem;
}

// The problem that a call of this one has an algorithm run.
Problem run_by(Problem problem) {
  View weight;
  if (problem.device == Device::cpu) drop_blind_taps(&problem, &weight);
  return problem;
}

PlanRecord plan(const std::string& line, int threads) {
  Problem problem = parse_problem(line);
  problem.precise = wants_precise();
  const bool on_gpu = problem.device == Device::cuda;
  const Gpu gpu = on_gpu ? current_gpu() : Gpu();
  if (on_gpu && problem.dtype == DType::float32) problem.tf32 = problem.tf32 || allows_tf32();
  if (on_gpu && !problem.capability) problem.capability = uint8_t(gpu.capability);
  if (threads <= 0) threads = on_gpu ? gpu.multiprocessors : at::get_num_threads();
  const Plan plan = explain(run_by(problem), threads);
  PlanRecord record;
  record.problem = to_text(problem);
  if (plan.algorithm) record.algorithm = plan.algorithm->name;
  record.reason = plan.reason;
  record.threads = plan.threads;
  for (const Candidate& candidate : plan.candidates)
    record.candidates.push_back({candidate.algorithm->name, candidate.refusal, candidate.cost_s,
                                 candidate.scratch_bytes, kept_bytes(candidate.kept, problem)});
  return record;
}

// Whether the call of a problem line would find this weight prepared.
bool is_kept_in(const std::string& line, const at::Tensor& weight) {
  Problem problem = parse_problem(line);
  problem.precise = wants_precise();
  View view =
      weight_view(problem, const_cast<void*>(weight.const_data_ptr()), weight.strides().data());
  drop_blind_taps(&problem, &view);
  return is_kept(choose(problem, at::get_num_threads()), problem, view, weight);
}

py::dict parse(const std::string& line) {
  const Problem problem = parse_problem(line);
  const auto list = [&problem](int64_t Axis::* field) {
    List values;
    for (int a = 0; a < problem.axes; ++a) values.push_back(problem.axis[a].*field);
    return values;
  };
  using namespace py::literals;
  return py::dict("result"_a = name(problem.result), "dtype"_a = name(problem.dtype),
                  "padding_mode"_a = name(problem.padding_mode), "flip"_a = problem.flip,
                  "bias"_a = problem.bias, "channels_last"_a = problem.channels_last,
                  "device"_a = name(problem.device), "tf32"_a = problem.tf32,
                  "capability"_a = int(problem.capability), "batch"_a = problem.batch,
                  "in_channels"_a = problem.in_channels, "out_channels"_a = problem.out_channels,
                  "groups"_a = problem.groups, "input_size"_a = list(&Axis::input_size),
                  "kernel_size"_a = list(&Axis::kernel_size),
                  "output_size"_a = list(&Axis::output_size), "stride"_a = list(&Axis::stride),
                  "padding"_a = list(&Axis::padding), "dilation"_a = list(&Axis::dilation));
}

Result parse_result(const std::string& word) {
  for (const Result result : {Result::output, Result::input, Result::weight})
    if (word == name(result)) return result;
  throw py::value_error("result must be 'output', 'input' or 'weight', got '" + word + "'");
}

std::string check_call(const std::string& result, at::ScalarType dtype,
                       const std::optional<List>& input, const std::optional<List>& weight,
                       const std::optional<List>& output, const std::optional<List>& bias,
                       const std::optional<SymList>& result_size, const SymList& stride,
                       const SymList& padding, const SymList& dilation, int64_t groups, bool flip,
                       const std::string& padding_mode) {
  const auto given = [](const std::optional<List>& list) { return list ? sizes(*list) : Sizes{}; };
  Call call;
  call.result = parse_result(result);
  call.dtype = core_dtype(dtype);
  call.input = given(input);
  call.weight = given(weight);
  call.output = given(output);
  call.bias = given(bias);
  call.has_bias = bias.has_value();
  at::OptionalSymIntArrayRef size;
  if (result_size) size = *result_size;
  return to_text(
      checked_problem(call, size, {stride, padding, dilation, groups, flip, padding_mode}));
}

void force(const std::string& name) {
  if (force_algorithm(name)) return;
  std::string known;
  for (const char* device : {"cpu", "cuda"}) {
    const std::vector<std::string> names = algorithm_names(device);
    if (!names.empty()) known += (known.empty() ? "" : "; on ") + std::string(device) + ":";
    for (const std::string& one : names) known += " " + one;
  }
  throw py::value_error("no algorithm is named '" + name + "'; known: " + known);
}

std::map<std::string, std::string> build_info() {
  return {{"torch", TORCH_VERSION},
          {"compiler", __VERSION__},
          {"standard", std::to_string(__cplusplus)},
          {"openmp", std::to_string(_OPENMP)},
          {"target", target_name()},
          {"cuda", cuda_version()}};
}

double measure(const std::string& line, const std::string& name, int repetitions) {
  const Problem problem = run_by(parse_problem(line));
  const Algorithm& algorithm = named(name, "cpu");
  const std::string refusal = problem.device == Device::cpu ? algorithm.refuses(problem) : "a GPU";
  if (!refusal.empty()) throw py::value_error(name + " refuses: " + refusal);
  return measured_seconds(algorithm, problem, repetitions);
}

// By problem line and algorithm.
void set_pace_of(const std::map<std::string, std::map<std::string, double>>& factors) {
  std::vector<PaceSample> samples;
  for (const auto& [line, by_name] : factors) {
    const Problem problem = parse_problem(line);
    for (const auto& [name, factor] : by_name) {
      if (!(factor > 0) || !std::isfinite(factor))
        throw py::value_error("a pace must be positive, got " + std::to_string(factor));
      samples.push_back({&named(name, "cpu"), problem, factor});
    }
  }
  set_pace(samples);
}

void bind_plan(py::module_& module) {
  using Row = PlanRecord::Row;
  py::class_<Row>(module, "Candidate", py::module_local())
      .def_readonly("name", &Row::name)
      .def_readonly("refusal", &Row::refusal)
      .def_readonly("cost_s", &Row::cost_s)
      .def_readonly("scratch_bytes", &Row::scratch_bytes)
      .def_readonly("kept_bytes", &Row::kept_bytes)
      .def(py::pickle(
          [](const Row& row) {
            return py::make_tuple(row.name, row.refusal, row.cost_s, row.scratch_bytes,
                                  row.kept_bytes);
          },
          [](const py::tuple& state) {
            return Row{state[0].cast<std::string>(), state[1].cast<std::string>(),
                       state[2].cast<double>(), state[3].cast<int64_t>(), state[4].cast<int64_t>()};
          }));

  using Record = PlanRecord;
  py::class_<Record>(module, "Plan", py::module_local())
      .def_readonly("problem", &Record::problem)
      .def_readonly("algorithm", &Record::algorithm)
      .def_readonly("reason", &Record::reason)
      .def_readonly("threads", &Record::threads)
      .def_readonly("candidates", &Record::candidates)
      .def(py::pickle(
          [](const Record& plan) {
            return py::make_tuple(plan.problem, plan.algorithm, plan.reason, plan.threads,
                                  plan.candidates);
          },
          [](const py::tuple& state) {
            return Record{state[0].cast<std::string>(), state[1].cast<std::optional<std::string>>(),
                          state[2].cast<std::string>(), state[3].cast<int>(),
                          state[4].cast<std::vector<Row>>()};
          }));
}

}  // namespace
}  // namespace torchconv

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  using namespace torchconv;
  using namespace py::literals;
  bind_plan(module);
  module.def("algorithms", &algorithm_names, "device"_a = "cpu");
  module.def("error_factor", &error_factor, "algorithm"_a, "device"_a = "cpu");
  module.def("set_highest_precision", &set_highest_precision, "highest"_a);
  module.def("highest_precision", &highest_precision);
  module.def("set_kept_limit", &set_kept_limit, "bytes"_a,
             py::call_guard<py::gil_scoped_release>());
  module.def("kept_state", [] {
    const KeptState state = kept_state();
    return std::tuple(state.limit_bytes, state.bytes, state.weights);
  });
  module.def("is_kept", &is_kept_in, "line"_a, "weight"_a);
  module.def("target", &target_name);
  module.def("build_info", &build_info);
  module.def("check", &check_call, "result"_a, "dtype"_a, py::kw_only(), "input"_a, "weight"_a,
             "output"_a, "bias"_a, "result_size"_a, "stride"_a, "padding"_a, "dilation"_a,
             "groups"_a, "flip"_a, "padding_mode"_a);
  module.def("parse", &parse, "line"_a);
  module.def("plan", &plan, "line"_a, "threads"_a = 0, py::call_guard<py::gil_scoped_release>());
  module.def("measure", &measure, "line"_a, "algorithm"_a, "repetitions"_a,
             py::call_guard<py::gil_scoped_release>());
  module.def("set_pace", &set_pace_of, "factors"_a);
  module.def("force_algorithm", &force, "name"_a);
  module.def("forced_algorithm", &forced_algorithm);
  module.add_object("conv", new_fast_conv());
  module.add_object("conv_transpose", new_fast_conv_transpose());
}
