"""Every algorithm, forced by name, on every problem: exact values, and what needs no oracle."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from problems import PROBLEMS, RESULTS, line

import torchconv
from torchconv import _C, testing

FLOATING = ("float32", "float64", "bfloat16", "float16", "complex64", "complex128")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
DTYPES = (*FLOATING, *INTEGERS)
ALGORITHMS = Path(__file__).parent.parent / "csrc" / "plan" / "algorithms.h"
ALL = tuple(testing.algorithms())
EXACT = tuple(name for name in ALL if testing.is_exact(name))


def refuses(algorithm: str, problem_line: str) -> bool:
    candidates = {c.name: c for c in _C.plan(problem_line).candidates}
    return bool(candidates[algorithm].refusal)


def forced(algorithm: str, problem_line: str):
    """Forces the algorithm, or where it refuses gemm, which never does, and is exact."""
    return testing.algorithm("gemm" if refuses(algorithm, problem_line) else algorithm)


def willing(problem_line: str, algorithms=ALL) -> list[str]:
    """Those of the algorithms that do not refuse it."""
    plan = _C.plan(problem_line)
    return [c.name for c in plan.candidates if c.name in algorithms and not c.refusal]


def problems(dtypes=DTYPES):
    """All of the table. What needs a reference makes it once, for every algorithm."""
    return [
        pytest.param(line(name, result, dtype), id=f"{name}-{result}-{dtype}")
        for name in PROBLEMS
        for result in RESULTS
        for dtype in dtypes
    ]


def assert_agree(algorithm, actual, expected, problem):
    """Equal; or, where the algorithm rounds, close, for operands that are small integers."""
    if algorithm in EXACT:
        assert torch.equal(actual, expected), problem
    else:
        eps = torch.finfo(expected.dtype).eps
        torch.testing.assert_close(actual, expected, rtol=2 * eps, atol=1e-2)


def padded(x: torch.Tensor, p: dict) -> torch.Tensor:
    """The input under its padding mode, cropped or padded on both sides to just what is read."""
    pads: list[int] = []
    for a in reversed(range(len(p["stride"]))):
        last = (p["output_size"][a] - 1) * p["stride"][a] + (p["kernel_size"][a] - 1) * p[
            "dilation"
        ][a]
        pads += [p["padding"][a], last - p["padding"][a] - (p["input_size"][a] - 1)]
    mode = "constant" if p["padding_mode"] == "zeros" else p["padding_mode"]
    return F.pad(F.pad(x, [max(v, 0) for v in pads], mode=mode), [min(v, 0) for v in pads])


def native(problem_line: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same by torch's own convolution in float64, its gradients by torch's autograd."""
    p = _C.parse(problem_line)
    dtype = getattr(torch, p["dtype"])
    wide = torch.complex128 if dtype.is_complex else torch.float64
    t = {name: tensor.to(wide) for name, tensor in tensors.items()}
    conv = (F.conv1d, F.conv2d, F.conv3d)[len(p["stride"]) - 1]

    def forward(x, w):
        w = w.flip(list(range(2, w.dim()))) if p["flip"] else w
        args = (p["stride"], 0, p["dilation"], p["groups"])
        return conv(padded(x, p), w, t.get("bias"), *args)

    if p["result"] == "output":
        return forward(t["input"], t["weight"]).to(dtype)
    of = t[p["result"]].clone().requires_grad_()
    y = forward(*(of if name == p["result"] else t[name] for name in ("input", "weight")))
    # torch conjugates the other factor of a complex product, the operators do not.
    (gradient,) = torch.autograd.grad(y, of, t["output"].conj())
    return gradient.conj().resolve_conj().to(dtype)


@pytest.mark.parametrize("problem", problems())
def test_equals_the_defining_sum_exactly(problem):
    tensors = testing.from_line(problem)
    expected = testing.reference(problem, tensors)
    for algorithm in willing(problem, EXACT):
        with testing.algorithm(algorithm):
            assert torch.equal(testing.run(problem, tensors), expected), f"{algorithm}: {problem}"


@pytest.mark.parametrize("algorithm", testing.algorithms())
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("name", ["deep", "depthwise", "wide_blocks", "stride_2", "reflect"])
def test_whole_numbers_wrap(name, result, dtype, algorithm):
    problem = line(name, result, dtype)
    limits = torch.iinfo(getattr(torch, dtype))
    tensors = {
        k: torch.randint(limits.min, limits.max, t.shape, dtype=t.dtype)
        for k, t in testing.from_line(problem).items()
    }
    with forced(algorithm, problem):
        assert torch.equal(testing.run(problem, tensors), testing.reference(problem, tensors))


# torch has no empty sums, and would make the padded input.
BEYOND_TORCH = ("empty_batch", "empty_output", "no_input_channels", "replicate_far")


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", [name for name in PROBLEMS if name not in BEYOND_TORCH])
def test_reference_equals_torch_exactly(name, dtype, result):
    problem = line(name, result, dtype)
    tensors = testing.from_line(problem)
    assert torch.equal(testing.reference(problem, tensors), native(problem, tensors)), problem


@pytest.mark.parametrize("problem", problems(FLOATING))
def test_rounding_stays_within_its_bound(problem):
    tensors = testing.from_line(problem, integers=False)
    exact = in_double(problem, tensors)
    of_exact = testing.error_bound(problem, tensors)
    for algorithm in willing(problem):
        with testing.algorithm(algorithm):
            error = (testing.run(problem, tensors).to(exact.dtype) - exact).abs()
        inexact = algorithm not in EXACT
        bound = testing.error_bound(problem, tensors, algorithm) if inexact else of_exact
        assert (error <= bound).all(), f"{algorithm}: {problem}"


def in_double(problem, tensors):
    dtype = problem.split()[1]
    wide = "complex128" if dtype.startswith("complex") else "float64"
    t = {name: tensor.to(getattr(torch, wide)) for name, tensor in tensors.items()}
    return testing.reference(problem.replace(dtype, wide, 1), t)


@pytest.mark.parametrize("algorithm", testing.algorithms())
@pytest.mark.parametrize("name", PROBLEMS)
def test_three_operators_are_adjoint(name, algorithm):
    """<conv(x, w), y> = <x, conv_input(y, w)> = <w, conv_weight(x, y)>, exactly on integers, but
    for an algorithm that rounds."""
    lines = {r: line(name, r, "float64").replace(" bias=1", "") for r in RESULTS}
    tensors = testing.from_line(lines["output"])
    forms = set()
    for result, problem in lines.items():
        with forced(algorithm, problem):
            got = testing.run(problem, tensors)
        if algorithm not in EXACT:  # the tensors are integers, and so are the exact results
            assert (got - got.round()).abs().max().item() < 1e-6 if got.numel() else True
            got = got.round()
        forms.add((got * tensors[result]).sum().item())
    assert len(forms) == 1, (line(name), forms)


@pytest.mark.parametrize("algorithm", testing.algorithms())
@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("name", ["3x3", "stride_2", "reflect", "grouped", "deep"])
def test_is_linear(name, result, algorithm):
    problem = line(name, result).replace(" bias=1", "")
    one, two = (testing.from_line(problem, seed=seed) for seed in (1, 2))
    varied = "weight" if result != "weight" else "output"
    two = {**one, varied: two[varied]}
    both = {**one, varied: 2 * one[varied] - 3 * two[varied]}
    with forced(algorithm, problem):
        combined = 2 * testing.run(problem, one) - 3 * testing.run(problem, two)
        assert_agree(algorithm, testing.run(problem, both), combined, problem)


@pytest.mark.parametrize("algorithm", testing.algorithms())
def test_impulse_shows_the_taps(algorithm):
    """A single one in the input prints the weight, turned, around its place."""
    x = torch.zeros(1, 1, 7, 7)
    x[0, 0, 3, 3] = 1
    w = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    zero, one = [0, 0], [1, 1]
    with testing.algorithm(algorithm):
        y = torch.ops.torchconv.conv(x, w, None, None, one, zero, one, 1, False)
        flipped = torch.ops.torchconv.conv(x, w, None, None, one, zero, one, 1, True)
    assert_agree(algorithm, y[0, 0, 1:4, 1:4], w[0, 0].flip(0, 1), "impulse")
    assert_agree(algorithm, flipped[0, 0, 1:4, 1:4], w[0, 0], "impulse, flipped")
    assert_agree(algorithm, y.sum(), w.sum(), "all of it")


@pytest.mark.parametrize("algorithm", testing.algorithms())
@pytest.mark.parametrize("name", ["3x3", "deep", "strip_across_images", "reflect", "stride_2"])
def test_nan_reaches_exactly_what_sees_it(name, algorithm):
    problem = line(name)
    tensors = testing.from_line(problem)
    tensors["weight"] = tensors["weight"].abs() + 1
    place = tuple(size // 2 for size in tensors["input"].shape)
    mark = torch.zeros_like(tensors["input"])
    mark[place] = 1
    sees = testing.reference(problem, {"input": mark, "weight": tensors["weight"]}) != 0
    tensors["input"][place] = float("nan")
    with forced(algorithm, problem):
        got = testing.run(problem, tensors).isnan()
    if algorithm in EXACT or refuses(algorithm, problem):
        assert torch.equal(got, sees), problem
    else:  # all that see it, and none outside their tiles: of at most 4x4, or of the whole image
        near = F.max_pool2d(sees.float(), 7, 1, 3) > 0
        if algorithm == "fft":
            near = sees.flatten(1).any(1).reshape(-1, 1, 1, 1).expand_as(sees)
        assert (got | ~sees).all() and (near | ~got).all(), problem


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flushed on x86 alone")
@pytest.mark.parametrize("algorithm", [name for name in ALL if name != "reference"])
@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("name", ["3x3", "grouped", "stride_2", "deep"])
def test_denormals_are_flushed_inside_a_call_alone(name, result, algorithm):
    """A processor takes a hundred times as long for products of them."""
    problem = line(name, result).replace(" bias=1", "")
    smallest = torch.finfo(torch.float32).smallest_normal
    tensors = {k: torch.full_like(t, smallest / 8) for k, t in testing.from_line(problem).items()}
    small = "weight" if result == "input" else "input" if result == "output" else "output"
    tensors = {k: t if k == small else torch.ones_like(t) for k, t in tensors.items()}
    with forced(algorithm, problem):
        assert testing.run(problem, tensors).count_nonzero() == 0
    assert (tensors[small] * 1.0).count_nonzero() == tensors[small].numel()


LAYOUTS = {
    "channels_last": lambda t: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t,
    "transposed": lambda t: t.transpose(-1, -2).contiguous().transpose(-1, -2),
    "batch_inside": lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0),
    "every_second": lambda t: torch.stack([t, t.new_full(t.shape, 99)], -1).flatten(-2)[..., ::2],
    "expanded": lambda t: t[:1].expand_as(t),
}
LAID_OUT = [
    *("1x1", "3x3", "3d", "grouped", "strip_across_images", "stride_2"),
    *("groups_16", "groups_49", "groups_4_to_8", "groups_16_to_16"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", testing.algorithms())
@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("name", LAID_OUT)
def test_any_layout_without_a_copy(name, result, algorithm, layout):
    for dtype in ("float32", "bfloat16", "complex64"):
        problem = line(name, result, dtype)
        tensors = testing.from_line(problem)
        laid_out = {k: LAYOUTS[layout](t) if k != "bias" else t for k, t in tensors.items()}
        dense = {k: t.contiguous() for k, t in laid_out.items()}
        before = {k: t.clone() for k, t in laid_out.items()}
        with forced(algorithm, problem):
            got = testing.run(problem, laid_out)
        assert_agree(algorithm, got, testing.reference(problem, dense), problem)
        assert all(torch.equal(before[k], t) for k, t in laid_out.items())


def test_all_algorithms_are_listed_and_really_run():
    of_cpu = ALGORITHMS.read_text().split("#define TORCHCONV_CUDA_ALGORITHMS")[0]
    assert testing.algorithms() == re.findall(r"X\((\w+)\)", of_cpu)
    x, w = torch.randn(1, 4, 9, 9), torch.randn(4, 4, 3, 3)
    args = (None, None, [1, 1], [0, 0], [1, 1], 1, False)
    results = []
    for name in testing.algorithms():
        with testing.algorithm(name):
            results.append(torch.ops.torchconv.conv(x, w, *args))
    # Sums in float and in double agree closely, but not in every bit.
    *others, reference = results
    for other in others:
        assert not torch.equal(other, reference)
        torch.testing.assert_close(other, reference, rtol=1e-5, atol=1e-4)


def test_a_forced_algorithm_that_refuses_says_why():
    x = torch.ones(1, 20000, 1)
    reason = "direct was forced but refuses: 20000 taps"
    with testing.algorithm("direct"), pytest.raises(RuntimeError, match=reason):
        torch.ops.torchconv.conv(x, x, None, None, [1], [0], [1], 1, False)


def test_an_unknown_algorithm_in_the_environment_is_refused():
    code = "import torch, torchconv; torchconv.conv1d(torch.ones(1, 1, 2), torch.ones(1, 1, 1))"
    environment = {**os.environ, "TORCHCONV_ALGORITHM": "magic"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "algorithm magic was forced but none on cpu has this name; there are" in done.stderr


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex128"])
def test_scratch_is_bounded_whatever_the_problem(dtype, result):
    huge = (
        "batch=64 channels=4096>4096 input=512x512 kernel=3x3 padding=1x1",
        "batch=2 channels=512>512 input=40x40x40 kernel=5x5x5 padding=2x2x2",
        "batch=64 channels=8192>8192 groups=8192 input=256x256 kernel=51x51 padding=25x25",
        "channels=1>1 input=10000000 kernel=4000001 padding=100",
        "batch=4096 channels=3>64 input=7x7 kernel=7x7",
        "channels=65536>65536 input=4x4 kernel=1x1",
    )
    for fields in huge:
        for threads in (1, 2, 64):
            plan = _C.plan(f"{result} {dtype} {fields}", threads)
            for candidate in plan.candidates:
                weights = 0 if candidate.name in EXACT else 2**23  # transformed, for all workers
                most = threads * 2**21 + weights
                assert candidate.scratch_bytes <= most, (candidate.name, plan.problem)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("kernel=17", "kernel size 17 (winograd needs 1 to 16)"),
        ("kernel=33 stride=2", "kernel size 33 at stride 2 (winograd needs 1 to 32)"),
        ("kernel=10 stride=2", ""),
        ("kernel=3 stride=2 dilation=2", "dilation 2 at stride 2 (winograd needs 1)"),
        ("kernel=3 stride=2", ""),
        ("kernel=2 stride=2", "no kernel size above the stride (winograd needs one)"),
        ("kernel=6 stride=5", "kernel size 6 at stride 5 (winograd would save nothing)"),
        ("kernel=18 stride=17", "stride 17 (winograd needs at most 16)"),
    ],
)
@pytest.mark.parametrize("result", ["output", "weight"])
def test_winograd_needs_taps_on_both_sides_of_a_stride(fields, reason, result):
    plan = _C.plan(f"{result} float32 batch=128 channels=4>4 input=99 {fields}")
    assert next(c.refusal for c in plan.candidates if c.name == "winograd") == reason


@pytest.mark.parametrize(
    ("fields", "least"),
    [
        ("input=5x5 kernel=5x5", 128),
        ("input=3x5 kernel=3x5", 128),
        ("input=5x3x5 kernel=5x3x5", 512),
        ("input=5 kernel=5", 1),
    ],
)
def test_winograd_by_five_taps_needs_positions(fields, least):
    """By weight, its error grows more slowly with them than the sums it is held against."""
    fields = f"channels=4>4 {fields}"
    assert not refuses("winograd", f"weight float32 batch={least} {fields}")
    if least > 1:
        reason = f"{least - 1} positions"
        candidates = _C.plan(f"weight float32 batch={least - 1} {fields}").candidates
        assert any(c.name == "winograd" and reason in c.refusal for c in candidates)
        assert not refuses("winograd", f"output float32 batch={least - 1} {fields}")


def test_highest_precision_and_deterministic_mode_leave_only_exact_algorithms():
    problem = "output float32 batch=8 channels=64>64 input=56x56 kernel=3x3 padding=1x1"
    assert not testing.is_exact(_C.plan(problem).algorithm)
    try:
        torchconv.set_precision("highest")
        assert testing.is_exact(_C.plan(problem).algorithm)
        assert refuses("winograd", problem)
        with testing.algorithm("winograd"):
            assert _C.plan(problem).algorithm == "winograd"
        torchconv.set_precision("high")
        torch.use_deterministic_algorithms(True)
        assert testing.is_exact(_C.plan(problem).algorithm)
    finally:
        torchconv.set_precision("high")
        torch.use_deterministic_algorithms(False)
    with pytest.raises(ValueError, match="'medium'"):
        torchconv.set_precision("medium")


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.complex64])
def test_of_an_empty_axis_there_is_its_padding(algorithm, dtype):
    of_type = str(dtype).removeprefix("torch.")
    problem = f"output {of_type} batch=2 channels=3>4 input=5x0 kernel=3x2 padding=1x2 bias=1"
    input, weight = torch.ones(2, 3, 5, 0, dtype=dtype), torch.ones(4, 3, 3, 2, dtype=dtype)
    bias = torch.arange(4).to(dtype)
    with forced(algorithm, problem):
        output = torchconv.conv2d(input, weight, bias, padding=(1, 2))
    assert torch.equal(output, bias.view(4, 1, 1).expand(2, 4, 5, 3))
