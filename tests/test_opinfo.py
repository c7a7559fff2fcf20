"""Every sample and every wrong call that torch's own tests hold for its convolutions, on ours.

torch.testing._internal lists them as OpInfos (op_db): values, gradients and transforms follow.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close
from torch.testing._internal import composite_compliance
from torch.testing._internal.common_methods_invocations import OpInfo, op_db
from torch.testing._internal.optests import aot_autograd_check, fake_check, make_fx_check
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils import _pytree as pytree

import torchconv

OPS = {op.name.rpartition(".")[2]: op for op in op_db if op.name.startswith("nn.functional.conv")}
NAMES = pytest.mark.parametrize("name", OPS)
CASES = pytest.mark.parametrize(
    "name, dtype",
    [(name, dtype) for name, op in OPS.items() for dtype in sorted(op.dtypes, key=str)],
    ids=lambda value: str(value).removeprefix("torch."),
)
DOUBLE = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)

# The dtype in which torch computes what ours is compared with.
WIDE = {
    torch.bfloat16: torch.float64,
    torch.float16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}

# What takes up to a second for each sample: a few of them, or all.
EVERY = pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
]


def samples(op: OpInfo, dtype: torch.dtype) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Positional and named arguments of each."""
    differentiable = dtype.is_floating_point or dtype.is_complex
    for sample in op.sample_inputs("cpu", dtype, requires_grad=differentiable):
        yield [sample.input, *sample.args], sample.kwargs


def tensors_of(arguments: list[Any]) -> list[Tensor]:
    return [a for a in arguments if isinstance(a, Tensor)]


def with_tensors(function: Callable[..., Tensor], arguments: list[Any], words: dict[str, Any]):
    """`function` of its tensors alone."""
    others = [None if isinstance(a, Tensor) else (a,) for a in arguments]

    def of_tensors(*tensors: Tensor) -> Tensor:
        left = iter(tensors)
        return function(*(next(left) if o is None else o[0] for o in others), **words)

    return of_tensors


def value_and_gradients(function: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    output = function(*tensors)
    if not output.requires_grad:
        return [output]
    # Numbers that every dtype holds exactly.
    ramp = torch.arange(output.numel()).remainder(7).sub(3).to(output.dtype).view_as(output)
    cotangent = torch.ones_like(output) * ramp  # of the output's class
    return [output, *torch.autograd.grad(output, tensors, cotangent)]


@CASES
def test_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    wide = WIDE.get(dtype, dtype)
    for arguments, words in samples(OPS[name], dtype):
        tensors = tensors_of(arguments)
        precise = [t.detach().to(wide).requires_grad_(t.requires_grad) for t in tensors]
        expected = value_and_gradients(with_tensors(getattr(F, name), arguments, words), precise)
        ours = value_and_gradients(
            with_tensors(getattr(torchconv, name), arguments, words), tensors
        )
        for a, b in zip(ours, expected, strict=True):
            assert a.dtype == dtype and a.shape == b.shape
            if dtype == torch.int64:
                assert torch.equal(a, b)
                continue
            # One rounding of the result, and those of a sum of about a hundred products in float32.
            scale = b.abs().max().item() if b.numel() else 0.0
            rounding = 2 * torch.finfo(dtype).eps
            assert_close(a.to(wide), b, rtol=rounding, atol=8 * rounding * max(scale, 1.0))


@NAMES
def test_result_is_laid_out_as_torchs(name: str) -> None:
    for arguments, words in samples(OPS[name], torch.float32):
        ours, native = (getattr(home, name)(*arguments, **words) for home in (torchconv, F))
        assert ours.stride() == native.stride()


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.error_inputs_func])
def test_wrong_calls(name: str) -> None:
    for wrong in OPS[name].error_inputs("cpu"):
        if wrong.error_regex.startswith(("negative padding", "padding='same'")):
            continue  # not wrong for ours: a crop, and 'same' at a stride
        sample = wrong.sample_input
        with pytest.raises(wrong.error_type):
            getattr(torchconv, name)(sample.input, *sample.args, **sample.kwargs)


@DOUBLE
@NAMES
def test_gradcheck(name: str, dtype: torch.dtype) -> None:
    for arguments, words in samples(OPS[name], dtype):
        function = with_tensors(getattr(torchconv, name), arguments, words)
        gradcheck(
            function,
            tensors_of(arguments),
            fast_mode=True,
            check_forward_ad=True,
            check_batched_grad=True,
            check_batched_forward_grad=True,
        )


@DOUBLE
@EVERY
@NAMES
def test_gradgradcheck(name: str, every: int, dtype: torch.dtype) -> None:
    for arguments, words in islice(samples(OPS[name], dtype), 0, None, every):
        function = with_tensors(getattr(torchconv, name), arguments, words)
        gradgradcheck(function, tensors_of(arguments), fast_mode=True, check_fwd_over_rev=True)


@EVERY
@NAMES
def test_composite_compliance(name: str, every: int) -> None:
    function = getattr(torchconv, name)
    for arguments, words in islice(samples(OPS[name], torch.float32), 0, None, every):
        composite_compliance.check_with_mode(function, arguments, words, assert_close)
        composite_compliance.check_all_permutations(function, arguments, words, assert_close)
        composite_compliance.check_backward_formula(
            function, arguments, words, assert_equal_fn=assert_close
        )
        composite_compliance.check_forward_ad_formula(
            function, arguments, words, assert_equal_fn=assert_close
        )


@NAMES
def test_fake_tensors(name: str) -> None:
    for arguments, words in samples(OPS[name], torch.float32):
        fake_check(getattr(torchconv, name), arguments, words)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@EVERY
@NAMES
def test_aot_autograd(name: str, every: int, dynamic: bool) -> None:
    for arguments, words in islice(samples(OPS[name], torch.float32), 0, None, every):
        aot_autograd_check(getattr(torchconv, name), arguments, words, dynamic)


@pytest.mark.parametrize("tracing", ["real", "fake", "symbolic"])
@EVERY
@NAMES
def test_make_fx(name: str, every: int, tracing: str) -> None:
    for arguments, words in islice(samples(OPS[name], torch.float32), 0, None, every):
        detached = pytree.tree_map_only(Tensor, torch.detach, arguments)
        make_fx_check(getattr(torchconv, name), detached, words, tracing, randomize_data=True)


@NAMES
def test_wrapper_subclass(name: str) -> None:
    function = getattr(torchconv, name)
    for arguments, words in samples(OPS[name], torch.float32):
        plain = with_tensors(function, arguments, words)
        ones = tensors_of(arguments)
        twos = [(2 * t).detach().requires_grad_() for t in ones]
        both = [TwoTensor(a, b) for a, b in zip(ones, twos, strict=True)]
        wrapped = value_and_gradients(plain, [t.detach().requires_grad_() for t in both])
        separate = zip(*(value_and_gradients(plain, each) for each in (ones, twos)), strict=True)
        for result, (a, b) in zip(wrapped, separate, strict=True):
            assert isinstance(result, TwoTensor)
            assert torch.equal(result.a, a) and torch.equal(result.b, b)
