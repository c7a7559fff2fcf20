"""What tensors, modes and graphs may ask of a native operator."""

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torchconv import _C

CONV = torch.ops.torchconv.conv
CONV_INPUT = torch.ops.torchconv.conv_input
CONV_WEIGHT = torch.ops.torchconv.conv_weight
GEOMETRY: tuple[Any, ...] = ([1, 1], [1, 1], [1, 1], 1, False)


def tensors(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 3, 5, 6).to(dtype), torch.randn(4, 3, 3, 3).to(dtype)


def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return CONV(input, weight, bias, None, *GEOMETRY)


# What a tensor may be


@pytest.mark.parametrize("view", [
    lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    lambda t: torch.stack([t, t], -1)[..., 1],
    lambda t: torch.cat([t, t], 1)[:, : t.shape[1]],
    lambda t: t[:, :1].expand_as(t),
    lambda t: t.contiguous(memory_format=torch.channels_last),
], ids=["transposed", "every_second", "slice", "expanded", "channels_last"])  # fmt: skip
def test_strides_are_followed(view) -> None:
    for operator, shapes, size in (
        (conv, [(2, 3, 5, 6), (4, 3, 3, 3)], ()),
        (CONV_INPUT, [(2, 4, 5, 6), (4, 3, 3, 3)], ([5, 6], *GEOMETRY)),
        (CONV_WEIGHT, [(2, 3, 5, 6), (2, 4, 5, 6)], ([3, 3], *GEOMETRY)),
    ):
        viewed = [view(torch.randn(shape)) for shape in shapes]
        dense = [tensor.contiguous() for tensor in viewed]
        torch.testing.assert_close(operator(*viewed, *size), operator(*dense, *size))


def test_conjugate_and_negative_views() -> None:
    input, weight = tensors(torch.complex64)
    conjugated = conv(input.conj(), weight.conj())
    assert not conjugated.is_conj()
    torch.testing.assert_close(conjugated, conv(input, weight).conj())
    negative = input.conj().imag
    assert negative.is_neg()
    torch.testing.assert_close(
        conv(negative, weight.real), conv(negative.resolve_neg(), weight.real.contiguous())
    )


def test_zero_tensors() -> None:
    input, weight = tensors()
    made = conv(torch._efficientzerotensor(input.shape), weight)
    assert made.shape == conv(input, weight).shape and not made.any()


def test_reading_leaves_copy_on_write_tensors_alone() -> None:
    copies = [torch._lazy_clone(tensor) for tensor in (*tensors(), torch.randn(4))]
    conv(*copies)
    assert all(torch._C._is_cow_tensor(copy) for copy in copies)


def test_complex32_is_complex64_rounded_once() -> None:
    input, weight = (tensor.to(torch.complex32) for tensor in tensors(torch.complex64))
    exact = conv(input.to(torch.complex64), weight.to(torch.complex64))
    assert torch.equal(torch.view_as_real(conv(input, weight)), torch.view_as_real(exact).half())


def test_empty_sums_are_zero() -> None:
    bias = torch.randn(4)
    made = conv(torch.zeros(2, 0, 5, 6), torch.zeros(4, 0, 3, 3), bias)
    assert torch.equal(made, bias.view(1, 4, 1, 1).expand(2, 4, 5, 6))
    weight = CONV_WEIGHT(torch.zeros(0, 3, 5, 6), torch.zeros(0, 4, 5, 6), [3, 3], *GEOMETRY)
    assert weight.shape == (4, 3, 3, 3) and not weight.any()


# Modes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_casts_all_three(dtype: torch.dtype) -> None:
    (input, weight), output = tensors(), torch.randn(2, 4, 5, 6)
    weight.requires_grad_()
    with torch.autocast("cpu", dtype):
        assert conv(input, weight, torch.randn(4)).dtype == dtype
        assert CONV_INPUT(output, weight, [5, 6], *GEOMETRY).dtype == dtype
        assert CONV_WEIGHT(input, output, [3, 3], *GEOMETRY).dtype == dtype
        assert conv(input.double(), weight.double()).dtype == torch.float64
        conv(input, weight).sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_inference_mode() -> None:
    input, weight = tensors()
    with torch.inference_mode():
        made = conv(input, weight.requires_grad_())
    assert made.is_inference() and not made.requires_grad
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        conv(made[:, :3], weight)


def test_deterministic_mode_changes_nothing() -> None:
    input, weight = tensors()
    expected = conv(input, weight)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(conv(input, weight), expected)
    finally:
        torch.use_deterministic_algorithms(False)


def test_profiler_and_graph_show_names() -> None:
    input, weight = tensors()
    with torch.profiler.profile() as profile:
        made = conv(input, weight.requires_grad_())
        made.sum().backward()
    names = {event.key for event in profile.key_averages()}
    assert {"torchconv::conv", "torchconv::conv_weight", "TorchconvConvBackward"} <= names
    assert "torchconv::conv_input" not in names
    assert made.grad_fn is not None and made.grad_fn.name() == "TorchconvConvBackward"


def test_anomaly_mode_names_the_node() -> None:
    input, weight = tensors()
    made = conv(input.requires_grad_(), weight)
    with (
        pytest.raises(RuntimeError, match="'TorchconvConvBackward' returned nan"),
        pytest.warns(UserWarning, match="Error detected in TorchconvConvBackward"),
        torch.autograd.detect_anomaly(),
    ):
        made = conv(input, weight)
        made.backward(torch.full_like(made, torch.nan))


def test_checkpointing_recomputes() -> None:
    input, weight = (tensor.requires_grad_() for tensor in tensors())
    expected = torch.autograd.grad(conv(input, weight).sin().sum(), (input, weight))
    recomputed = torch.utils.checkpoint.checkpoint(conv, input, weight, use_reentrant=False)
    gradients = torch.autograd.grad(recomputed.sin().sum(), (input, weight))
    torch.testing.assert_close(gradients, expected)


def test_python_threads_share_a_weight() -> None:
    input, weight = tensors()
    weight.requires_grad_()
    expected = torch.autograd.grad(conv(input, weight).sin().sum(), weight)[0]
    different: list[float] = []

    def work() -> None:
        for _ in range(20):
            gradient = torch.autograd.grad(conv(input, weight).sin().sum(), weight)[0]
            if not torch.equal(gradient, expected):
                different.append(float((gradient - expected).abs().max()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not different


# The fast entry of the module


class Subclass(Tensor):
    pass


PLAIN = {
    "axes": 2, "input": torch.ones(1, 2, 4, 4), "weight": torch.ones(2, 1, 3, 3), "bias": None,
    "stride": 1, "padding": (1, 0), "dilation": [1, 1], "groups": 2,
    "mode": "cross_correlation", "padding_mode": "zeros",
}  # fmt: skip


@pytest.mark.parametrize("change", [
    {}, {"bias": torch.ones(2)}, {"weight": torch.nn.Parameter(torch.ones(2, 1, 3, 3))},
    {"mode": "convolution", "padding_mode": "reflect"}, {"stride": (2, 1), "dilation": 1},
    {"input": torch.ones(2, 4, 4)}, {"padding": -1, "input": torch.ones(1, 2, 6, 6)},
], ids=str)  # fmt: skip
def test_fast_entry_takes_plain_calls(change: dict[str, Any]) -> None:
    call = {**PLAIN, **change}
    made = _C.conv(*call.values())
    input = call["input"].view(1, 2, *call["input"].shape[-2:])
    sizes = [
        [call[word]] * 2 if isinstance(call[word], int) else call[word]
        for word in ("stride", "padding", "dilation")
    ]
    expected = CONV(
        input, call["weight"], call["bias"], None, *sizes, call["groups"],
        call["mode"] == "convolution", call["padding_mode"],
    )  # fmt: skip
    assert torch.equal(made, expected.view(made.shape))
    assert made.dim() == call["input"].dim()


@pytest.mark.parametrize("change", [
    {"input": torch.ones(1, 2, 4, 4).as_subclass(Subclass)}, {"weight": None}, {"bias": 1},
    {"input": torch.ones(4)}, {"weight": torch.ones(2, 3)}, {"stride": True}, {"stride": 1.0},
    {"stride": (1,)}, {"padding": "same"}, {"padding": ((1, 1), (0, 0))}, {"padding": (1, True)},
    {"dilation": torch.tensor(1)}, {"groups": 2**64}, {"groups": 1.0}, {"mode": "correlation"},
    {"mode": None}, {"padding_mode": "mirror"}, {"padding_mode": "\ud800"}, {"axes": 0},
    {"axes": 5},
], ids=repr)  # fmt: skip
def test_fast_entry_steps_aside(change: dict[str, Any]) -> None:
    assert _C.conv(*{**PLAIN, **change}.values()) is NotImplemented


def test_fast_entry_steps_aside_under_a_mode() -> None:
    class Mode(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    assert _C.conv() is NotImplemented
    with Mode():
        assert _C.conv(*PLAIN.values()) is NotImplemented


# Plans


def test_plans_pickle() -> None:
    plan = _C.plan("output float32 batch=2 channels=3>4 input=5x5 kernel=3x3", 2)
    copy = pickle.loads(pickle.dumps(plan))
    assert (copy.problem, copy.algorithm, copy.reason, copy.threads) == (
        plan.problem, plan.algorithm, plan.reason, 2,
    )  # fmt: skip
    assert [c.name for c in copy.candidates] == _C.algorithms()
    assert copy.candidates[0].cost_s == plan.candidates[0].cost_s


def test_a_forced_algorithm_must_exist() -> None:
    with pytest.raises(ValueError, match=r"no algorithm is named 'magic'; known: .*reference"):
        _C.force_algorithm("magic")
    assert _C.forced_algorithm() == ""


def test_checked_calls_are_problem_lines() -> None:
    call: dict[str, Any] = dict(
        input=(2, 4, 8, 8), weight=(6, 2, 3, 3), output=None, bias=None, result_size=None,
        stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=2, flip=True, padding_mode="zeros",
    )  # fmt: skip
    line = _C.check("output", torch.bfloat16, **call)
    problem = _C.parse(line)
    assert (problem["dtype"], problem["output_size"], problem["flip"]) == ("bfloat16", [4, 4], True)
    with pytest.raises(RuntimeError, match="input has 4 channels but weight expects 6"):
        _C.check("output", torch.float32, **{**call, "groups": 3})
    with pytest.raises(ValueError, match="the first word is output, input or weight"):
        _C.parse("outputs float32")


def test_values_are_torchs() -> None:
    input, weight = tensors(torch.float64)
    torch.testing.assert_close(conv(input, weight), F.conv2d(input, weight, padding=1))


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists(), reason="no huge pages"
)
def test_a_large_result_asks_for_huge_pages() -> None:
    result = torch.ops.torchconv.conv(
        torch.zeros(1, 1, 3 << 20), torch.ones(1, 1, 1), None, None, [1], [0], [1], 1, False
    )
    middle = result.data_ptr() + result.nbytes // 2
    holds_middle = False
    for text in Path("/proc/self/smaps").read_text().splitlines():
        word = text.split(maxsplit=1)[0]
        if "-" in word and not word.endswith(":"):  # a mapping begins: its first and last address
            begin, end = (int(address, 16) for address in word.split("-"))
            holds_middle = begin <= middle < end
        elif holds_middle and word == "VmFlags:":
            assert "hg" in text.split()
            return
    pytest.fail("the result is in no mapping")
