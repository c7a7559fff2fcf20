"""Thousands of random calls. Each has the value its definition gives, or raises what torch raises,
in one sentence; where torch has the call, both agree. Numbers are whole, so equal is ==.

    python tests/test_fuzz.py SEED FIRST [COUNT]        runs the calls that a failure names
"""

import ctypes
import re
import sys
from collections.abc import Iterator
from math import prod
from typing import Any

import oracle
import pytest
import torch
import torch.nn.functional as F
from fuzzing import Call, random_call, tensor
from oracle import Form, Meaningless
from torch import Tensor

import torchconv

OURS = vars(torchconv) | {
    name: getattr(torch.ops.torchconv, name) for name in ("conv", "conv_input", "conv_weight")
}
ERRORS = (RuntimeError, TypeError, ValueError, IndexError)
# Said by torch, before or below us.
OTHERS_WORDS = re.compile(
    r"convolution is not implemented for \w+$|\[enforce fail at alloc_cpu|"
    r"Storage size calculation overflowed|(?s:torchconv::\w+\(\) (Expected|expected))"
)
# What F.conv refuses in some or all dtypes and we need not.
GAPS = re.compile(
    r"not implemented for '(Byte|Char|Short|Int|Long)'|negative padding is not supported|"
    r"Only zero batch or zero channel inputs are supported|"
    r"Calculated (padded input|output) size per channel|could not create a primitive descriptor|"
    r"select\(\): index 0 out of range|non-empty .* tensor expected"
)
WIDE = {True: torch.complex128, False: torch.float64}
M_PERTURB = -6  # of glibc's mallopt


@pytest.fixture(autouse=True)
def perturbed_memory() -> Iterator[None]:
    """What malloc gives is full of large numbers: what nobody writes is not zero by luck."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: None)
    mallopt(M_PERTURB, 0xFF ^ 0x7F)  # fills with the second byte
    yield
    mallopt(M_PERTURB, 0)


def evaluated(call: Call, home: dict[str, Any]) -> Tensor | Exception:
    try:
        return eval(str(call), home | {"tensor": tensor})
    except ERRORS as error:
        return error


def torch_has(call: Call) -> bool:
    """Whether F.conv takes such arguments, right or wrong."""
    padding = call.words.get("padding", 0)
    pairs = isinstance(padding, tuple) and any(isinstance(p, tuple) for p in padding)
    strided = padding == "same" and call.words.get("stride", 1) not in (1, (1,) * call.axes)
    return (
        hasattr(F, call.name)
        and not {"mode", "padding_mode"} & call.words.keys()
        and not (pairs or strided or padding in ("full", "causal"))
        and not wraps_around(call)
        and not is_mixed(call)
    )


def wraps_around(call: Call) -> bool:
    """Torch's arithmetic ends at 32 bits or at 62, and some of it goes on with what is left."""
    numbers = [n for v in call.words.values() for n in (v if isinstance(v, list | tuple) else [v])]
    return any(isinstance(n, int) and abs(n) >= 2**31 for n in numbers)


def is_mixed(call: Call) -> bool:
    """Most of torch refuses a bias of another dtype, and so do we always."""
    return len({operand.dtype for operand in call.tensors.values()}) > 1


def is_batch_empty(call: Call) -> bool:
    """Then torch looks at little else."""
    shape = call.tensors["input"].shape
    return len(shape) == call.axes + 2 and shape[0] == 0


def form_of(call: Call, input: Tensor | None, weight: Tensor | None, output: Tensor | None) -> Form:
    """The numbers that the words of a call stand for."""
    words, axes = call.words, call.axes

    def numbers(word: str, default: int = 1) -> list[int]:
        value = words.get(word, default)
        value = [value] if isinstance(value, int) else list(value)
        return value * axes if len(value) == 1 else value

    stride, dilation, padding = numbers("stride"), numbers("dilation"), words.get("padding", 0)
    flip = words.get("flip", words.get("mode") == "convolution")
    common = int(words.get("groups", 1)), flip, words.get("padding_mode", "zeros")
    kernel = words.get("kernel_size") or weight.shape[2:]
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if "transpose" in call.name:
        low, extra = numbers("padding", 0), numbers("output_padding", 0)
        size = [
            (n - 1) * s - 2 * p + k + e
            for n, s, p, k, e in zip(input.shape[2:], stride, low, span, extra, strict=True)
        ]
        if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation, strict=True)):
            raise Meaningless("output_padding reaches beyond what the taps do")
        if min(size) < 0 or 0 in input.shape[2:]:
            raise Meaningless("no input or no output")
        return Form(size, kernel, input.shape[2:], stride, low, dilation, *common)
    size = words.get("input_size") or list(input.shape[2:])
    result = list(output.shape[2:]) if output is not None else words.get("output_size")
    if result is None:
        low, result = padded(padding, numbers, size, span, stride)
    else:
        low = numbers("padding", 0)
    return Form(size, kernel, result, stride, low, dilation, *common)


def padded(padding: Any, numbers: Any, size: list[int], span: list[int], stride: list[int]):
    """The low side, and the size of the output."""
    output = [-(-n // s) for n, s in zip(size, stride, strict=True)]
    if padding == "causal":
        return [k - 1 for k in span], output
    if padding == "same":
        last = [(o - 1) * s + k for o, s, k in zip(output, stride, span, strict=True)]
        return [max(0, end - n) // 2 for end, n in zip(last, size, strict=True)], output
    if padding in ("valid", "full"):
        pairs = [(0, 0) if padding == "valid" else (k - 1, k - 1) for k in span]
    elif isinstance(padding, int) or not isinstance(padding[0], tuple):
        pairs = [(p, p) for p in numbers("padding", 0)]
    else:
        pairs = [*padding] * len(size) if len(padding) == 1 else padding
    room = [n + sum(p) - k for n, p, k in zip(size, pairs, span, strict=True)]
    if min(room) < 0:
        raise Meaningless("the kernel is larger than the padded input")
    return [p for p, _ in pairs], [r // s + 1 for r, s in zip(room, stride, strict=True)]


def wide(call: Call) -> dict[str, Tensor]:
    """Its tensors in the precision of the oracle."""
    tensors = {name: eval(str(o), {"tensor": tensor}) for name, o in call.tensors.items()}
    return {name: t.to(WIDE[t.is_complex()]) for name, t in tensors.items()}


def defined(call: Call, tensors: dict[str, Tensor]) -> Tensor:
    """The value of a call by its definition."""
    input, weight, output = (tensors.get(name) for name in ("input", "weight", "output"))
    unbatched = input is not None and input.dim() == call.axes + 1
    if unbatched:
        input = input.unsqueeze(0)
    form = form_of(call, input, weight, output)
    if call.name == "conv_weight":
        return oracle.conv_weight(input, output, form)
    if call.name == "conv_input":
        return oracle.conv_input(output, weight, form)
    function = oracle.conv_input if "transpose" in call.name else oracle.conv
    result = function(input, weight, form)
    if "bias" in tensors:
        result = result + tensors["bias"].view(-1, *[1] * call.axes)
    return result[0] if unbatched else result


def has_value(call: Call) -> bool:
    if call.words.get("padding") == "same" and 0 in call.tensors["input"].shape[-call.axes :]:
        return False  # torch refuses an empty axis in most dtypes, ours in most paddings
    try:
        defined(call, wide(call))
    except Meaningless:
        return False
    return True


def narrow(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """Rounded once; integers wrap."""
    whole = not dtype.is_complex and not dtype.is_floating_point
    return (exact.to(torch.int64) if whole else exact).to(dtype)


def same(a: Tensor, b: Tensor) -> bool:
    if a.dtype == torch.complex32:  # torch.equal has none
        return b.dtype == a.dtype and torch.equal(a.to(torch.complex64), b.to(torch.complex64))
    return a.dtype == b.dtype and torch.equal(a, b)


def problem(call: Call, gradients: bool) -> str:
    """What is wrong with our answer to a call, or nothing."""
    ours = evaluated(call, OURS)
    native = evaluated(call, vars(F)) if torch_has(call) else None
    if isinstance(ours, Exception):
        return wrong_refusal(call, ours, native)
    if isinstance(native, Exception) and not GAPS.search(str(native)):
        return f"makes {tuple(ours.shape)} where torch raises {native!r}"
    if isinstance(native, Tensor) and not same(ours, native):
        return "differs from torch"
    if ours.numel() > 10**6 or prod(ours.shape[2:]) > 10**6:
        return ""
    try:
        expected = defined(call, wide(call))
    except (Meaningless, *ERRORS) as error:
        return f"makes {tuple(ours.shape)}, but: {error}"
    if not same(ours, narrow(expected, ours.dtype)):
        return "differs from its definition"
    differentiable = ours.is_floating_point() or ours.is_complex()
    return wrong_gradients(call) if gradients and differentiable and ours.numel() else ""


def wrong_refusal(call: Call, ours: Exception, native: Tensor | Exception | None) -> str:
    text = str(ours)
    own = text.startswith(f"{call.name}: ") or (call.name == "conv" and text[:4] == "conv")
    if not OTHERS_WORDS.match(text) and (not own or "\n" in text or len(text) > 400):
        return f"not one sentence: {ours!r}"
    if isinstance(native, Exception):
        alike = type(native) is type(ours) or GAPS.search(str(native))
        return "" if alike else f"raises {ours!r} where torch raises {native!r}"
    if native is not None and not is_batch_empty(call) and "dilation must be positive" not in text:
        return f"raises {ours!r} where torch makes {tuple(native.shape)}"
    return "" if call.wrong or not has_value(call) else f"raises {ours!r}"


def wrong_gradients(call: Call) -> str:
    leaves = []

    def leaf(*arguments: Any) -> Tensor:
        leaves.append(tensor(*arguments).requires_grad_())
        return leaves[-1]

    def ramp(output: Tensor) -> Tensor:
        return torch.arange(output.numel()).remainder(5).sub(2).view_as(output).to(output.dtype)

    output = eval(str(call), OURS | {"tensor": leaf})
    ours = torch.autograd.grad(output, leaves, ramp(output))
    exact = {name: t.requires_grad_() for name, t in wide(call).items()}
    expected = defined(call, exact)
    gradients = torch.autograd.grad(expected, [*exact.values()], ramp(expected))
    for name, a, b in zip(exact, ours, gradients, strict=True):
        if not same(a, narrow(b, a.dtype)):
            return f"gradient by {name} differs from its definition"
    return ""


def check(seed: int, first: int, count: int = 1) -> None:
    for index in range(first, first + count):
        call = random_call(seed, index)
        if wrong := problem(call, gradients=index % 3 == 0):
            pytest.fail(f"{call}\n{wrong}\npython tests/test_fuzz.py {seed} {index}", pytrace=False)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [
    pytest.param(first, marks=[pytest.mark.long] if first >= 10_000 else [])
    for first in range(0, 50_000, 100)
])  # fmt: skip
def test_calls(first: int) -> None:
    check(0, first, 100)


if __name__ == "__main__":
    check(*map(int, sys.argv[1:]))
