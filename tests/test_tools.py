"""The benchmark tool: regimes, workloads, interleaving, records, tables, and the command itself."""

import dataclasses
import itertools
import json

import pytest
import torch

from torchconv import _C, testing
from torchconv.tools import bench, calls, growth, measure, memory, report
from torchconv.tools.__main__ import main
from torchconv.tools.regimes import REGIMES, classify
from torchconv.tools.workloads import RESULTS, fit, from_line, load, with_batch

WORKLOADS = {workload.name: workload for workload in load()}


def shaped(line: str):
    return from_line(f"output float32 {line}")[0]


@pytest.mark.parametrize(
    ("regime", "line"),
    [
        ("dense_3x3", "channels=64>64 input=56x56 kernel=3x3 padding=1x1"),
        ("dense_3x3", "channels=64>64 input=28x28 kernel=3x3 padding=1x1"),
        ("dense_3x3_small", "channels=64>64 input=14x14 kernel=3x3 padding=1x1"),
        ("dense_3x3_small", "channels=64>64 input=7x7 kernel=3x3 padding=1x1"),
        ("dense_other", "channels=64>64 input=56x56 kernel=3x3 stride=2x2 padding=1x1"),
        ("dense_other", "channels=64>64 input=56x56 kernel=1x1"),
        ("dense_other", "channels=64>64 input=56x56 kernel=1x1 dilation=2x2"),
        ("dense_other", "channels=64>64 input=8x9x10 kernel=3x3x3"),
        ("dense_other", "channels=64>64 input=900 kernel=255"),
        ("first_layer", "channels=4>64 input=56x56 kernel=3x3"),
        ("dense_3x3", "channels=5>64 input=56x56 kernel=3x3"),
        ("depthwise", "channels=32>64 groups=32 input=56x56 kernel=3x3 dilation=2x2"),
        ("depthwise", "channels=32>32 groups=32 input=56x56 kernel=9x9"),
        ("depthwise_large", "channels=32>32 groups=32 input=56x56 kernel=13x13"),
        ("depthwise_1d_3d", "channels=32>32 groups=32 input=56 kernel=4"),
        ("depthwise_1d_3d", "channels=32>32 groups=32 input=8x8x8 kernel=3x3x3"),
        ("grouped", "channels=32>32 groups=8 input=56x56 kernel=3x3"),
        ("dilated_transposed", "channels=32>32 input=56x56 kernel=3x3 dilation=2x2"),
        ("long_1d", "channels=1>1 input=900 kernel=256"),
    ],
)
def test_regime_follows_from_the_shape(regime, line):
    assert classify(shaped(line)).name == regime


def test_transposed_workloads_have_a_regime_of_their_own():
    transposed = {name for name, w in WORKLOADS.items() if w.transposed}
    assert transposed == {"unet2d_up_c1024k512_28", "istft_convT_pt120982"}
    assert {classify(WORKLOADS[name]).name for name in transposed} == {"dilated_transposed"}


def test_every_regime_has_workloads():
    assert {classify(workload).name for workload in WORKLOADS.values()} == set(REGIMES)


@pytest.mark.parametrize("result", RESULTS)
def test_lines_of_workloads_name_their_problem(result):
    for workload in WORKLOADS.values():
        problem = _C.parse(workload.line(result, "float32"))
        expected = {"output": "input", "input": "output"} if workload.transposed else {}
        assert problem["result"] == expected.get(result, result)
        input, output = workload.form
        assert [problem["batch"], problem["in_channels"], *problem["input_size"]] == list(input)
        assert [problem["out_channels"], *problem["output_size"]] == list(output[1:])
        assert problem["groups"] == workload.groups


def test_published_outputs_follow_from_the_other_sizes():
    for workload in WORKLOADS.values():
        assert workload.is_plain
        assert all(p >= 0 for p in workload.output_padding)


def test_large_workloads_are_cut_down_and_say_so():
    for workload in WORKLOADS.values():
        smaller = fit(workload, 5.0)
        assert smaller.gflop <= 5.5
        assert bool(smaller.note) == (smaller != workload) == (workload.gflop > 5.0)
        assert smaller.is_plain
        assert smaller.high_padding == workload.high_padding
    assert fit(WORKLOADS["vgg16_1_c64k64_224"], 5.0).note == "batch 4 -> 1"
    assert "axis 2 of 1316" in fit(WORKLOADS["video_vae_conv3d_pt132300"], 20.0).note


def test_regime_is_of_the_published_shape():
    workload = WORKLOADS["unet2d_c256k256_138"]
    (case,) = bench.cases([workload], ["float32"], ["output"], max_gflop=0.3)
    assert case.regime == "dense_3x3"
    assert classify(case.workload).name == "dense_3x3_small"


def test_batch_is_replaced_everywhere():
    workload = with_batch(WORKLOADS["mbv2_stem"], 2)
    assert (workload.input[0], workload.output[0], workload.note) == (2, 2, "batch 8 -> 2")


PROBLEMS = {
    "plain": "channels=4>6 groups=2 batch=2 input=9x8 kernel=3x2 stride=2x1 padding=1x1",
    "dilated": "channels=3>5 input=30 kernel=4 dilation=3 padding=2",
    "flipped": "channels=2>3 input=7x6x5 kernel=3x2x2 flip=1",
    "asymmetric": "channels=2>3 input=7x6 kernel=3x3 padding=2x0 output=6x6",
    "cropped": "channels=2>3 input=9 kernel=3 padding=-2 output=6",
    "reflected": "channels=2>3 input=7x6 kernel=3x3 padding=1x1 padding_mode=reflect",
    "wrapped": "channels=2>3 input=7x6 kernel=3x4 padding=1x1 output=7x6 padding_mode=circular",
}


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
@pytest.mark.parametrize("line", PROBLEMS.values(), ids=PROBLEMS)
def test_both_calls_compute_the_same(line, dtype, result):
    workload = shaped(line)
    given = calls.tensors(workload, dtype)
    ours, native = (make(workload, result, given)() for make in (calls.our_call, calls.native_call))
    assert calls.difference(ours, native) is None


@pytest.mark.parametrize("result", RESULTS)
def test_both_calls_compute_the_same_transposed(result):
    workload = fit(WORKLOADS["unet2d_up_c1024k512_28"], 0.01)
    given = calls.tensors(workload, "float32", channels_last=True)
    assert given.input.is_contiguous(memory_format=torch.channels_last)
    ours, native = (make(workload, result, given)() for make in (calls.our_call, calls.native_call))
    assert ours.shape == getattr(workload, result)
    assert calls.difference(ours, native) is None


def test_differences_are_found():
    right = torch.ones(3)
    assert calls.difference(right.clone(), right) is None
    assert "differs by 1" in calls.difference(2 * right, right)
    assert calls.difference(torch.tensor([1.0, 1.0, float("nan")]), right)
    assert "(2,)" in calls.difference(right[:2], right)


def test_pairs_alternate_and_number_at_least_five():
    order = []
    timing = measure.interleave(
        lambda: order.append("native"), lambda: order.append("ours"), time_limit_s=0.0
    )
    assert timing.pairs == measure.LEAST_PAIRS
    lengths = [len(list(run)) for _, run in itertools.groupby(order)]
    repeats = lengths[-1]
    # Warm-up, estimate, then (native ours) (ours native) (native ours) ...: neighbours melt.
    assert lengths == [1, 1, 1, 1, repeats, *[2 * repeats] * 4, repeats]
    assert order[0] == "native" and order.count("native") == order.count("ours")


def test_summary_takes_medians():
    timing = measure.summary([(2.0, 1.0), (3.0, 1.0), (8.0, 2.0), (90.0, 1.0), (1.0, 1.0)])
    assert (timing.native_s, timing.ours_s, timing.ratio, timing.pairs) == (3.0, 1.0, 3.0, 5)
    assert (timing.ratio_q1, timing.ratio_q3) == (2.0, 4.0)


def record(ratio: float | None, **changes) -> report.Record:
    timing = measure.Timing(ratio, 1.0, ratio, ratio, ratio, 5) if ratio else None
    made = report.Record(
        name="some", regime="depthwise", dtype="float32", result="output", line="a line",
        algorithm="gemm", forced=False, note="", gflop=2.0, timing=timing, error=None,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def test_reports_come_back_from_their_file(tmp_path):
    written = report.Report(report.machine(), [record(2.0), record(None, error="no")])
    written.save(tmp_path / "report.json")
    assert report.Report.load(tmp_path / "report.json") == written
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    cases = json.loads((tmp_path / "report.json").read_text())["cases"]
    assert (cases[0]["gflop_per_s"], cases[0]["native_gflop_per_s"]) == (2.0, 1.0)


def test_tables_show_means_targets_and_the_worst():
    records = [record(1.0), record(4.0, name="other"), record(0.5, result="weight", name="slow")]
    means = report.mean_table(records).splitlines()
    assert "2.00    (2)" in means[-2] and "0.50   (20)" in means[-2]
    assert means[-1].startswith("float32    all")
    assert "0.50    1 of 3    by weight, slow" in report.worst_table(records)


def test_comparison_is_a_ratio_of_ratios():
    old, new = (report.Report({"date": "then"}, [record(ratio)]) for ratio in (2.0, 3.0))
    assert "1.500" in report.comparison(new, old)
    assert report.comparison(new, report.Report({}, [])) == "No case in common."


def test_forced_algorithms_run_where_they_do_not_refuse():
    workload = shaped("channels=2>3 input=6 kernel=3")
    algorithms = testing.algorithms()
    cases = bench.cases([workload], ["float32"], ["output"], algorithms)
    plan = _C.plan(workload.line("output", "float32"))
    assert [c.algorithm for c in cases] == [c.name for c in plan.candidates if not c.refusal]
    records = list(bench.run(cases, time_limit_s=0.0))
    assert [r.algorithm for r in records] == [c.algorithm for c in cases]
    assert all(r.timing and r.forced for r in records)


def test_algorithms_far_from_the_fastest_are_left_out():
    workload = shaped("channels=64>64 input=28x28 kernel=3x3")
    candidates = _C.plan(workload.line("output", "float32")).candidates
    costs = {one.name: one.cost_s for one in candidates if not one.refusal}
    lowest_s, second_s, *others = sorted(costs.values())
    assert others
    far = 1.001 * second_s / lowest_s
    cases = bench.cases([workload], ["float32"], ["output"], testing.algorithms(), far=far)
    assert [costs[case.algorithm] <= far * lowest_s for case in cases] == [True] * 2


def test_the_planner_is_judged():
    def timed(line: str, algorithm: str, ratio: float) -> report.Record:
        return record(ratio, line=line, algorithm=algorithm, forced=True, planned="gemm")

    good = [timed("good", "gemm", 2.0), timed("good", "direct", 2.1)]
    bad = [timed("bad", "gemm", 2.0), timed("bad", "direct", 3.0)]
    alone = [timed("alone", "gemm", 1.0), timed("other", "direct", 1.0)]
    table = report.choice_table([*good, *bad, *alone, record(9.0)])
    assert "within 10% of the fastest algorithm in 1 of 2 cases (50.0%)" in table
    assert table.splitlines()[-1].split()[:5] == ["1.50", "gemm", "instead", "of", "direct:"]
    assert report.choice_table([record(2.0), *alone]) == ""


def test_wrong_results_are_errors(monkeypatch):
    native_call = bench.native_call
    monkeypatch.setattr(bench, "native_call", lambda *a: lambda: native_call(*a)() + 1)
    cases = bench.cases([shaped("channels=2>3 input=6 kernel=3")], ["float32"], ["output"])
    (wrong,) = bench.run(cases, time_limit_s=0.0)
    assert wrong.timing is None and "differs by 1" in wrong.error
    assert "ERROR" in report.error_table([wrong])


COMMAND = ["bench", "--problem", "output float32 channels=2>3 input=6 kernel=3", "--quick"]


def test_command_measures_saves_and_presents(tmp_path, capsys):
    saved = tmp_path / "now.json"
    assert main([*COMMAND, "--json", str(saved), "--result", "output,weight"]) == 0
    shown = capsys.readouterr()
    assert "[2/2]" in shown.err and "geometric means" in shown.out
    assert len(report.Report.load(saved).records) == 2
    assert main(["bench", "--from", str(saved), "--compare", str(saved)]) == 0
    assert "1.000" in capsys.readouterr().out


def test_command_keeps_what_was_measured_when_interrupted(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        yield record(2.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    saved = tmp_path / "now.json"
    assert main([*COMMAND, "--json", str(saved)]) == 130
    assert len(report.Report.load(saved).records) == 1
    assert "geometric means" in capsys.readouterr().out


def test_command_fails_on_a_wrong_result(monkeypatch, capsys):
    monkeypatch.setattr(bench, "run", lambda *_, **__: [record(None, error="differs")])
    assert main(COMMAND) == 1
    assert "ERROR some" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "no such"], "no case"),
        (["--problem", "output float32 channels=2>3 input=6 kernel=7"], "kernel"),
        (["--workloads", "no such file"], "no such file"),
        (["--result", "output,bias"], "bias"),
    ],
)
def test_command_explains_bad_options(options, message, capsys):
    with pytest.raises(SystemExit):
        main(["bench", *options])
    assert message in capsys.readouterr().err


def test_plot_is_drawn_from_a_file(tmp_path):
    pytest.importorskip("matplotlib")
    saved, picture = tmp_path / "now.json", tmp_path / "now.png"
    report.Report(report.machine(), [record(2.0), record(0.7, result="input")]).save(saved)
    assert main(["bench", "--from", str(saved), "--plot", str(picture)]) == 0
    assert picture.stat().st_size > 10_000


def test_overhead_and_explain_print_their_tables(capsys):
    assert main(["overhead", "--time-limit", "0.01"]) == 0
    assert "forward + backward" in capsys.readouterr().out
    assert main(["explain", "output float32 channels=2>3 input=6 kernel=3"]) == 0
    assert "chosen" in capsys.readouterr().out


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_allocate_what_plans_state(threads):
    chosen = [load()[0], *(w for w in load() if w.groups > 1)][:3]
    measured = list(memory.uses(chosen, threads, max_gflop=0.05))
    assert {use.result for use in measured} == set(RESULTS)
    for use in measured:
        # A tiny need is met from the stack.
        assert use.measured_bytes in (use.planned_bytes, 0), use
        shared = 0 if testing.is_exact(use.algorithm) else 2**23  # transformed weights
        assert use.measured_bytes <= threads * 2**21 + shared, use


def test_growth_is_measured_kept_and_drawn(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(growth, "FACTORS", {"batch": (1, 2), "channels": (2, 4), "map": (7, 14)})
    file = tmp_path / "growth.json"
    assert main(["growth", "--time-limit", "0", "--json", str(file)]) == 0
    points = growth.load(file)
    assert len(points) == len(growth.SHAPES) * 6 * len(growth.THREADS) * len(RESULTS)
    assert main(["growth", "--from", str(file), "--plot", str(tmp_path / "growth.png")]) == 0
    first, second = capsys.readouterr().out.split("3x3, 64 channels")[1:3]
    assert "ms against batch" in first
    assert "ms against channels" in second
    assert (tmp_path / "growth.png").stat().st_size > 10_000
