"""Workloads: convolutions as shapes, from a list of published ones or from a problem line.

A transposed convolution runs the form of its problem backwards: what the caller names input is the
form's output. ``Workload`` speaks the caller's words; ``line`` translates.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchconv import _C

Size = tuple[int, ...]

RESULTS = ("output", "input", "weight")  # forward, gradient by input, gradient by weight
SHIPPED = Path(__file__).with_name("workloads.json")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One convolution, as shapes. Sizes of tensors are full, the others spatial."""

    name: str
    input: Size
    weight: Size  # [out, in / groups, taps...]; [in, out / groups, taps...] where transposed
    output: Size
    stride: Size
    padding: Size  # on the low side
    dilation: Size
    groups: int = 1
    transposed: bool = False
    flip: bool = False
    padding_mode: str = "zeros"
    source: str = ""
    note: str = ""  # how it differs from the published shape

    @property
    def axes(self) -> int:
        return len(self.stride)

    @property
    def kernel_size(self) -> Size:
        return self.weight[2:]

    @property
    def form(self) -> tuple[Size, Size]:
        """Input and output of the form: exchanged where transposed."""
        return (self.output, self.input) if self.transposed else (self.input, self.output)

    @property
    def gflop(self) -> float:
        """Billions of real multiplications and additions of the defining sum, padding counted."""
        _, output = self.form
        return 2e-9 * output[0] * math.prod(self.weight) * math.prod(output[2:])

    @property
    def high_padding(self) -> Size:
        """Padding on the high side, as the sizes imply it; less than zero crops."""
        (_, _, *inputs), (_, _, *outputs) = self.form
        return tuple(
            (o - 1) * s + (k - 1) * d + 1 - i - p
            for i, k, o, s, p, d in zip(
                inputs,
                self.kernel_size,
                outputs,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )

    @property
    def is_plain(self) -> bool:
        """Whether F.conv takes it as it stands: zeros, equally many on both sides, no flip."""
        rest = (p - high for p, high in zip(self.padding, self.high_padding, strict=True))
        even = (
            all(0 <= r < s for r, s in zip(rest, self.stride, strict=True))
            and min(self.padding) >= 0
        )
        return (even or self.transposed) and self.padding_mode == "zeros" and not self.flip

    @property
    def output_padding(self) -> Size:
        """Of a transposed convolution."""
        return tuple(p - high for p, high in zip(self.padding, self.high_padding, strict=True))

    def line(self, result: str, dtype: str) -> str:
        """The problem line (csrc/core/text.h) of the operator that computes ``result``."""
        if self.transposed:
            result = {"output": "input", "input": "output"}.get(result, result)
        input, output = self.form
        sizes = {
            "input": input[2:],
            "kernel": self.kernel_size,
            "output": output[2:],
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
        }
        spatial = " ".join(f"{key}={'x'.join(map(str, size))}" for key, size in sizes.items())
        return (
            f"{result} {dtype} batch={input[0]} channels={input[1]}>{output[1]} "
            f"groups={self.groups} {spatial} "
            f"padding_mode={self.padding_mode} flip={self.flip:d} bias=0"
        )


def load(path: Path = SHIPPED) -> list[Workload]:
    """The workloads of a JSON file: a list of objects with the fields of ``Workload``."""
    return [_from_entry(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def _from_entry(entry: dict[str, Any]) -> Workload:
    known = {field.name for field in dataclasses.fields(Workload)}
    fields = {key: value for key, value in entry.items() if key in known}
    sizes = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    return Workload(**fields | sizes)


def from_line(line: str) -> tuple[Workload, str, str]:
    """The workload of a problem line, and the result and dtype that the line names."""
    problem = _C.parse(line)
    batch, groups = problem["batch"], problem["groups"]
    in_channels, out_channels = problem["in_channels"], problem["out_channels"]
    workload = Workload(
        name=line,
        input=(batch, in_channels, *problem["input_size"]),
        weight=(out_channels, in_channels // groups, *problem["kernel_size"]),
        output=(batch, out_channels, *problem["output_size"]),
        stride=tuple(problem["stride"]),
        padding=tuple(problem["padding"]),
        dilation=tuple(problem["dilation"]),
        groups=groups,
        flip=problem["flip"],
        padding_mode=problem["padding_mode"],
    )
    return workload, problem["result"], problem["dtype"]


def with_batch(workload: Workload, batch: int) -> Workload:
    """The same convolution of another number of images."""
    if batch == workload.input[0]:
        return workload
    return dataclasses.replace(
        workload,
        input=(batch, *workload.input[1:]),
        output=(batch, *workload.output[1:]),
        note=f"batch {workload.input[0]} -> {batch}",
    )


def fit(workload: Workload, max_gflop: float) -> Workload:
    """The workload, cut down to about ``max_gflop``: in batch, then along its longest axis."""
    share = max_gflop / workload.gflop if workload.gflop else 1.0
    if share >= 1:
        return workload
    workload = with_batch(workload, max(1, int(workload.input[0] * share)))
    return _crop_longest_axis(workload, min(1.0, max_gflop / workload.gflop))


def _crop_longest_axis(workload: Workload, share: float) -> Workload:
    input, output = map(list, workload.form)
    axis = max(range(2, len(output)), key=output.__getitem__)
    stride = workload.stride[axis - 2]
    # Whole steps of the stride keep both paddings; at least one input element stays.
    steps = min(output[axis] - max(1, round(output[axis] * share)), (input[axis] - 1) // stride)
    if steps == 0:
        return workload
    note = f"axis {axis - 2} of {input[axis]} -> {input[axis] - steps * stride}"
    input[axis] -= steps * stride
    output[axis] -= steps
    ends = (output, input) if workload.transposed else (input, output)
    return dataclasses.replace(
        workload,
        input=tuple(ends[0]),
        output=tuple(ends[1]),
        note=", ".join(filter(None, (workload.note, note))),
    )
