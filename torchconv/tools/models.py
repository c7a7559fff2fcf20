"""Whole models: plain torch against a converted copy, inference and one training step.

Both share one set of parameters, and are timed in turn in one process. Their outputs and their
gradients are compared first, in bfloat16 with plain torch's without oneDNN: on CPUs that multiply
bfloat16, the gradient by weight of its conv3d (torch 2.13) reads memory that nobody wrote.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torchconv
from torchconv import _tables
from torchconv.tools.measure import Timing, interleave
from torchconv.tools.report import load_json, save_json
from torchconv.tools.zoo import NETWORKS, Network, randomise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PASSES = {"forward": "forward", "step": "training step"}
DTYPES = ("float32", "bfloat16")
# Largest norm of the difference, as a share of the norm. A relu that rounding has pushed over zero
# changes a gradient by more than rounding: hence another figure for the pass with gradients.
TOLERANCES = {
    ("forward", "float32"): 1e-4,
    # Torch's own gradient of RepLKNet-like is 1e-2 from float64's, torchconv's 1.5e-3: batch norms
    # of small batches amplify what rounding there is.
    ("step", "float32"): 5e-2,
    ("forward", "bfloat16"): 5e-2,
    ("step", "bfloat16"): 7e-1,  # of deep networks mostly rounding; a wrong one is off by 1 or more
}
RATE = 1e-5  # of learning: a real step, and yet the numbers stay ordinary over hundreds
HEAD = ("model", "input", "parameters", "dtype", "pass", "torch", "torchconv", "ratio", "quartiles",
        "difference")  # fmt: skip
RIGHT = (2, 5, 6, 7, 8, 9)  # columns of numbers


@dataclass(frozen=True, kw_only=True)
class Record:
    """One pass of one model."""

    model: str
    dtype: str
    kind: str  # of PASSES
    input_size: tuple[int, ...]
    parameters: int
    difference: float  # from plain torch, relative; of the outputs, or of all the gradients
    timing: Timing | None  # None where an error stands
    error: str | None


def twins(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The model, and a copy on torchconv that shares its parameters."""
    shared = {id(parameter): parameter for parameter in model.parameters()}
    return model, torchconv.convert(copy.deepcopy(model, shared))


def run(
    names: Sequence[str], dtypes: Sequence[str], *, batch: int = 0, size: float = 1.0,
    thin: int = 1, time_limit_s: float = 1.0,
) -> Iterator[Record]:  # fmt: skip
    """Measures model after model; batch 0 means each model's own."""
    for name in names:
        for dtype in dtypes:
            torch.manual_seed(0)
            pair = twins(randomise(NETWORKS[name].build(thin)).to(getattr(torch, dtype)))
            yield from _passes(name, dtype, pair, _input(NETWORKS[name], dtype, batch, size),
                               time_limit_s)  # fmt: skip


def _input(network: Network, dtype: str, batch: int, size: float) -> Tensor:
    shape = (batch or network.batch, *network.resized(size))
    return torch.randn(shape).to(getattr(torch, dtype))


def _passes(
    name: str, dtype: str, pair: tuple[nn.Module, nn.Module], input: Tensor, time_limit_s: float
) -> Iterator[Record]:
    for kind in PASSES:
        make = {"forward": forward, "step": training_step}[kind]
        difference, timing, error = math.nan, None, None
        try:
            (native, seen), (ours, expected) = (make(model, input) for model in pair)
            with torch.backends.mkldnn.flags(enabled=dtype != "bfloat16"):
                right = seen()
            difference = relative(expected(), right)
            allowed = TOLERANCES[kind, dtype]
            if difference <= allowed:  # which NaN is not
                timing = interleave(native, ours, time_limit_s=time_limit_s)
            else:
                error = f"differs by {difference:.2g} of the norm, more than {allowed:g}"
        except (RuntimeError, ValueError) as failure:
            error = str(failure).splitlines()[0]
        yield Record(
            model=name, dtype=dtype, kind=kind, input_size=tuple(input.shape),
            parameters=sum(p.numel() for p in pair[0].parameters()), difference=difference,
            timing=timing, error=error,
        )  # fmt: skip


Call = Callable[[], object]
Answer = Callable[[], list[Tensor]]


def forward(model: nn.Module, input: Tensor) -> tuple[Call, Answer]:
    """Inference: the call to time, and what it must agree on."""
    model.eval()

    def call() -> Tensor:
        with torch.no_grad():
            output: Tensor = model(input)
        return output

    return call, lambda: [call()]


def training_step(model: nn.Module, input: Tensor) -> tuple[Call, Answer]:
    """Forward, backward and SGD: the call to time, and the gradients it must agree on."""
    model.train()
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=RATE)

    def loss() -> Tensor:
        output = model(input).float()
        return F.mse_loss(output, torch.ones_like(output))

    def call() -> None:
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return call, lambda: list(torch.autograd.grad(loss(), parameters))


def relative(ours: Sequence[Tensor], native: Sequence[Tensor]) -> float:
    """The norm of the difference of all tensors as one vector, as a share of the norm."""

    def norm(tensors: Sequence[Tensor]) -> float:
        return math.hypot(*(tensor.float().norm().item() for tensor in tensors))

    distance = norm([a.float() - b.float() for a, b in zip(ours, native, strict=True)])
    return distance / max(norm(native), 1e-30)


# --- What is left behind ------------------------------------------------------------------------


def save(facts: dict[str, Any], records: Sequence[Record], path: Path) -> None:
    save_json({"machine": facts, "models": [asdict(record) for record in records]}, path)


def load(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """The facts of the machine and the records of a file."""
    content = load_json(path)
    records = []
    for entry in content["models"]:
        timing = Timing(**entry["timing"]) if entry["timing"] else None
        size = tuple(entry["input_size"])
        records.append(Record(**entry | {"timing": timing, "input_size": size}))
    return content["machine"], records


def _row(record: Record) -> tuple[str, ...]:
    timing = record.timing
    words = [
        NETWORKS[record.model].title,
        "x".join(map(str, record.input_size)),
        f"{record.parameters / 1e6:.1f} M",
        record.dtype,
        PASSES[record.kind],
    ]
    measured = ["-", "-", "error", "-"]
    if timing:
        times = (f"{1e3 * seconds:.1f} ms" for seconds in (timing.native_s, timing.ours_s))
        quartiles = f"{timing.ratio_q1:.2f} - {timing.ratio_q3:.2f}"
        measured = [*times, f"{timing.ratio:.2f}", quartiles]
    return *words, *measured, f"{record.difference:.1e}"


def summary(record: Record) -> str:
    """One line for the eye while the benchmark runs."""
    name, _, _, dtype, kind, native, ours, ratio, *_ = _row(record)
    times = record.error or f"{ours}, torch {native}"
    return f"{ratio:>5}  {name}, {kind}, {dtype}: {times}"


def table(records: Sequence[Record]) -> str:
    """Every pass, and under them what failed."""
    lines = [
        "Plain torch's time over torchconv's, medians of pairs: above 1 torchconv is faster.",
        _tables.text(HEAD, [_row(record) for record in records], RIGHT),
    ]
    lines += [f"ERROR {summary(record)}" for record in records if record.error]
    return "\n".join(lines)


def plot(facts: dict[str, Any], records: Sequence[Record], path: Path) -> None:
    """Draws the ratios: a row a model, a mark a pass, a colour a dtype, quartiles as lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    from torchconv.tools.plot import COLOURS, INK, dress, facts_of

    timed = [record for record in records if record.timing]
    names = list(dict.fromkeys(record.model for record in timed))
    colours = dict(zip(DTYPES, (COLOURS[0], COLOURS[3]), strict=True))
    markers = dict(zip(PASSES, "oD", strict=True))
    with pyplot.rc_context({"font.size": 10, "font.family": "DejaVu Sans"}):
        size = (8.4, 1.4 + 0.62 * len(names))
        figure, axes = pyplot.subplots(figsize=size, layout="constrained")
        for record in timed:
            lane = 0.3 - 0.2 * (2 * list(PASSES).index(record.kind) + DTYPES.index(record.dtype))
            _mark(axes, record, lane - names.index(record.model), colours[record.dtype],
                  markers[record.kind])  # fmt: skip
        titles = [NETWORKS[name].title for name in names]
        axes.set_yticks([-row for row in range(len(names))], titles, color=INK)
        handles = [Line2D([], [], marker=marker, color=INK, ls="", label=PASSES[kind])
                   for kind, marker in markers.items()]  # fmt: skip
        handles += [Line2D([], [], marker="s", color=colour, ls="", label=dtype)
                    for dtype, colour in colours.items()
                    if any(record.dtype == dtype for record in timed)]  # fmt: skip
        dress(axes, len(names), handles)
        caption = "plain torch's time over torchconv's: right of 1 torchconv is faster"
        axes.set_xlabel(f"{caption}\n{facts_of(facts)}", color=INK, fontsize=9, linespacing=1.7)
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


def _mark(axes: Axes, record: Record, height: float, colour: str, marker: str) -> None:
    assert record.timing
    ratio = record.timing.ratio
    axes.plot([record.timing.ratio_q1, record.timing.ratio_q3], [height] * 2, color=colour, lw=1.5)
    axes.plot(ratio, height, marker, color=colour, ms=5.5)
    axes.annotate(f"{ratio:.2f}", (1.012, height), xycoords=("axes fraction", "data"),
                  va="center", fontsize=8, color=colour)  # fmt: skip
