"""The two calls that a benchmark compares: PyTorch's own, and ours, on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import torchconv
from torchconv.tools.workloads import Workload

Call = Callable[[], Tensor]

# Largest difference of two right answers, as a share of the largest element.
TOLERANCES = {
    torch.bfloat16: 4e-2,
    torch.float16: 1e-2,
    torch.float32: 1e-4,
    torch.complex64: 1e-4,
    torch.float64: 1e-10,
    torch.complex128: 1e-10,
}


@dataclass(frozen=True)
class Tensors:
    """The three tensors of one convolution, of random normal numbers."""

    input: Tensor
    weight: Tensor
    output: Tensor  # stands for the gradient by output


def tensors(
    workload: Workload, dtype: str, *, channels_last: bool = False, device: str = "cpu"
) -> Tensors:
    generator = torch.Generator().manual_seed(0)

    def normal(size: tuple[int, ...]) -> Tensor:
        tensor = torch.randn(size, dtype=getattr(torch, dtype), generator=generator).to(device)
        format = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
        return tensor.to(memory_format=format) if channels_last and format else tensor

    return Tensors(normal(workload.input), normal(workload.weight), normal(workload.output))


def native_call(workload: Workload, result: str, given: Tensors) -> Call:
    """``result`` by PyTorch: "output", "input" or "weight"."""
    if result == "output":
        return lambda: _native_forward(workload, given.input, given.weight)
    if not workload.is_plain or given.weight.is_complex():
        return _native_gradient(workload, result, given)
    convolution_backward = torch.ops.aten.convolution_backward.default
    wanted = [result == "input", result == "weight", False]
    geometry = (workload.stride, workload.padding, workload.dilation, workload.transposed)
    output_padding = workload.output_padding if workload.transposed else [0] * workload.axes

    def backward() -> Tensor:
        gradients = convolution_backward(
            given.output, given.input, given.weight, None,
            *geometry, output_padding, workload.groups, wanted,
        )  # fmt: skip
        gradient: Tensor = gradients[wanted.index(True)]
        return gradient

    return backward


def _native_forward(workload: Workload, input: Tensor, weight: Tensor) -> Tensor:
    stride, dilation, groups = workload.stride, workload.dilation, workload.groups
    convolve = getattr(F, f"conv{'_transpose' if workload.transposed else ''}{workload.axes}d")
    output: Tensor
    if workload.transposed:
        shape = (stride, workload.padding, workload.output_padding, groups, dilation)
        output = convolve(input, weight, None, *shape)
    elif workload.is_plain:
        output = convolve(input, weight, None, stride, workload.padding, dilation, groups)
    else:
        sides = zip(workload.padding[::-1], workload.high_padding[::-1], strict=True)
        mode = "constant" if workload.padding_mode == "zeros" else workload.padding_mode
        padded = F.pad(input, [side for pair in sides for side in pair], mode)
        taps = weight.flip(*range(2, weight.ndim)) if workload.flip else weight
        output = convolve(padded, taps, None, stride, 0, dilation, groups)
    return output


def _native_gradient(workload: Workload, result: str, given: Tensors) -> Call:
    """By autograd: padding, flips and complex products, torch computes around its convolution."""
    leaf = getattr(given, result).detach().requires_grad_()
    operands = {"input": given.input, "weight": given.weight} | {result: leaf}
    with torch.enable_grad():
        output = _native_forward(workload, **operands)
    return lambda: torch.autograd.grad(output, leaf, given.output, retain_graph=True)[0]


def our_call(workload: Workload, result: str, given: Tensors) -> Call:
    """``result`` by torchconv: "output", "input" or "weight"."""
    if result == "output":
        return _our_forward(workload, given)
    geometry = (
        workload.stride, workload.padding, workload.dilation, workload.groups,
        workload.flip, workload.padding_mode,
    )  # fmt: skip
    operators = torch.ops.torchconv
    # A gradient takes the other factor conjugated: a view, and nothing at all for real dtypes.
    input, weight, output = given.input.conj(), given.weight.conj(), given.output
    if result == "weight":
        ends = (output, input) if workload.transposed else (input, output)
        return lambda: operators.conv_weight(*ends, workload.kernel_size, *geometry)
    size = workload.input[2:]
    if workload.transposed:
        return lambda: operators.conv(output, weight, None, size, *geometry)
    return lambda: operators.conv_input(output, weight, size, *geometry)


def _our_forward(workload: Workload, given: Tensors) -> Call:
    input, weight = given.input, given.weight
    stride, dilation, groups = workload.stride, workload.dilation, workload.groups
    if workload.transposed:
        convolve = getattr(torchconv, f"conv_transpose{workload.axes}d")
        shape = (stride, workload.padding, workload.output_padding, groups, dilation)
        return lambda: convolve(input, weight, None, *shape)
    convolve = getattr(torchconv, f"conv{workload.axes}d")
    if workload.is_plain:
        return lambda: convolve(input, weight, None, stride, workload.padding, dilation, groups)
    sides = tuple(zip(workload.padding, workload.high_padding, strict=True))
    words = {
        "mode": "convolution" if workload.flip else "cross_correlation",
        "padding_mode": workload.padding_mode,
    }
    return lambda: convolve(input, weight, None, stride, sides, dilation, groups, **words)


def difference(ours: Tensor, native: Tensor) -> str | None:
    """What is wrong with ``ours``, beside PyTorch's own answer; None where nothing is."""
    if ours.shape != native.shape or ours.dtype != native.dtype:
        return f"{tuple(ours.shape)} {ours.dtype}, not {tuple(native.shape)} {native.dtype}"
    if native.numel() == 0:
        return None
    error, scale = (ours - native).abs().max().item(), native.abs().max().item()
    allowed = TOLERANCES[native.dtype] * scale
    # A comparison with NaN is false: written so that NaN is a difference.
    return None if error <= allowed else f"differs by {error:.2g}, more than {allowed:.2g}"
