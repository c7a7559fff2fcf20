"""What a trained layer sees in an image: its kernels and its feature maps, as one picture.

Needs matplotlib: ``pip install torchconv[plot]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchconv.pictures import draw_features
from torchconv.trace import evaluating


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """One convolution of a model at work on one image."""

    name: str  # of the layer in its model
    image: Tensor  # (channels, height, width)
    kernels: Tensor  # (out_channels, in_channels / groups, *kernel_size)
    maps: Tensor  # (out_channels, height, width)

    def save(self, path: str | Path) -> None:
        """Writes the picture as PNG, SVG or PDF, as its name ends."""
        draw_features(self.image, self.kernels, self.maps, path)

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        file = BytesIO()
        draw_features(self.image, self.kernels, self.maps, file)
        return file.getvalue()


def look(model: nn.Module, image: Tensor, layer: str = "") -> FeatureMaps:
    """Runs a model on an image and keeps what one of its 2-d convolutions makes of it.

    Args:
        model: the network, which runs in evaluation mode and without gradients.
        image: (channels, height, width), or that with a batch of one.
        layer: name of the convolution as in `model.named_modules()`. Default: the first one

    Returns:
        The layer's kernels and feature maps: `save` writes them as a picture, a notebook shows it.

    Raises:
        ValueError: there is no such convolution, the model did not call it, or several images.

    >>> import torch, torchconv
    >>> from torchconv.tools import features
    >>> model = torch.nn.Sequential(torch.nn.ReLU(), torchconv.Conv2d(3, 8, 5))
    >>> seen = features.look(model, torch.zeros(3, 32, 32))
    >>> seen.name, tuple(seen.kernels.shape), tuple(seen.maps.shape)
    ('1', (8, 3, 5, 5), (8, 28, 28))
    """
    batch = image if image.dim() == 4 else image.unsqueeze(0)
    if batch.dim() != 4 or len(batch) != 1:
        raise ValueError(f"look: image must be one image, got {tuple(image.shape)}")
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    if not layers or (layer and layer not in layers):
        known = ", ".join(layers) or "none"
        raise ValueError(f"look: no 2-d convolution {layer!r}; the model has {known}")
    name = layer or next(iter(layers))
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept.append(output)

    hook = layers[name].register_forward_hook(keep)
    try:
        with torch.no_grad(), evaluating(model):
            model(batch)
    finally:
        hook.remove()
    if not kept:
        raise ValueError(f"look: the model did not call {name!r}")
    return FeatureMaps(name, batch[0], layers[name].weight.detach(), kept[0][0])
