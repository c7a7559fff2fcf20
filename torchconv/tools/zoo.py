"""Whole networks for benchmarks: as published in what a convolution sees, of torch.nn alone.

Weights are random. Left out is what changes no shape: dropout, drop path, weight normalisation.
Every builder takes `thin`, which divides all widths: for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[], nn.Module]
CONVS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, Callable[[int], nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
CLASSES = 1000  # of ImageNet
relu: Activation = partial(nn.ReLU, inplace=True)


# --- Blocks -------------------------------------------------------------------------------------


def unit(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, axes: int = 2,
    act: Activation | None = relu,
) -> nn.Sequential:  # fmt: skip
    """A convolution that keeps the size, over the stride; batch norm; an activation."""
    convolution = CONVS[axes](
        inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, NORMS[axes](outputs), *([act()] if act else []))


class Residual(nn.Module):
    """after(shortcut(x) + body(x))"""

    def __init__(
        self, *body: nn.Module, shortcut: nn.Module | None = None, after: Activation = nn.Identity
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut = shortcut or nn.Identity()
        self.after = after()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.after(self.shortcut(x) + self.body(x))
        return result


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Scale(nn.Module):
    """A factor for each channel, small at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def pooled(channels: int, classes: int = CLASSES) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


# --- Networks -----------------------------------------------------------------------------------


def resnet50(thin: int = 1) -> nn.Module:
    """He et al., Deep residual learning, 2015; the stride on the 3x3, as usual today."""
    width = 64 // thin
    layers = [unit(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = width
    for stage, depth in enumerate((3, 4, 6, 3)):
        middle = width * 2**stage
        for block in range(depth):
            stride = 2 if stage and not block else 1
            shortcut = None if block else unit(inputs, 4 * middle, 1, stride, act=None)
            body = (unit(inputs, middle, 1), unit(middle, middle, 3, stride),
                    unit(middle, 4 * middle, 1, act=None))  # fmt: skip
            layers.append(Residual(*body, shortcut=shortcut, after=relu))
            inputs = 4 * middle
    return nn.Sequential(*layers, *pooled(inputs))


def resnet18(thin: int = 1, classes: int = 10) -> nn.Module:
    """The same for images of 32x32 pixels: a first layer of 3x3, and no pooling behind it."""
    inputs = width = 64 // thin
    layers: list[nn.Module] = [unit(3, width, 3)]
    for stage in range(4):
        outputs = width * 2**stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            shortcut = unit(inputs, outputs, 1, stride, act=None) if stride > 1 else None
            body = unit(inputs, outputs, 3, stride), unit(outputs, outputs, 3, act=None)
            layers.append(Residual(*body, shortcut=shortcut, after=relu))
            inputs = outputs
    return nn.Sequential(*layers, *pooled(inputs, classes))


def vgg16(thin: int = 1) -> nn.Module:
    """Simonyan and Zisserman, Very deep convolutional networks, 2014: configuration D."""
    layers: list[nn.Module] = []
    inputs = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width // thin, 3, padding=1), relu()]
            inputs = width // thin
        layers.append(nn.MaxPool2d(2))
    hidden = 4096 // thin
    head = (nn.Linear(49 * inputs, hidden), relu(), nn.Linear(hidden, hidden), relu())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head,
                         nn.Linear(hidden, CLASSES))  # fmt: skip


def mobilenetv2(thin: int = 1) -> nn.Module:
    """Sandler et al., Inverted residuals and linear bottlenecks, 2018."""
    relu6 = partial(nn.ReLU6, inplace=True)
    inputs = 32 // thin
    layers: list[nn.Module] = [unit(3, inputs, 3, 2, act=relu6)]
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
             (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
    for expansion, width, depth, first in table:
        outputs = width // thin
        for stride in (first, *[1] * (depth - 1)):
            hidden = inputs * expansion
            body = [unit(inputs, hidden, 1, act=relu6)] if expansion > 1 else []
            body += [unit(hidden, hidden, 3, stride, groups=hidden, act=relu6),
                     unit(hidden, outputs, 1, act=None)]  # fmt: skip
            kept = stride == 1 and inputs == outputs
            layers.append(Residual(*body) if kept else nn.Sequential(*body))
            inputs = outputs
    last = 1280 // thin
    return nn.Sequential(*layers, unit(inputs, last, 1, act=relu6), *pooled(last))


def convnext_t(thin: int = 1) -> nn.Module:
    """Liu et al., A ConvNet for the 2020s, 2022."""
    layers: list[nn.Module] = []
    inputs = 3
    for depth, width, patch in ((3, 96, 4), (3, 192, 2), (9, 384, 2), (3, 768, 2)):
        outputs = width // thin
        down = nn.Conv2d(inputs, outputs, patch, patch)
        layers += [ChannelNorm(inputs), down] if layers else [down, ChannelNorm(outputs)]
        for _ in range(depth):
            layers.append(Residual(
                nn.Conv2d(outputs, outputs, 7, padding=3, groups=outputs), ChannelNorm(outputs),
                nn.Conv2d(outputs, 4 * outputs, 1), nn.GELU(),
                nn.Conv2d(4 * outputs, outputs, 1), Scale(outputs),
            ))  # fmt: skip
        inputs = outputs
    flat = nn.AdaptiveAvgPool2d(1), ChannelNorm(inputs), nn.Flatten()
    return nn.Sequential(*layers, *flat, nn.Linear(inputs, CLASSES))


def replknet(thin: int = 1) -> nn.Module:
    """After Ding et al., Scaling up your kernels to 31x31, 2022: 6 blocks for 18 in stage three."""
    width = 128 // thin
    layers: list[nn.Module] = [
        unit(3, width, 3, 2), unit(width, width, 3, groups=width), unit(width, width, 1),
        unit(width, width, 3, 2, groups=width),
    ]  # fmt: skip
    for stage, (depth, kernel) in enumerate(((2, 31), (2, 29), (6, 27), (2, 13))):
        if stage:
            layers += [
                unit(width, 2 * width, 1),
                unit(2 * width, 2 * width, 3, 2, groups=2 * width),
            ]
            width *= 2
        depthwise = partial(unit, width, width, groups=width, act=None)
        for _ in range(depth):
            large = Residual(depthwise(kernel), shortcut=depthwise(5), after=relu)
            layers.append(Residual(
                nn.BatchNorm2d(width), unit(width, width, 1), large,
                unit(width, width, 1, act=None),
            ))  # fmt: skip
            layers.append(Residual(
                nn.BatchNorm2d(width), unit(width, 4 * width, 1, act=nn.GELU),
                unit(4 * width, width, 1, act=None),
            ))  # fmt: skip
    return nn.Sequential(*layers, nn.BatchNorm2d(width), *pooled(width))


class UNet3d(nn.Module):
    """After Çiçek et al., 3D U-Net, 2016."""

    def __init__(self, thin: int = 1, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        widths = [width // thin for width in widths]

        def double(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                unit(inputs, outputs, 3, axes=3), unit(outputs, outputs, 3, axes=3)
            )

        pairs = list(zip([1, *widths], widths, strict=False))
        self.down = nn.ModuleList(double(*pair) for pair in pairs)
        back = pairs[:0:-1]
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, wide, 2, 2) for wide, deep in back)
        self.merge = nn.ModuleList(double(2 * wide, wide) for wide, _ in back)
        self.head = nn.Conv3d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for stage in self.down:
            x = stage(F.max_pool3d(x, 2) if kept else x)
            kept.append(x)
        kept.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        result: Tensor = self.head(x)
        return result


def tcn(thin: int = 1) -> nn.Module:
    """After Bai et al., An empirical evaluation of generic convolutional networks, 2018."""
    width = 64 // thin
    blocks: list[nn.Module] = [nn.Conv1d(1, width, 1)]
    for level in range(8):
        dilation, kernel = 2**level, 7
        body: list[nn.Module] = []
        for _ in range(2):
            past = nn.ConstantPad1d((dilation * (kernel - 1), 0), 0.0)
            body += [past, nn.Conv1d(width, width, kernel, dilation=dilation), relu()]
        blocks.append(Residual(*body, after=relu))
    return nn.Sequential(*blocks, nn.Conv1d(width, 10, 1))


def wav2vec2(thin: int = 1) -> nn.Module:
    """The feature extractor of Baevski et al., wav2vec 2.0, 2020: 16,000 samples to 49 vectors."""
    width = 512 // thin
    layers: list[nn.Module] = []
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        layers.append(nn.Conv1d(width if layers else 1, width, kernel, stride, bias=False))
        layers += [nn.GELU()] if len(layers) > 1 else [nn.GroupNorm(width, width), nn.GELU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Network:
    """A builder, and what its network is usually called with."""

    title: str
    build: Callable[[int], nn.Module]
    input_size: tuple[int, ...]  # channels first
    batch: int
    multiple: int  # of each spatial size
    least: int

    def resized(self, factor: float) -> tuple[int, ...]:
        """The input size with spatial axes `factor` times as long, as far as the network bears."""
        channels, *spatial = self.input_size
        steps = (round(n * factor / self.multiple) for n in spatial)
        return channels, *(max(self.least, step * self.multiple) for step in steps)


IMAGE = (3, 224, 224)
NETWORKS = {
    "resnet50": Network("ResNet-50", resnet50, IMAGE, 4, 32, 64),
    "vgg16": Network("VGG-16", vgg16, IMAGE, 2, 32, 32),
    "mobilenetv2": Network("MobileNetV2", mobilenetv2, IMAGE, 8, 32, 64),
    "convnext_t": Network("ConvNeXt-T", convnext_t, IMAGE, 4, 32, 32),
    "replknet": Network("RepLKNet-like", replknet, IMAGE, 2, 32, 64),
    "unet3d": Network("3-d U-Net", UNet3d, (1, 48, 48, 48), 1, 8, 16),
    "tcn": Network("TCN", tcn, (1, 2048), 8, 1, 64),
    "wav2vec2": Network("wav2vec 2.0 features", wav2vec2, (1, 32000), 2, 1, 720),
}


def randomise(model: nn.Module) -> nn.Module:
    """He's initialisation, under which a signal neither fades nor explodes.

    What a block adds to its input starts small, as usual for deep networks (Goyal et al., 2017):
    otherwise a rounding in the first layer is no longer small in the gradients.
    """
    weighted = nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d, nn.Linear
    for layer in model.modules():
        if isinstance(layer, weighted):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, Residual):
            norms = [
                m for m in layer.body.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
            ]
            for norm in norms[-1:]:
                nn.init.constant_(norm.weight, 0.2)
    return model
