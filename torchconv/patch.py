"""Runs unchanged code on torchconv."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torchconv import functional

# torch.nn.functional.conv2d is torch.conv2d itself, and so for all of them.
_OURS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    torch.conv1d: functional.conv1d,
    torch.conv2d: functional.conv2d,
    torch.conv3d: functional.conv3d,
    torch.conv_transpose1d: functional.conv_transpose1d,
    torch.conv_transpose2d: functional.conv_transpose2d,
    torch.conv_transpose3d: functional.conv_transpose3d,
}

_DEVICES = frozenset(
    device
    for device, key in (("cpu", "CPU"), ("cuda", "CUDA"), ("meta", "Meta"))
    if torch._C._dispatch_has_kernel_for_dispatch_key("torchconv::conv", key)
)


def _taken_over(argument: Any) -> bool:
    """Whether torchconv has a kernel for it: not so for other devices, quantized, sparse, nested
    and mkldnn tensors."""
    return not isinstance(argument, Tensor) or (
        argument.device.type in _DEVICES
        and argument.layout == torch.strided
        and not argument.is_quantized
        and not argument.is_nested
    )


class patch(TorchFunctionMode):
    """Under it, `torch.nn.functional.conv*`, `torch.conv*` and every `nn.Conv*` run on torchconv.

    Results, gradients and error types stay those of torch. Tensors that torchconv has no kernel for
    (other devices, quantized, sparse, nested and mkldnn tensors) go to torch as before.

    Returns:
        A context manager.

    >>> import torch, torchconv
    >>> model = torch.nn.Conv1d(1, 1, 3, bias=False)
    >>> with torchconv.patch():
    ...     output = model(torch.zeros(1, 1, 5))
    >>> output.shape
    torch.Size([1, 1, 3])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        ours = _OURS.get(func)
        if ours and all(map(_taken_over, args)) and all(map(_taken_over, kwargs.values())):
            func = ours
        return func(*args, **kwargs)
