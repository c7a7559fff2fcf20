"""Every convolution layer that torch's own tests build, built of ours and trained one step."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.testing._internal.common_modules import module_db
from torch.testing._internal.common_nn import get_new_module_tests

import torchconv


def name_of(entry: dict[str, Any]) -> str:
    if "fullname" in entry:
        return entry["fullname"]
    return "_".join([entry["module_name"], *entry.get("desc", "").split()])


MODULES = {info.module_cls.__name__: info for info in module_db if "Conv" in str(info.module_cls)}
ENTRIES = {name_of(entry): entry for entry in get_new_module_tests() if "Conv" in name_of(entry)}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature"),
    pytest.mark.filterwarnings("ignore:Complex modules are a new feature"),
    pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental"),
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
]


def step(layer: nn.Module, input: Tensor) -> list[Tensor]:
    """The output, and the gradients by the input and by every parameter."""
    input = input.detach().clone().requires_grad_()
    output = layer(input)
    weights = torch.arange(output.numel()).remainder(3).add(1).view(output.shape)
    output.backward(torch.ones_like(output) * weights)
    return [output, input.grad, *(p.grad for p in layer.parameters())]


def same_step(ours: nn.Module, native: nn.Module, input: Tensor) -> None:
    for a, b in zip(step(ours, input), step(native, input), strict=True):
        assert a.dtype == b.dtype
        assert a.stride() == b.stride() or a.numel() == 0
        if a.dtype == torch.complex32:  # which torch.testing does not know
            a, b = a.to(torch.complex64), b.to(torch.complex64)
            assert_close(a, b, rtol=1e-2, atol=2e-2)
        else:
            single = a.dtype in (torch.float32, torch.complex64)
            assert_close(a, b, **dict(rtol=1e-4, atol=1e-4) if single else {})


@pytest.mark.parametrize("name, dtype", [
    (name, dtype) for name, info in MODULES.items() for dtype in info.dtypes
], ids=lambda value: str(value).removeprefix("torch."))  # fmt: skip
def test_module_db(name: str, dtype: torch.dtype) -> None:
    info = MODULES[name]
    for case in info.module_inputs_func(info, "cpu", dtype, requires_grad=False, training=True):
        arguments, words = case.constructor_input.args, case.constructor_input.kwargs
        (input,) = case.forward_input.args
        native = info.module_cls(*arguments, **words, dtype=dtype)
        if info.is_lazy:  # a lazy layer becomes ours once it knows its channels
            native(input)
            ours = torchconv.convert(copy.deepcopy(native))
        else:
            ours = getattr(torchconv, name)(*arguments, **words, dtype=dtype)
            ours.load_state_dict(native.state_dict())
        assert type(ours).__module__ == "torchconv.modules"
        same_step(ours, native, input)


@pytest.mark.parametrize("name", ENTRIES)
def test_new_module_tests(name: str) -> None:
    entry = ENTRIES[name]
    arguments = entry.get("constructor_args", ())
    if "constructor" in entry:
        native = entry["constructor"]()
        ours = torchconv.convert(copy.deepcopy(native))
    else:
        native = getattr(nn, entry["module_name"])(*arguments)
        ours = getattr(torchconv, entry["module_name"])(*arguments)
        ours.load_state_dict(native.state_dict())
    assert repr(ours) == repr(native)
    assert type(ours).__module__ == "torchconv.modules"
    input = torch.randn(entry["input_size"], dtype=torch.float64)
    same_step(ours.double(), native.double(), input)
    if "output_size" in entry:
        assert ours(input).shape == entry["output_size"]


# torch's conv3d keeps the layout in some dtypes and batches only.
@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("Conv2d")])
def test_channels_last(name: str) -> None:
    entry = ENTRIES[name]
    make = entry.get("constructor") or getattr(nn, entry["module_name"])
    native = make(*entry.get("constructor_args", ())).double()
    native = native.to(memory_format=torch.channels_last)
    input = torch.randn(entry["input_size"], dtype=torch.float64)
    input = input.to(memory_format=torch.channels_last)
    same_step(torchconv.convert(copy.deepcopy(native)), native, input)


def test_the_lists_are_there() -> None:
    assert len(MODULES) == 12 and len(ENTRIES) >= 60
