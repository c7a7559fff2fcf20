"""A picture of a benchmark: one row a regime, one dot a case, a line at 1.0.

Needs matplotlib: ``pip install torchconv[plot]``.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torchconv.tools.regimes import REGIMES, Regime
from torchconv.tools.report import TITLES, Record, Report, geometric_mean, groups, ratios
from torchconv.tools.workloads import RESULTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

MARKERS = {"output": "o", "input": "D", "weight": "^"}
LANES = {"output": 0.27, "input": 0.0, "weight": -0.27}  # height within a regime's row
COLOURS = (
    "#3867d6", "#8854d0", "#eb3b5a", "#fa8231", "#e1a100",
    "#20a35c", "#0fa3b1", "#2d98da", "#a5427f", "#6b7280",
)  # fmt: skip
INK = "#1f2937"
PALE = "#e5e7eb"


def save(report: Report, path: Path) -> None:
    """Draws the report's ratios into a file of the kind that its name ends in."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = list(groups([record for record in report.records if record.timing]))
    with pyplot.rc_context({"font.size": 10, "font.family": "DejaVu Sans"}):
        figure, axes = pyplot.subplots(figsize=(9.6, 1.2 + 0.56 * len(rows)), layout="constrained")
        several_dtypes = len({dtype for dtype, *_ in rows}) > 1
        labels = []
        for row, (dtype, regime, algorithm, records) in enumerate(rows):
            _draw_row(axes, -row, regime, records)
            words = (regime.title, dtype if several_dtypes else "", algorithm)
            labels.append(textwrap.fill(" ".join(words), 25))
        axes.set_yticks([-row for row in range(len(rows))], labels, color=INK, fontsize=9)
        dress(axes, len(rows), _legend())
        caption = "F.conv's time over torchconv's: right of 1 torchconv is faster"
        axes.set_xlabel(
            f"{caption}\n{facts_of(report.machine)}", color=INK, fontsize=9, linespacing=1.7
        )
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


def _draw_row(axes: Axes, height: float, regime: Regime, records: list[Record]) -> None:
    colour = COLOURS[list(REGIMES).index(regime.name)]
    for result in RESULTS:
        values = sorted(ratios(records, result))
        mean = geometric_mean(values)
        if mean is None:
            continue
        lane = height + LANES[result]
        # A little height keeps equal ratios apart: the same in every drawing.
        heights = [lane + 0.05 * math.sin(2.4 * i) for i in range(len(values))]
        axes.scatter(
            values, heights, s=17, marker=MARKERS[result], color=colour, alpha=0.6, linewidths=0
        )
        axes.plot([mean, mean], [lane - 0.12, lane + 0.12], color=INK, linewidth=2)
        axes.annotate(
            f"{mean:.2f}", (1.012, lane), xycoords=("axes fraction", "data"),
            va="center", fontsize=8, color=INK if mean >= 1 else "#b91c1c",
        )  # fmt: skip


def dress(axes: Axes, rows: int, legend: list[Line2D]) -> None:
    """Axes for ratios in so many rows, one below the other from height 0 on."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.5), max(high, 2.0))
    axes.set_ylim(0.5 - rows, 0.5)
    for row in range(1, rows):
        axes.axhline(0.5 - row, color=PALE, linewidth=0.8)
    axes.axvline(1.0, color=INK, linewidth=1)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}×"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.legend(
        handles=legend, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=4, frameon=False,
        borderaxespad=0, handletextpad=0.4, columnspacing=1.6, handlelength=1.0,
    )  # fmt: skip


def _legend() -> list[Line2D]:
    from matplotlib.lines import Line2D

    markers = [
        Line2D([], [], marker=MARKERS[r], color="none", markerfacecolor=INK, label=TITLES[r])
        for r in RESULTS
    ]
    return [*markers, Line2D([], [], color=INK, linewidth=2, label="geometric mean")]


def facts_of(facts: Mapping[str, str | int]) -> str:
    """The machine in one line."""
    return f"{facts['cpu']}, {facts['threads']} threads, {facts['target']}, torch {facts['torch']}"
