"""Pictures of networks and of what their layers see. Needs matplotlib: torchconv[plot]."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, TYPE_CHECKING

import torch
from torch import Tensor

from torchconv.trace import LayerShape, ShapeTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACCENT = "#1f2937", "#3867d6"
PER_ROW = 8  # layers side by side


def draw_shapes(table: ShapeTable, path: str | Path) -> None:
    """Draws the sizes between the layers as blocks: as high as the map, as deep as its channels.

    Both on a logarithmic scale, so that 1,000 channels and 7 pixels find room in one picture.
    """
    from matplotlib.figure import Figure

    if not table.layers:
        raise ValueError("draw_shapes: the network has no layer that changes a size")
    layers = table.layers
    rows = [layers[first : first + PER_ROW] for first in range(0, len(layers), PER_ROW)]
    figure = Figure(figsize=(1.3 * len(rows[0]) + 1.7, 2.5 * len(rows)), layout="constrained")
    every = [axes for (axes,) in figure.subplots(len(rows), 1, squeeze=False)]
    ends = []
    for number, (axes, row) in enumerate(zip(every, rows, strict=True)):
        right = 0.0 if number else _block(axes, 0.0, layers[0].input_size)
        for layer in row:
            right = _block(axes, _arrow(axes, right, layer), layer.output_size)
        ends.append(right)
    for axes in every:
        axes.set_xlim(-0.2, max(ends) + 0.2)
        axes.set_ylim(-1.35, 1.25)
        axes.set_aspect("equal")
        axes.axis("off")
    figure.savefig(path, dpi=100)


def _block(axes: Axes, left: float, size: tuple[int, ...]) -> float:
    """Draws a box and returns where it ends on the right."""
    channels, *spatial = size
    height = 0.18 * math.log2(1 + (spatial[0] if len(spatial) > 1 else 1))
    width = 0.09 * math.log2(1 + channels)
    # The last axis runs back into the picture, foreshortened.
    back = 0.07 * math.log2(1 + spatial[-1])
    low, top, right = -height / 2, height / 2, left + width
    front = [(left, low), (right, low), (right, top), (left, top)]
    upper = [(left, top), (right, top), (right + back, top + back), (left + back, top + back)]
    side = [(right, low), (right + back, low + back), (right + back, top + back), (right, top)]
    for colour, corners in (("#dbe4fb", front), ("#eef2fd", upper), ("#b9c9f5", side)):
        axes.fill(*zip(*corners, strict=True), facecolor=colour, edgecolor=ACCENT, linewidth=0.8)
    middle = left + (width + back) / 2
    label = f"{'x'.join(map(str, spatial))}\n{channels} channel{'s' * (channels != 1)}"
    axes.text(middle, -0.98, label, ha="center", va="top", fontsize=7.5, color=INK)
    return right + back


def _arrow(axes: Axes, left: float, layer: LayerShape) -> float:
    """Draws what the layer does as an arrow and returns where it ends on the right."""
    right = left + 1.0
    axes.annotate("", (right - 0.08, 0), (left + 0.08, 0), arrowprops={
        "arrowstyle": "->", "color": INK, "linewidth": 0.9})  # fmt: skip
    words = [layer.kind, "x".join(map(str, layer.kernel_size))]
    axes.text(left + 0.5, 0.07, "\n".join(filter(None, words)), ha="center", va="bottom",
              fontsize=6, color=INK)  # fmt: skip
    return right


def draw_features(
    image: Tensor, kernels: Tensor, maps: Tensor, path: str | Path | IO[bytes]
) -> None:
    """Draws an image, the kernels of a convolution and what each of them makes of the image.

    Kernels of one channel are drawn in red (positive) and blue, those of three channels in their
    colours, and of those with more the heaviest channel.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    image, kernels, maps = (tensor.detach().cpu().float() for tensor in (image, kernels, maps))
    colour = image.shape[0] == 3
    picture = image if colour else image.mean(0, keepdim=True)
    picture = (picture - picture.min()) / (picture.max() - picture.min()).clamp(min=1e-9)
    if kernels.shape[1] != 3:
        heaviest = kernels.abs().sum((2, 3)).argmax(1)
        kernels = kernels[torch.arange(len(kernels)), heaviest].unsqueeze(1)
    tiles = torch.stack([mosaic(part) for part in each_scaled(kernels).unbind(1)], -1)
    panels = {
        "image": picture.permute(1, 2, 0),
        f"{len(kernels)} kernels": tiles,
        "what they see": mosaic(each_scaled(maps)).unsqueeze(-1),
    }
    shares = (2.6, 2.6, 4.0)  # inches
    height = max(
        wide * panel.shape[0] / panel.shape[1]
        for wide, panel in zip(shares, panels.values(), strict=True)
    )
    size = (sum(shares) + 0.4, min(height, 6) + 0.35)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12))
    every = figure.subplots(1, 3, width_ratios=shares)
    for axes, (title, panel) in zip(every, panels.items(), strict=True):
        if title == "image":
            axes.imshow(panel.numpy(), cmap="gray", vmin=0, vmax=1)
        elif panel.shape[-1] == 3:
            axes.imshow((panel / 2 + 0.5).nan_to_num(1.0).numpy())
        else:
            signed = bool((panel < 0).any())
            colours = "RdBu_r" if signed else "magma"
            axes.imshow(panel[..., 0].numpy(), cmap=colours, vmin=-1 if signed else 0, vmax=1)
        axes.set_title(title, fontsize=10, color=INK)
        axes.axis("off")
        axes.set_anchor("N")
    figure.savefig(path, dpi=100)


def each_scaled(maps: Tensor) -> Tensor:
    """Each map by itself scaled to -1 .. 1."""
    return maps / maps.flatten(1).abs().amax(1).clamp(min=1e-9).view(-1, *[1] * (maps.dim() - 1))


def mosaic(maps: Tensor, columns: int = 0) -> Tensor:
    """All maps (count, height, width) side by side; the gaps between them are NaN, drawn empty."""
    columns = columns or math.ceil(math.sqrt(len(maps)))
    missing = -len(maps) % columns
    gap = max(1, max(maps.shape[1:]) // 30)
    framed = torch.nn.functional.pad(maps, (0, gap, 0, gap, 0, missing), value=torch.nan)
    framed[len(maps) :] = torch.nan
    rows = [torch.cat(list(row), dim=1) for row in torch.split(framed, columns)]
    return torch.cat(rows)[:-gap, :-gap]
