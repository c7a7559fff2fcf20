"""How the cost grows: time against batch, channels and map size, on one thread and on two.

Each of three shapes is varied along one of its sizes at a time. The work grows with the first power
of the batch, with the second power of the channels (the first, depthwise) and with the number of
positions, and so should the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from torchconv.tools.calls import native_call, our_call, tensors
from torchconv.tools.measure import Timing, interleave
from torchconv.tools.report import machine
from torchconv.tools.workloads import RESULTS, from_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THREADS = (1, 2)
FACTORS = {
    "batch": (1, 2, 4, 8, 16),
    "channels": (16, 32, 64, 128, 256),
    "map": (7, 14, 28, 56, 112),
}


@dataclass(frozen=True)
class Shape:
    """A line with holes, and what fills those that are not varied."""

    title: str
    line: str
    batch: int
    channels: int
    map: int


SHAPES = (
    Shape(
        "3x3, 64 channels, 56x56",
        "batch={batch} channels={channels}>{channels} input={map}x{map} kernel=3x3 padding=1x1 "
        "output={map}x{map}",
        1, 64, 56,
    ),
    Shape(
        "depthwise 7x7, 64 channels, 56x56",
        "batch={batch} channels={channels}>{channels} groups={channels} input={map}x{map} "
        "kernel=7x7 padding=3x3 output={map}x{map}",
        1, 64, 56,
    ),
    Shape(
        "1-d, 9 taps, 64 channels, 56 x 56 long",
        "batch={batch} channels={channels}>{channels} input={length} kernel=9 padding=4 "
        "output={length}",
        1, 64, 56,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    shape: str
    factor: str  # batch, channels or map
    value: int
    threads: int
    result: str
    timing: Timing


def points(time_limit_s: float) -> Iterator[Point]:
    """Every shape, factor, value, number of threads and result."""
    before = torch.get_num_threads()
    try:
        for shape in SHAPES:
            for factor, values in FACTORS.items():
                for value in values:
                    yield from _points(shape, factor, value, time_limit_s)
    finally:
        torch.set_num_threads(before)


def _points(shape: Shape, factor: str, value: int, time_limit_s: float) -> Iterator[Point]:
    sizes = {"batch": shape.batch, "channels": shape.channels, "map": shape.map} | {factor: value}
    fields = shape.line.format(**sizes, length=sizes["map"] ** 2)
    workload, _, dtype = from_line(f"output float32 {fields}")
    given = tensors(workload, dtype)
    for threads in THREADS:
        torch.set_num_threads(threads)
        for result in RESULTS:
            native, ours = native_call(workload, result, given), our_call(workload, result, given)
            with torch.no_grad():
                timing = interleave(native, ours, time_limit_s=time_limit_s)
            yield Point(shape.title, factor, value, threads, result, timing)


def save(measured: list[Point], path: Path) -> None:
    record = {"machine": machine(), "points": [asdict(point) for point in measured]}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> list[Point]:
    record = json.loads(path.read_text(encoding="utf-8"))
    return [Point(**point | {"timing": Timing(**point["timing"])}) for point in record["points"]]


def table(measured: list[Point]) -> str:
    """Our times, a row for each result and number of threads."""
    lines = []
    for shape in SHAPES:
        for factor, values in FACTORS.items():
            lines.append(f"{shape.title}: ms against {factor}")
            lines.append(f"  {'':<10}{'threads':>8}" + "".join(f"{value:>10}" for value in values))
            for result in RESULTS:
                for threads in THREADS:
                    row = _row(measured, shape, factor, result, threads)
                    cells = "".join(f"{1e3 * point.timing.ours_s:>10.3f}" for point in row)
                    lines.append(f"  {result:<10}{threads:>8}{cells}")
    return "\n".join(lines)


def _row(
    measured: list[Point], shape: Shape, factor: str, result: str, threads: int
) -> list[Point]:
    wanted = (shape.title, factor, result, threads)
    return [p for p in measured if (p.shape, p.factor, p.result, p.threads) == wanted]


def plot(measured: list[Point], path: Path, result: str = "output") -> None:
    """Draws one result: a row a shape, a column a factor, lines for ours and for PyTorch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"font.size": 9, "font.family": "DejaVu Sans"}):
        figure, grid = pyplot.subplots(
            len(SHAPES), len(FACTORS), figsize=(9.6, 8.4), layout="constrained"
        )
        for row, shape in zip(grid, SHAPES, strict=True):
            for axes, factor in zip(row, FACTORS, strict=True):
                for threads in THREADS:
                    _draw(axes, _row(measured, shape, factor, result, threads), threads)
                axes.set_xlabel(factor)
                axes.set_title(shape.title if axes is row[1] else "", fontsize=10)
            row[0].set_ylabel("ms")
        grid[0][0].legend(frameon=False, fontsize=8)
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


def _draw(axes: Axes, row: list[Point], threads: int) -> None:
    values = [point.value for point in row]
    style = "-" if threads == 1 else "--"
    words = f"{threads} thread{'s' if threads > 1 else ''}"
    for name, colour, times in (
        ("torchconv", "#3867d6", [1e3 * point.timing.ours_s for point in row]),
        ("F.conv", "#9ca3af", [1e3 * point.timing.native_s for point in row]),
    ):
        axes.plot(values, times, style, color=colour, marker="o", ms=3, label=f"{name}, {words}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(values, [str(value) for value in values])
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
