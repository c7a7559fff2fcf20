"""torch.ops.torchconv.{conv, conv_input, conv_weight} as operators: derivatives, shapes, vmap.

Every property is checked on the three of them over one table of problems.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._dynamo import compiled_autograd
from torch.autograd import gradcheck, gradgradcheck
from torch.func import vmap

from torchconv import _C, testing

PROBLEMS = {
    "strided_groups": "batch=2 channels=2>4 groups=2 input=7 kernel=3 stride=2 padding=1 bias=1",
    "dilated_flip": "batch=2 channels=2>3 input=5x6 kernel=3x2 padding=0x1 dilation=1x2 flip=1",
    "asymmetric": "channels=1>2 input=6x5 output=5x4 kernel=3x2 stride=2x1 padding=3x0 bias=1",
    "three_axes": "channels=2>2 groups=2 input=4x3x3 output=2x3x1 kernel=2x2x2 padding=-1x1x0",
    "output_padding": "channels=2>2 input=9 output=4 kernel=2 stride=2 dilation=3",
    "reflect": "batch=2 channels=2>2 input=6 output=7 kernel=3 padding=2 padding_mode=reflect",
    "circular": "channels=2>2 groups=2 input=5 kernel=3 stride=2 padding=1 padding_mode=circular",
    "replicate": "channels=1>2 input=4x3 kernel=3x2 padding=2x2 padding_mode=replicate bias=1",
}
RESULTS = ["output", "input", "weight"]
EVERY = list(product(RESULTS, PROBLEMS))
OPERATORS = {
    "output": torch.ops.torchconv.conv,
    "input": torch.ops.torchconv.conv_input,
    "weight": torch.ops.torchconv.conv_weight,
}


class Case(NamedTuple):
    """One call of an operator, and the call as a function of its tensors alone."""

    arguments: tuple[Any, ...]
    tensors: tuple[Tensor, ...]
    function: Callable[..., Tensor]


def make_case(result: str, problem: str, dtype: str = "float64", *, grad: bool = False) -> Case:
    line = f"{result} {dtype} {PROBLEMS[problem]}"
    fields: dict[str, Any] = dict(_C.parse(line))
    tensors = testing.from_line(line, integers=False)
    names = {"output": ["input", "weight", "bias"], "input": ["output", "weight"]}
    given = [tensors.get(name) for name in names.get(result, ["input", "output"])]
    for tensor in given:
        if tensor is not None and grad:
            tensor.requires_grad_()
    size = fields["kernel_size" if result == "weight" else f"{result}_size"]
    words = ("stride", "padding", "dilation", "groups", "flip", "padding_mode")
    rest = (size, *(fields[word] for word in words))
    operator = OPERATORS[result]

    def function(first: Tensor, second: Tensor, bias: Tensor | None = None) -> Tensor:
        biases = (bias,) if result == "output" else ()
        return operator(first, second, *biases, *rest)

    return Case((*given, *rest), tuple(t for t in given if t is not None), function)


# Derivatives


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("result, problem", EVERY)
def test_gradients(result: str, problem: str, dtype: str) -> None:
    case = make_case(result, problem, dtype, grad=True)
    assert gradcheck(case.function, case.tensors, check_forward_ad=True, check_batched_grad=True)
    # Its slow mode perturbs every element of every gradient; complex ones make that minutes.
    fast = dtype == "complex128"
    assert gradgradcheck(case.function, case.tensors, fast_mode=fast, check_fwd_over_rev=True)


@pytest.mark.parametrize("transposed", [False, True], ids=["conv", "conv_transpose"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_third_derivatives_are_torchs(axes: int, transposed: bool) -> None:
    geometry = ([2] * axes, [1] * axes, [1] * axes)
    wide, narrow = torch.randn(2, 2, *[5] * axes), torch.randn(2, 4, *[3] * axes)
    weight, bias = torch.randn(4, 1, *[3] * axes), torch.randn(4)
    if transposed:
        tensors = (narrow, weight)
        theirs = getattr(torch, f"conv_transpose{axes}d")

        def native(y: Tensor, w: Tensor) -> Tensor:
            return theirs(y, w, None, 2, 1, 0, 2)

        def ours(y: Tensor, w: Tensor) -> Tensor:
            return OPERATORS["input"](y, w, [5] * axes, *geometry, 2, False)
    else:
        tensors = (wide, weight, bias)
        theirs = getattr(torch, f"conv{axes}d")

        def native(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            return theirs(x, w, b, 2, 1, 1, 2)

        def ours(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            return OPERATORS["output"](x, w, b, None, *geometry, 2, False)

    def third(function: Callable[..., Tensor]) -> list[Tensor]:
        inputs = [tensor.double().requires_grad_() for tensor in tensors]
        value = function(*inputs).sin().sum()
        for _ in range(3):
            gradients = torch.autograd.grad(value, inputs, create_graph=True)
            value = sum((gradient**2).sum() for gradient in gradients)
        return list(gradients)

    torch.testing.assert_close(third(ours), third(native))


@pytest.mark.parametrize("result", RESULTS)
def test_a_gradient_nobody_asked_for_is_not_kept(result: str) -> None:
    """The other tensor's gradient is all that a tensor is needed for."""
    case = make_case(result, "dilated_flip")
    first, second = case.tensors
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = case.function(first, second.clone().requires_grad_())
    assert len(kept) == 1 and kept[0] is first
    made.sum().backward()


@pytest.mark.parametrize("result", RESULTS)
def test_changing_a_saved_tensor_is_noticed(result: str) -> None:
    case = make_case(result, "dilated_flip", grad=True)
    made = case.function(*case.tensors)
    with torch.no_grad():
        case.tensors[0].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        made.sum().backward()


def test_a_freed_graph_says_so() -> None:
    case = make_case("output", "dilated_flip", grad=True)
    value = case.function(*case.tensors).sum()
    value.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        value.backward()


@pytest.mark.parametrize("result, problem", list(product(RESULTS, ["strided_groups", "circular"])))
def test_compiled_autograd(result: str, problem: str) -> None:
    case = make_case(result, problem, grad=True)
    expected = torch.autograd.grad(case.function(*case.tensors).sin().sum(), case.tensors)
    torch._dynamo.reset()
    with compiled_autograd._enable(torch.compile(backend="eager", fullgraph=True)):
        case.function(*case.tensors).sin().sum().backward()
    torch.testing.assert_close([tensor.grad for tensor in case.tensors], list(expected))


# Shapes


@pytest.mark.parametrize("result, problem", EVERY)
def test_opcheck(result: str, problem: str) -> None:
    case = make_case(result, problem, grad=True)
    torch.library.opcheck(OPERATORS[result].default, case.arguments)


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("first_last, second_last", [*product([False, True], repeat=2)])
def test_channels_last_if_either_suggests_it(
    result: str, first_last: bool, second_last: bool
) -> None:
    case = make_case(result, "dilated_flip")
    formats = [
        torch.channels_last if last else torch.contiguous_format
        for last in (first_last, second_last)
    ]
    tensors = [t.contiguous(memory_format=f) for t, f in zip(case.tensors, formats, strict=True)]
    made = case.function(*tensors)
    last = first_last or second_last
    assert made.is_contiguous(
        memory_format=torch.channels_last if last else torch.contiguous_format
    )
    assert case.function(*(tensor.to("meta") for tensor in tensors)).stride() == made.stride()
    torch.testing.assert_close(made, case.function(*case.tensors), rtol=0, atol=1e-12)


@pytest.mark.parametrize("result, problem", EVERY)
def test_dynamic_sizes(result: str, problem: str) -> None:
    case = make_case(result, problem)
    torch._dynamo.reset()
    compiled = torch.compile(case.function, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*case.tensors), case.function(*case.tensors))


WRONG = {  # what is replaced in a call of conv on (1, 2, 5, 5) and (2, 2, 3, 3), and the message
    "short_stride": (dict(stride=[1]), "padding has 2 entries, expected 1"),
    "no_stride": (dict(stride=[]), "stride has 0 entries"),
    "short_padding": (dict(padding=[0]), "padding has 1 entries, expected 2"),
    "long_dilation": (dict(dilation=[1, 1, 1]), "dilation has 3 entries, expected 2"),
    "short_size": (dict(output_size=[3]), "output_size has 1 entries, expected 2"),
    "zero_stride": (dict(stride=[1, 0]), r"stride must be positive, got \(1, 0\)"),
    "least_stride": (dict(stride=[-(2**63), 1]), "stride must be positive, got"),
    "huge_padding": (dict(padding=[2**63 - 1, 0]), "too large"),
    "huge_result": (dict(output_size=[2**40, 2**40]), r"more than 2\*\*63 bytes"),
    "zero_groups": (dict(groups=0), "groups must be positive, got 0"),
    "channels": (dict(input=torch.zeros(1, 3, 5, 5)), "input has 3 channels but weight expects 2"),
    "no_dimensions": (dict(input=torch.zeros(())), "input needs 4 dimensions"),
    "small_input": (dict(input=torch.zeros(1, 2, 2, 5)), "kernel 3 with dilation 1 spans 3"),
    "bias": (dict(bias=torch.zeros(3)), r"bias has shape \(3,\), expected \(2,\)"),
    "padding_mode": (dict(padding_mode="mirror"), "padding_mode must be 'zeros', .* got 'mirror'"),
    "dtypes": (
        dict(weight=torch.zeros(2, 2, 3, 3).half()),
        "input is float32 but weight is float16",
    ),
    "bool": (
        dict(input=torch.zeros(1, 2, 5, 5).bool(), weight=torch.zeros(2, 2, 3, 3).bool()),
        "not implemented for bool",
    ),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_end_in_one_sentence(name: str, device: str) -> None:
    change, message = WRONG[name]
    call = {
        "input": torch.zeros(1, 2, 5, 5), "weight": torch.zeros(2, 2, 3, 3), "bias": None,
        "output_size": None, "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1],
        "groups": 1, "flip": False, "padding_mode": "zeros", **change,
    }  # fmt: skip
    call = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in call.items()}
    with pytest.raises(RuntimeError, match=message):
        OPERATORS["output"](**call)


def test_devices_must_be_one() -> None:
    with pytest.raises(RuntimeError, match="input is on cpu but weight is on meta"):
        make_case("output", "reflect").function(
            torch.zeros(2, 2, 6).double(), torch.zeros(2, 2, 3, device="meta").double()
        )


# vmap


def repeat_along(tensor: Tensor, dim: int | None, count: int) -> Tensor:
    """`count` different tensors like `tensor`, stacked along `dim`; the tensor itself for None."""
    if dim is None:
        return tensor
    return torch.stack([tensor * (k + 1) - k for k in range(count)], dim)


@pytest.mark.parametrize("dims", [
    (0, None, None), (None, 1, None), (2, 0, None), (None, None, 0), (1, None, 1), (None, 2, 0),
    (3, 1, 1),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("result, problem", list(product(RESULTS, ["strided_groups", "circular"])))
def test_vmap_equals_a_loop(result: str, problem: str, dims: tuple[int | None, ...]) -> None:
    case = make_case(result, problem)
    dims = dims[: len(case.tensors)]
    if not any(dim is not None for dim in dims):
        pytest.skip("nothing is mapped")
    tensors = [repeat_along(t, dim, 3) for t, dim in zip(case.tensors, dims, strict=True)]
    one_by_one = [
        case.function(*(
            t if dim is None else t.select(dim, k) for t, dim in zip(tensors, dims, strict=True)
        ))
        for k in range(3)
    ]  # fmt: skip
    mapped = vmap(case.function, in_dims=dims)(*tensors)
    torch.testing.assert_close(mapped, torch.stack(one_by_one), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("result", RESULTS)
def test_nested_vmap(result: str) -> None:
    case = make_case(result, "circular")
    first, second = (repeat_along(t, 0, 3) for t in case.tensors)
    table = vmap(vmap(case.function, (None, 0)), (0, None))(first, second)
    expected = torch.stack([torch.stack([case.function(a, b) for b in second]) for a in first])
    torch.testing.assert_close(table, expected, rtol=1e-12, atol=1e-12)


def test_vmap_over_nothing() -> None:
    case = make_case("output", "reflect")
    first, second = case.tensors
    mapped = vmap(case.function, (0, None))(first.new_zeros(0, *first.shape), second)
    assert mapped.shape == (0, *case.function(first, second).shape)
