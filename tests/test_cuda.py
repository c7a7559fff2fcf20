"""The operators on a GPU. Everything here needs one; tests/test_cuda_core.py needs none."""

import pytest
import torch
from problems import PROBLEMS, RESULTS, line
from torch.autograd import gradcheck, gradgradcheck

import torchconv
from torchconv import _C, testing


def why_not() -> str:
    if not _C.algorithms("cuda"):
        return "this build has no CUDA kernels"
    return "" if torch.cuda.is_available() else "no CUDA device is here"


pytestmark = [pytest.mark.cuda, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

ALGORITHMS = tuple(_C.algorithms("cuda"))
FLOATING = ("float32", "float64", "bfloat16", "float16", "complex64", "complex128")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
OPERATORS = torch.ops.torchconv
SAMPLES = ("3x3", "stride_2", "grouped", "depthwise", "reflect", "flip_3d_grouped", "last_dense")


def on_cuda(name: str, result: str, dtype: str) -> str:
    return f"{line(name, result, dtype)} device=cuda"


def refuses(algorithm: str, problem: str) -> bool:
    return bool({c.name: c.refusal for c in _C.plan(problem).candidates}[algorithm])


def on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", (*FLOATING, *INTEGERS))
@pytest.mark.parametrize("result", RESULTS)
def test_small_integers_are_exact(result, dtype, algorithm):
    """Every problem of the table, as the CPU's reference has it; bit by bit where it must be."""
    for name in PROBLEMS:
        problem = on_cuda(name, result, dtype)
        if refuses(algorithm, problem):
            continue
        tensors = testing.from_line(problem)
        with testing.algorithm(algorithm):
            actual = testing.run(problem, tensors)
        assert actual.is_cuda
        expected = testing.reference(line(name, result, dtype), on_cpu(tensors))
        assert actual.stride() == expected.stride(), problem
        # Neither need round 16 bits once where padding folds: some round at every fold.
        folds = result == "input" and "padding_mode=" in problem and "float16" in dtype
        if testing.is_exact(algorithm, "cuda") and not folds:
            assert torch.equal(actual.cpu(), expected), problem
        else:
            torch.testing.assert_close(actual.cpu(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("result", RESULTS)
def test_rounding_stays_within_its_bound_of_float64(result, dtype, algorithm):
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for name in PROBLEMS:
            problem = on_cuda(name, result, dtype)
            if refuses(algorithm, problem):
                continue
            tensors = testing.from_line(problem, integers=False)
            wide = torch.complex128 if dtype.startswith("complex") else torch.float64
            exact = testing.reference(
                line(name, result, str(wide).removeprefix("torch.")),
                {key: tensor.cpu().to(wide) for key, tensor in tensors.items()},
            )
            with testing.algorithm(algorithm):
                error = (testing.run(problem, tensors).cpu().to(wide) - exact).abs()
            bound = testing.error_bound(line(name, result, dtype), on_cpu(tensors))
            assert (error <= bound).all(), problem


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", SAMPLES)
def test_same_bits_every_run(name, algorithm):
    for result in RESULTS:
        problem = on_cuda(name, result, "float32")
        if refuses(algorithm, problem):
            continue
        tensors = testing.from_line(problem, integers=False)
        with testing.algorithm(algorithm):
            one, two = testing.run(problem, tensors), testing.run(problem, tensors)
        assert torch.equal(one, two), problem


def sample(dtype=torch.float64, device="cuda", requires_grad=False):
    shapes = {"x": (2, 4, 6, 7), "w": (6, 2, 3, 3), "b": (6,)}
    return [
        torch.randn(shape, dtype=dtype, device=device, requires_grad=requires_grad)
        for shape in shapes.values()
    ]


def convolve(x, w, b):
    return torchconv.conv2d(x, w, b, stride=2, padding=1, groups=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients(dtype):
    tensors = sample(dtype, requires_grad=True)
    assert gradcheck(convolve, tensors, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(convolve, tensors, check_fwd_over_rev=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype):
    x, w, b = sample(dtype, requires_grad=True)
    geometry = ([2, 2], [1, 1], [1, 1], 2, False)
    torch.library.opcheck(OPERATORS.conv.default, (x, w, b, None, *geometry))
    y = torch.randn_like(convolve(x, w, b)).requires_grad_()
    torch.library.opcheck(OPERATORS.conv_input.default, (y, w, [6, 7], *geometry))
    torch.library.opcheck(OPERATORS.conv_weight.default, (x, y, [3, 3], *geometry))


def test_compile_fullgraph():
    tensors = sample(torch.float32)
    compiled = torch.compile(convolve, fullgraph=True)
    torch.testing.assert_close(compiled(*tensors), convolve(*tensors))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_graph_captures_forward_and_backward(algorithm):
    taken = [
        dtype
        for dtype in ("float32", "bfloat16")
        if not any(refuses(algorithm, on_cuda("3x3", result, dtype)) for result in RESULTS)
    ]
    x, w, b = sample(getattr(torch, (taken or ["float32"])[0]), requires_grad=True)
    y = torch.randn_like(convolve(x, w, b))

    def step():
        return torch.autograd.grad(convolve(x, w, b), (x, w), y)

    with testing.algorithm(algorithm if taken else ""):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = step()
        with torch.no_grad():
            x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(captured, step(), rtol=0, atol=0)


def test_runs_on_the_current_stream():
    """Behind a sleep on that stream: a kernel elsewhere would read what was there before."""
    x, w, b = sample(torch.float32)
    expected = convolve(x, w, b)
    late, stream = torch.zeros_like(x), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late.copy_(x)
        actual = convolve(late, w, b)
    stream.synchronize()
    assert torch.equal(actual, expected)


def test_layouts_are_as_on_the_cpu():
    x, w, b = sample(torch.float32)
    for format in (torch.contiguous_format, torch.channels_last):
        laid_out = x.to(memory_format=format)
        expected = convolve(laid_out.cpu(), w.cpu(), b.cpu())
        actual = convolve(laid_out, w, b)
        assert actual.stride() == expected.stride()
        torch.testing.assert_close(actual.cpu(), expected)
        odd = laid_out.transpose(2, 3).contiguous().transpose(2, 3)
        torch.testing.assert_close(convolve(odd, w, b).cpu(), expected)


def test_empty_tensors():
    x, w, b = sample(torch.float32)
    assert convolve(x[:0], w, b).shape == (0, 6, 3, 4)
    weight = OPERATORS.conv_weight(x[:0, :, :], convolve(x[:0], w, b), [3, 3], [2, 2], [1, 1],
                                   [1, 1], 2, False)  # fmt: skip
    assert weight.shape == w.shape and not weight.any()


def test_autocast_vmap_and_complex32():
    x, w, b = sample(torch.float32)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert convolve(x, w, b).dtype == torch.bfloat16
    mapped = torch.vmap(convolve, (0, None, None))(torch.stack([x, 2 * x]), w, b)
    torch.testing.assert_close(mapped[1], convolve(2 * x, w, b))
    halves = [tensor.to(torch.complex32) for tensor in (x, w, b)]
    assert convolve(*halves).dtype == torch.complex32


def test_errors_are_those_of_the_cpu():
    x, w, b = sample(torch.float32)
    with pytest.raises(RuntimeError, match="input has 3 channels but weight expects 4"):
        convolve(x[:, :3], w, b)
    with pytest.raises(RuntimeError, match=r"on cuda:0 but weight is on cpu|same device"):
        OPERATORS.conv(x, w.cpu(), None, None, [1, 1], [0, 0], [1, 1], 2, False)


def test_explain_shows_what_runs():
    x, w, b = sample(torch.float32)
    plan = torchconv.explain(x, w, b, stride=2, padding=1, groups=2)
    assert "device=cuda" in plan.problem and plan.algorithm in ALGORITHMS
    major, minor = torch.cuda.get_device_capability()
    assert _C.parse(plan.problem)["capability"] == 10 * major + minor


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device")
def test_another_device_than_the_current_one():
    tensors = sample(torch.float32, device="cuda:1")
    actual = convolve(*tensors)
    assert actual.device == torch.device("cuda:1") and torch.cuda.current_device() == 0
    torch.testing.assert_close(actual.cpu(), convolve(*(t.cpu() for t in tensors)))


@pytest.mark.long
def test_more_than_2_to_31_elements():
    x = torch.zeros(1, 1, 2**31 + 100, dtype=torch.int8, device="cuda")
    x[0, 0, -1] = 3
    y = torchconv.conv1d(x, torch.ones(1, 1, 2, dtype=torch.int8, device="cuda"))
    assert y[0, 0, -1] == 3 and y.sum() == 3
