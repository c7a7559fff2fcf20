"""Pictures of networks. Needs matplotlib: torchconv[plot]."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from torchconv.trace import LayerShape, ShapeTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACCENT = "#1f2937", "#3867d6"


def draw_shapes(table: ShapeTable, path: str | Path) -> None:
    """Draws the sizes between the layers as blocks: as high as the map, as deep as its channels.

    Both on a logarithmic scale, so that 1,000 channels and 7 pixels find room in one picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not table.layers:
        raise ValueError("draw_shapes: the network has no layer that changes a size")
    sizes = [table.layers[0].input_size, *(layer.output_size for layer in table.layers)]
    figure = Figure(figsize=(max(4.0, 1.3 * len(sizes) + 0.4), 2.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    right = 0.0
    for number, size in enumerate(sizes):
        label = "x".join(map(str, size[1:])) + f"\n{size[0]} channels"
        right = _block(axes, right, size, label)
        if number < len(table.layers):
            right = _arrow(axes, right, table.layers[number])
    axes.set_xlim(-0.2, right + 0.2)
    axes.set_ylim(-1.35, 1.25)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.savefig(path, dpi=100)


def _block(axes: Axes, left: float, size: tuple[int, ...], label: str) -> float:
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
    axes.text(middle, -0.98, label, ha="center", va="top", fontsize=7.5, color=INK)
    return right + back


def _arrow(axes: Axes, left: float, layer: LayerShape) -> float:
    """Draws what the layer does as an arrow and returns where it ends on the right."""
    right = left + 1.0
    axes.annotate("", (right - 0.08, 0), (left + 0.08, 0), arrowprops={
        "arrowstyle": "->", "color": INK, "linewidth": 0.9})  # fmt: skip
    words = [layer.kind, "x".join(map(str, layer.kernel_size))]
    axes.text(left + 0.5, 0.07, "\n".join(filter(None, words)), ha="center", va="bottom",
              fontsize=6.5, color=INK)  # fmt: skip
    return right
