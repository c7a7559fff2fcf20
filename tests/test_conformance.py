"""Every sample and every wrong call that ships inside torch for its own convolutions."""

import re
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import SampleInput

import torchconv

OPS = {op.name.rpartition(".")[2]: op for op in op_db if op.name.startswith("nn.functional.conv")}
CASES = [(name, dtype) for name, op in OPS.items() for dtype in sorted(op.dtypes, key=str)]

# Rounding of a sum of about a hundred products. torch itself rounds 16-bit sums several times on
# the way, so their truth is its float32.
TOLERANCE = {
    torch.bfloat16: dict(rtol=1e-2, atol=5e-2),
    torch.float16: dict(rtol=2e-3, atol=6e-3),
    torch.float32: dict(rtol=1e-4, atol=1e-4),
    torch.complex64: dict(rtol=1e-4, atol=1e-4),
}
WIDER = {torch.bfloat16: torch.float32, torch.float16: torch.float32}


def values(home: ModuleType, name: str, sample: SampleInput, dtype: torch.dtype) -> list[Tensor]:
    """The output in `dtype`, and the gradient by every tensor."""

    def convert(value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        return value.detach().to(dtype).requires_grad_(value.requires_grad)

    arguments = [convert(a) for a in (sample.input, *sample.args)]
    output = getattr(home, name)(*arguments, **sample.kwargs)
    leaves = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    if not leaves:
        return [output]
    cotangent = (torch.arange(output.numel()).view(output.shape) % 5 - 2).to(dtype)
    return [output, *torch.autograd.grad(output, leaves, cotangent)]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name, dtype", CASES, ids=lambda value: str(value).removeprefix("torch."))
def test_samples(name: str, dtype: torch.dtype) -> None:
    differentiable = dtype.is_floating_point or dtype.is_complex
    for sample in OPS[name].sample_inputs("cpu", dtype, requires_grad=differentiable):
        native = values(F, name, sample, WIDER.get(dtype, dtype))
        ours = values(torchconv, name, sample, dtype)
        for a, b in zip(ours, native, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a, b.to(dtype), **TOLERANCE.get(dtype, {}))


@pytest.mark.parametrize("name", OPS)
def test_wrong_calls(name: str) -> None:
    op = OPS[name]
    if op.error_inputs_func is None:
        pytest.skip("torch has none")
    for wrong in op.error_inputs("cpu"):
        if re.search("negative padding|strided", wrong.error_regex):
            continue  # refused by torch; ours works
        sample = wrong.sample_input
        with pytest.raises(wrong.error_type):
            getattr(torchconv, name)(sample.input, *sample.args, **sample.kwargs)
