"""explain() and the helpers of torchconv.testing."""

import copy
import dataclasses

import pytest
import torch

import torchconv
from torchconv import _C, testing
from torchconv.explain import plan

LINES = [
    "output float32 batch=2 channels=4>6 groups=2 input=7x6 kernel=3x2 bias=1",
    "output int64 channels=3>2 input=9 kernel=3 stride=2 padding=1",
    "input float32 batch=2 channels=4>6 input=9x8 kernel=3x3 stride=2x2 padding=1x1 flip=1",
    "weight float64 batch=3 channels=2>4 input=5x4x6 kernel=2x2x2 dilation=1x2x1",
    "output complex64 channels=2>2 input=8 kernel=3 padding=2 padding_mode=reflect",
]


def test_a_plan_names_the_problem_and_every_algorithm() -> None:
    input, weight = torch.zeros(8, 64, 56, 56), torch.zeros(128, 64, 3, 3)
    shown = torchconv.explain(input, weight, torch.zeros(128), 2, 1, threads=2)
    assert shown.problem.startswith("output float32 batch=8 channels=64>128 groups=1 input=56x56")
    assert "output=28x28" in shown.problem and shown.problem.endswith("bias=1")
    assert shown.threads == 2
    assert [c.name for c in shown.candidates] == testing.algorithms()
    possible = [c for c in shown.candidates if not c.refusal]
    cheapest = min(possible, key=lambda candidate: candidate.cost_s)
    assert shown.algorithm == cheapest.name and cheapest.cost_s > 0
    text = str(shown)
    assert text.startswith(shown.problem)
    assert all(name in text for name in testing.algorithms())
    assert f"chosen: {shown.reason}" in text


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("result", ["output", "input", "weight"])
def test_the_plan_is_of_the_problem_that_runs(result: str, transposed: bool) -> None:
    input, weight = torch.zeros(4, 8, 8), torch.zeros(4, 4, 3, 3)
    shown = torchconv.explain(input, weight, stride=2, transposed=transposed, result=result)
    problem = _C.parse(shown.problem)
    # The forward of a transposed convolution computes the input of the form.
    swapped = {"output": "input", "input": "output", "weight": "weight"}
    assert problem["result"] == (swapped[result] if transposed else result)
    assert problem["batch"] == 1
    outside, inside = ("input_size", "output_size") if transposed else ("output_size", "input_size")
    assert problem[inside] == [8, 8]
    assert problem[outside] == ([17, 17] if transposed else [3, 3])


@pytest.mark.parametrize("result", ["output", "input"])
def test_taps_that_see_nothing_but_padding_cost_nothing(result: str) -> None:
    line = f"{result} float32 channels=32>32 input=1x7 "
    rows = {
        kernel: [
            (c.name, c.refusal, c.cost_s, c.scratch_bytes)
            for c in plan(line + kernel, 1).candidates
        ]
        for kernel in ("kernel=3x3 padding=1x1", "kernel=1x3 padding=0x1")
    }
    assert len({*map(str, rows.values())}) == 1
    with pytest.raises(ValueError, match="fft refuses: kernel size 1 "):
        _C.measure(f"{result} float32 channels=8>8 input=1 kernel=9 padding=4", "fft", 1)


def test_explain_reads_no_data_and_runs_nothing() -> None:
    size = 10**5
    input = torch.empty(1, 512, size, size, device="meta")
    shown = torchconv.explain(input, torch.empty(512, 512, 3, 3, device="meta"), padding="same")
    assert f"output={size}x{size}" in shown.problem


@pytest.mark.parametrize("arguments, message", [
    (dict(stride=0), r"conv2d: stride must be positive"),
    (dict(result="bias"), r"conv2d: result must be one of output, input, weight, got 'bias'"),
    (dict(transposed=True, output_padding=1), r"conv_transpose2d: output_padding must be smaller"),
])  # fmt: skip
def test_explain_raises_what_the_call_would(arguments: dict[str, object], message: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=message):
        torchconv.explain(torch.zeros(1, 4, 8, 8), torch.zeros(4, 4, 3, 3), **arguments)


def test_a_forced_algorithm_shows() -> None:
    with testing.algorithm("reference"):
        assert plan(LINES[0]).algorithm == "reference"
        assert _C.forced_algorithm() == "reference"
    assert _C.forced_algorithm() == ""
    with pytest.raises(ValueError, match="reference"), testing.algorithm("magic"):
        pass


def test_plans_are_values() -> None:
    shown = plan(LINES[0])
    assert copy.deepcopy(shown) == shown
    assert dataclasses.replace(shown, threads=7) != shown


@pytest.mark.parametrize("line", LINES)
def test_a_line_makes_tensors_that_every_algorithm_agrees_on(line: str) -> None:
    tensors = testing.from_line(line)
    expected = testing.reference(line, tensors)
    assert expected.shape == tensors[line.split()[0]].shape
    for candidate in plan(line).candidates:
        if not candidate.refusal:
            with testing.algorithm(candidate.name):
                got = testing.run(line, tensors)
            if testing.is_exact(candidate.name):
                assert torch.equal(got, expected), candidate.name
            else:
                bound = testing.error_bound(line, tensors, candidate.name)
                assert ((got - expected).abs() <= bound).all(), candidate.name


@pytest.mark.parametrize("line", [line for line in LINES if "int64" not in line])
def test_error_bound_holds_and_is_not_idle(line: str) -> None:
    tensors = testing.from_line(line, integers=False)
    dtype = tensors["input"].dtype
    exact = torch.complex128 if dtype.is_complex else torch.float64
    double = line.replace(str(dtype).removeprefix("torch."), str(exact).removeprefix("torch."))
    truth = testing.reference(double, {name: t.to(exact) for name, t in tensors.items()})
    bound = testing.error_bound(line, tensors)
    error = (testing.run(line, tensors).to(exact) - truth).abs()
    assert (error <= bound).all()
    assert (bound <= 1e-2 * (1 + truth.abs())).all()


def test_a_plan_shows_itself_in_a_notebook() -> None:
    shown = plan(LINES[0])
    text = shown._repr_html_()
    assert text.count("<tr>") == 1 + len(shown.candidates)
    assert text.count("font-weight:bold") == 6 and "channels=4&gt;6" in text
    with testing.algorithm("direct"):
        refused = plan("output float32 channels=20000>2 input=9 kernel=3")
    assert refused.algorithm is None
    assert "nothing would run" in str(refused) and "bold" not in refused._repr_html_()
