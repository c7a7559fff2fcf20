"""Convolutions as layers: torch.nn's own, computing with torchconv.functional."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torchconv import functional
from torchconv._docs import LAYER, documented
from torchconv.arguments import MODES, Padding, Size, word


class _Layer(nn.Module):
    """What the six layers share: the function they call and the one attribute torch.nn has not."""

    # On the class, so that a torch.nn layer that becomes one of ours needs no new attribute.
    mode: str = "cross_correlation"
    _function: Callable[..., Tensor]

    def extra_repr(self) -> str:
        text: str = super().extra_repr()
        return text if self.mode == "cross_correlation" else f"{text}, mode={self.mode}"


class _Conv(_Layer):
    _padding_words: tuple[str, ...] = ("valid", "same", "full")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        mode: str = "cross_correlation",
    ) -> None:
        name = type(self).__name__
        if isinstance(padding, str):
            word(name, "padding", padding, self._padding_words)
            special: str | tuple[Any, ...] | None = padding
        elif isinstance(padding, tuple | list) and any(
            isinstance(p, tuple | list) for p in padding
        ):
            special = tuple(tuple(pair) for pair in padding)
        else:
            special = None
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            0 if special else padding,  # torch.nn refuses most words, and pairs
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        if special:
            self.padding = special
        self.mode = word(name, "mode", mode, MODES)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._function(
            input,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            mode=self.mode,
            padding_mode=self.padding_mode,
        )


class _ConvTranspose(_Layer):
    kernel_size: tuple[int, ...]
    _output_padding: Callable[..., list[int]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        mode: str = "cross_correlation",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            device,
            dtype,
        )
        self.mode = word(type(self).__name__, "mode", mode, MODES)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        output_padding = self._output_padding(
            input,
            output_size,
            self.stride,
            self.padding,
            self.kernel_size,
            len(self.kernel_size),
            self.dilation,
        )
        return self._function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            output_padding,
            self.groups,
            self.dilation,
            mode=self.mode,
        )


@documented(LAYER)
class Conv1d(_Conv, nn.Conv1d):
    """Slides learnable taps over one spatial axis.

    {arguments}

    >>> import torch, torchconv
    >>> layer = torchconv.Conv1d(2, 4, 3, padding="causal", dilation=2)
    >>> layer
    Conv1d(2, 4, kernel_size=(3,), stride=(1,), padding=causal, dilation=(2,))
    >>> layer(torch.zeros(8, 2, 100)).shape
    torch.Size([8, 4, 100])
    """

    _function = staticmethod(functional.conv1d)
    _padding_words = ("valid", "same", "full", "causal")


@documented(LAYER)
class Conv2d(_Conv, nn.Conv2d):
    """Slides learnable taps over two spatial axes.

    {arguments}

    >>> import torch, torchconv
    >>> layer = torchconv.Conv2d(3, 16, 3, stride=2, padding="same")
    >>> layer
    Conv2d(3, 16, kernel_size=(3, 3), stride=(2, 2), padding=same)
    >>> layer(torch.zeros(8, 3, 33, 32)).shape
    torch.Size([8, 16, 17, 16])
    """

    _function = staticmethod(functional.conv2d)


@documented(LAYER)
class Conv3d(_Conv, nn.Conv3d):
    """Slides learnable taps over three spatial axes.

    {arguments}

    >>> import torch, torchconv
    >>> layer = torchconv.Conv3d(1, 4, 3, padding=1, padding_mode="circular")
    >>> layer
    Conv3d(1, 4, kernel_size=(3, 3, 3), stride=(1, 1, 1), padding=(1, 1, 1), padding_mode=circular)
    >>> layer(torch.zeros(2, 1, 8, 8, 8)).shape
    torch.Size([2, 4, 8, 8, 8])
    """

    _function = staticmethod(functional.conv3d)


@documented(LAYER)
class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """Spreads each element with learnable taps over one spatial axis.

    {arguments}

    >>> import torch, torchconv
    >>> layer = torchconv.ConvTranspose1d(4, 2, 4, stride=2, padding=1)
    >>> layer
    ConvTranspose1d(4, 2, kernel_size=(4,), stride=(2,), padding=(1,))
    >>> layer(torch.zeros(8, 4, 50)).shape
    torch.Size([8, 2, 100])
    """

    _function = staticmethod(functional.conv_transpose1d)


@documented(LAYER)
class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """Spreads each element with learnable taps over two spatial axes.

    {arguments}

    >>> import torch, torchconv
    >>> layer = torchconv.ConvTranspose2d(16, 8, 3, stride=2, padding=1)
    >>> layer(torch.zeros(2, 16, 7, 7)).shape
    torch.Size([2, 8, 13, 13])
    >>> layer(torch.zeros(2, 16, 7, 7), output_size=[14, 14]).shape
    torch.Size([2, 8, 14, 14])
    """

    _function = staticmethod(functional.conv_transpose2d)


@documented(LAYER)
class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """Spreads each element with learnable taps over three spatial axes.

    {arguments}

    >>> import torch, torchconv
    >>> layer = torchconv.ConvTranspose3d(4, 2, 2, stride=2, bias=False)
    >>> layer
    ConvTranspose3d(4, 2, kernel_size=(2, 2, 2), stride=(2, 2, 2), bias=False)
    >>> layer(torch.zeros(1, 4, 3, 4, 5)).shape
    torch.Size([1, 2, 6, 8, 10])
    """

    _function = staticmethod(functional.conv_transpose3d)
