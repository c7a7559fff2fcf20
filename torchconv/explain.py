"""What would run, and why: the plan of a call, without running it."""

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import Parameter

from torchconv import _C, _tables
from torchconv.arguments import (
    Padding,
    Size,
    check_tensors,
    forward_geometry,
    transposed_geometry,
    word,
)

RESULTS = ("output", "input", "weight")
HEAD = ("", "algorithm", "cost", "scratch", "kept", "")
RIGHT = (2, 3, 4)  # columns of numbers


@dataclass(frozen=True)
class Candidate:
    """One algorithm, and why it was refused or what it would cost."""

    name: str
    refusal: str  # empty where it could run
    cost_s: float
    scratch_bytes: int
    kept_bytes: int  # of the weight, from its second use on; 0 where nothing is kept


@dataclass(frozen=True)
class Plan:
    """The algorithm that would run a problem, and what became of every other one."""

    problem: str  # one line of text
    algorithm: str | None  # None where the forced one refuses
    reason: str
    threads: int
    candidates: tuple[Candidate, ...]
    weight_is_kept: bool = False  # this very weight, unchanged: the call would not prepare it again

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for candidate in self.candidates:
            chosen = candidate.name == self.algorithm
            cost, scratch = _seconds(candidate.cost_s), _bytes(candidate.scratch_bytes)
            kept = _bytes(candidate.kept_bytes)
            note = f"chosen: {self.reason}" if chosen else ""
            if chosen and self.weight_is_kept:
                note += "; weight is kept"
            if candidate.refusal:
                cost, scratch, kept, note = "-", "-", "-", f"refused: {candidate.refusal}"
            rows.append(("*" if chosen else "", candidate.name, cost, scratch, kept, note))
        return rows

    def _title(self) -> str:
        nothing = f"; nothing would run: {self.reason}" if self.algorithm is None else ""
        return f"{self.problem}   ({self.threads} threads){nothing}"

    def __str__(self) -> str:
        return f"{self._title()}\n{_tables.text(HEAD, self._rows(), RIGHT)}"

    def _repr_html_(self) -> str:
        chosen = [number for number, row in enumerate(self._rows()) if row[0]]
        return _tables.html(self._title(), HEAD, self._rows(), RIGHT, *chosen)


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e6:.2g} us"


def _bytes(value: int) -> str:
    if value < 1024:
        return f"{value} B"
    return f"{value / 1024:.0f} KiB" if value < 2**20 else f"{value / 2**20:.1f} MiB"


def plan(line: str, threads: int = 0) -> Plan:
    """The plan of a problem line; threads 0 means all, of the CPU or of the GPU."""
    raw = _C.plan(line, threads)
    candidates = tuple(
        Candidate(c.name, c.refusal, c.cost_s, c.scratch_bytes, c.kept_bytes)
        for c in raw.candidates
    )
    return Plan(raw.problem, raw.algorithm, raw.reason, raw.threads, candidates)


def explain(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    mode: str = "cross_correlation",
    padding_mode: str = "zeros",
    transposed: bool = False,
    output_padding: Size = 0,
    result: str = "output",
    threads: int = 0,
) -> Plan:
    """The plan of a convolution: the algorithm that would run, its cost, and the others' reasons.

    Nothing is computed; only shapes and dtypes are read, so meta tensors do. A weight that is kept
    (see `torchconv.set_kept_weights`) is compared with what it was.

    Args:
        input, weight, bias, stride, padding, dilation, groups, mode, padding_mode: as in
            `torchconv.conv2d`, for one, two or three spatial axes.
        transposed: whether the call is one of conv_transpose. Default: False
        output_padding: as in `torchconv.conv_transpose2d`, with transposed only. Default: 0
        result: "output" (the call itself), "input" or "weight" (its gradient by that tensor).
            Default: "output"
        threads: worker threads; 0 means torch.get_num_threads(), or, for tensors on a GPU, its
            multiprocessors. Default: 0

    Returns:
        A `Plan`; `print` shows it as a table.

    Raises:
        What the call itself would raise.

    Source: the planner's own estimates (csrc/plan).

    >>> import torch, torchconv
    >>> image, taps = torch.zeros(1, 3, 32, 32), torch.zeros(8, 3, 3, 3)
    >>> torchconv.explain(image, taps, padding=1, threads=1).problem.split()[:4]
    ['output', 'float32', 'batch=1', 'channels=3>8']
    """
    axes = weight.dim() - 2 if isinstance(weight, Tensor) else 2
    call = f"conv{'_transpose' if transposed else ''}{axes}d"
    word(call, "result", result, RESULTS)
    check_tensors(call, axes, "channels of both sides", input=input, weight=weight, bias=bias)
    input = input if input.dim() == axes + 2 else input.unsqueeze(0)
    if transposed:
        geometry = transposed_geometry(
            call, input, weight, stride, padding, output_padding, groups, dilation, mode
        )
    else:
        geometry = forward_geometry(
            call, input, weight, stride, padding, dilation, groups, mode, padding_mode
        )
    added = bias if result == "output" and not transposed else None
    line = _C.check(
        "input" if transposed else "output",
        input.dtype,
        input=None if transposed else list(input.shape),
        weight=list(weight.shape),
        output=list(input.shape) if transposed else None,
        bias=None if added is None else list(added.shape),
        **geometry._asdict(),
    )
    # The same geometry for any result: a line's first word says which tensor is computed.
    if transposed:
        result = {"output": "input", "input": "output", "weight": "weight"}[result]
    layout = ["channels_last=1"] if input.stride(1) == 1 and input.stride(-1) != 1 else []
    device = ["device=cuda"] if input.device.type == "cuda" else []
    made = plan(" ".join([result, *line.split(" ")[1:], *layout, *device]), threads)
    plain = type(weight) in (Tensor, Parameter) and weight.device.type == "cpu"
    kept = made.algorithm is not None and plain and _C.is_kept(made.problem, weight)
    return replace(made, weight_is_kept=kept)
