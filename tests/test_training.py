"""What training relies on without knowing: saved tensors, wrapped weights, threads, bits."""

import copy
import threading
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

import torchconv
from torchconv import testing

DTYPES = [
    torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128,
    torch.int8, torch.int64,
]  # fmt: skip


def small() -> nn.Sequential:
    return nn.Sequential(
        torchconv.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        torchconv.Conv2d(8, 8, 3, padding="same", groups=2, padding_mode="circular"),
        nn.ReLU(),
        torchconv.ConvTranspose2d(8, 2, 3, stride=2),
    )


def gradients(model: nn.Module, input: Tensor) -> list[Tensor]:
    model.zero_grad()
    model(input).square().mean().backward()
    return [p.grad.clone() for p in model.parameters()]


def equal(ours: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_saved_tensor_hooks() -> None:
    model, input = small(), torch.randn(2, 3, 6, 6)
    expected = gradients(model, input)
    saved = []

    def pack(tensor: Tensor) -> int:
        saved.append(tensor.detach().clone())
        return len(saved) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, saved.__getitem__):
        assert equal(gradients(model, input), expected)
    shapes = [tuple(tensor.shape) for tensor in saved]
    assert (8, 3, 3, 3) not in shapes  # the input needs no gradient, so its weight is not kept
    assert (2, 3, 6, 6) in shapes and (8, 4, 3, 3) in shapes
    with torch.autograd.graph.save_on_cpu():
        assert equal(gradients(model, input), expected)


def test_backward_twice_needs_retain_graph() -> None:
    input, weight = torch.randn(1, 2, 8, requires_grad=True), torch.randn(2, 2, 3)
    output = torchconv.conv1d(input, weight).sum()
    output.backward(retain_graph=True)
    output.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        output.backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant: bool) -> None:
    model, input = small(), torch.randn(2, 3, 6, 6, requires_grad=True)
    expected = gradients(model, input)
    model.zero_grad()
    checkpoint(model, input, use_reentrant=reentrant).square().mean().backward()
    assert equal([p.grad for p in model.parameters()], expected)


# Wrappers of weights

WRAPPERS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer).eval(),
    "prune": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
}


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("way", WRAPPERS)
def test_wrapped_weights(way: str, name: str) -> None:
    layers = []
    for home in (torchconv, nn):
        torch.manual_seed(3)
        layers.append(WRAPPERS[way](getattr(home, name)(4, 4, 3, padding=1, dtype=torch.float64)))
    input = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    for a, b in zip(*(gradients(layer, input) for layer in layers), strict=True):
        torch.testing.assert_close(a, b)


def test_parametrization_of_our_layer() -> None:
    class Symmetric(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight + weight.flip(-1)

    layer = torchconv.Conv1d(2, 2, 3, bias=False)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    input = torch.randn(1, 2, 9)
    torch.testing.assert_close(layer(input.flip(-1)).flip(-1), layer(input))


# Workers


def test_threads_may_call_at_once() -> None:
    model, inputs = small(), [torch.randn(2, 3, n, n) for n in (6, 9, 13, 20)]
    expected = [torch.autograd.grad(model(x).sum(), [*model.parameters()]) for x in inputs]
    results = [None] * len(inputs)

    def work(i: int) -> None:
        for _ in range(20):
            results[i] = torch.autograd.grad(model(inputs[i]).sum(), [*model.parameters()])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, wanted in zip(results, expected, strict=True):
        assert equal(result, wanted)


# Numbers


@pytest.mark.parametrize("function", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("weight_last", [False, True])
@pytest.mark.parametrize("input_last", [False, True])
def test_memory_format_is_torchs(function: str, input_last: bool, weight_last: bool) -> None:
    def laid_out(last: bool, *shape: int) -> Tensor:
        layout = torch.channels_last if last else torch.contiguous_format
        return torch.randn(shape).to(memory_format=layout).requires_grad_()

    tensors = [laid_out(input_last, 2, 4, 7, 6), laid_out(weight_last, 4, 4, 3, 3)]
    strides = []
    for home in (torchconv, F):
        output = getattr(home, function)(*tensors, stride=2, padding=1)
        results = [output, *torch.autograd.grad(output, tensors, torch.ones_like(output))]
        strides.append([result.stride() for result in results])
    assert strides[0] == strides[1]


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


# Each of enough multiply-adds (csrc/micro/tasks.h) to be shared by threads.
LINES = {
    "images": "batch=9 channels=13>10 input=17x15 kernel=3x3 output=9x15 stride=2x1 padding=1x1",
    "grouped": "batch=2 channels=24>36 groups=3 input=19x18 kernel=5x3 output=19x18 padding=2x1",
    "deep": "batch=2 channels=160>40 input=9x9 kernel=3x3 output=9x9 padding=1x1",
    "signal": "batch=2 channels=9>5 input=700 kernel=31 output=700 padding=30 dilation=2",
    "depthwise": "batch=2 channels=37>37 groups=37 input=14x15 kernel=7x7 padding=3x3",
    "depthwise_strided": "batch=9 channels=37>37 groups=37 input=29x31 kernel=3x3 stride=2x2 "
    "padding=1x1",
    "few_a_group": "batch=2 channels=64>64 groups=16 input=19x18 kernel=3x3 padding=1x1",
    "first": "batch=3 channels=3>16 input=70x51 kernel=5x5 stride=2x2 padding=2x2",
    "point": "batch=2 channels=512>700 input=1x1 kernel=1x1",
}


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("result", ["output", "input", "weight"])
def test_same_bits_at_every_number_of_threads(result: str, dtype: torch.dtype) -> None:
    for line in LINES.values():
        line = f"{result} {str(dtype).removeprefix('torch.')} {line}"
        tensors = testing.from_line(line, integers=False)
        for name in testing.algorithms():
            plan = torchconv._C.plan(line)
            if any(c.refusal for c in plan.candidates if c.name == name):
                continue
            with testing.algorithm(name):
                torch.set_num_threads(1)
                expected = testing.run(line, tensors)
                for threads in (1, 2, 3, 7):
                    torch.set_num_threads(threads)
                    assert torch.equal(testing.run(line, tensors), expected), (name, threads, line)


@pytest.mark.parametrize("huge", [2**61, 2**62, 2**63 - 1])
def test_a_number_that_matters_not_may_be_huge(huge: int) -> None:
    """A stride that meets one output, a dilation that meets one tap."""

    def results(number: int) -> list[Tensor]:
        torch.manual_seed(0)
        tensors = [torch.randn(s, requires_grad=True) for s in ((2, 2, 3, 8), (2, 2, 1, 2))]
        outputs = [
            torchconv.conv2d(*tensors, stride=(number, 1)),
            torchconv.conv2d(*tensors, stride=(1, number), padding=1),
            torchconv.conv2d(*tensors, dilation=(number, 2)),
        ]
        return [*outputs, *torch.autograd.grad(sum(o.square().sum() for o in outputs), tensors)]

    for name in ("", "gemm", "reference"):  # those that make all gradients, and the free choice
        with testing.algorithm(name):
            assert equal(results(huge), results(100)), name


def test_copies_of_a_model_are_independent() -> None:
    model = small()
    other = copy.deepcopy(model)
    input = torch.randn(1, 3, 6, 6)
    before = model(input)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(model(input), before) and not other(input).any()
