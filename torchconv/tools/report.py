"""What a benchmark leaves behind: records in a JSON file, and tables made of them."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from torchconv import _C
from torchconv.pace import cpu_model
from torchconv.tools.measure import Timing
from torchconv.tools.regimes import REGIMES, Regime
from torchconv.tools.workloads import RESULTS

NEAR = 1.1  # times the fastest: a good pick
TITLES = {"output": "forward", "input": "by input", "weight": "by weight"}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measured case."""

    name: str
    regime: str
    dtype: str
    result: str
    line: str  # the problem line of the operator that ran
    algorithm: str
    forced: bool  # whether the algorithm was asked for by name, not planned
    planned: str = ""  # the planner's pick
    note: str
    gflop: float
    timing: Timing | None  # None where an error stands
    error: str | None

    @property
    def forced_algorithm(self) -> str:
        return self.algorithm if self.forced else ""

    def to_json(self) -> dict[str, Any]:
        entry = dataclasses.asdict(self)
        if self.timing:
            entry["gflop_per_s"] = self.gflop / self.timing.ours_s
            entry["native_gflop_per_s"] = self.gflop / self.timing.native_s
        return entry

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Record:
        # Older files know fewer fields.
        names = [field.name for field in dataclasses.fields(cls) if field.name in entry]
        known = {name: entry[name] for name in names}
        if known["timing"]:
            known["timing"] = Timing(**known["timing"])
        return cls(**known)


@dataclass(frozen=True)
class Report:
    machine: dict[str, str | int]
    records: list[Record]

    def save(self, path: Path) -> None:
        cases = [record.to_json() for record in self.records]
        save_json({"machine": self.machine, "cases": cases}, path)

    @classmethod
    def load(cls, path: Path) -> Report:
        content = load_json(path)
        return cls(content["machine"], [Record.from_json(entry) for entry in content["cases"]])


def save_json(content: dict[str, Any], path: Path) -> None:
    """Writes the file whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(beside, path)


def load_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def machine() -> dict[str, str | int]:
    """The facts without which a timing means nothing."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "threads": torch.get_num_threads(),
        "target": _C.target(),
        "torch": torch.__version__,
        "torch_target": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def summary(record: Record) -> str:
    """One line for the eye while the benchmark runs."""
    words = [record.name, TITLES[record.result], record.dtype, record.algorithm]
    if record.note:
        words.append(f"({record.note})")
    if timing := record.timing:
        times = f"{timing.ours_s * 1e3:.3g} ms, F.conv {timing.native_s * 1e3:.3g} ms"
        return f"{timing.ratio:.2f}x  {times}  {', '.join(words)}"
    return f"ERROR {', '.join(words)}: {record.error}"


def geometric_mean(ratios: Iterable[float]) -> float | None:
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs)) if logs else None


def ratios(records: Iterable[Record], result: str) -> list[float]:
    return [r.timing.ratio for r in records if r.result == result and r.timing]


def groups(records: list[Record]) -> Iterator[tuple[str, Regime, str, list[Record]]]:
    """The rows of a table: dtype, regime, forced algorithm, and the records they share."""
    order = list(REGIMES)

    def key(record: Record) -> tuple[str, int, str]:
        return record.dtype, order.index(record.regime), record.forced_algorithm

    for dtype, regime, algorithm in sorted(set(map(key, records))):
        members = [record for record in records if key(record) == (dtype, regime, algorithm)]
        yield dtype, REGIMES[order[regime]], algorithm, members


def error_table(records: list[Record]) -> str:
    return "\n".join(
        f"ERROR {r.name} {TITLES[r.result]} {r.dtype}: {r.error}\n      {r.line}"
        for r in records
        if r.error
    )


def worst_table(records: list[Record]) -> str:
    """The slowest case of every group, beside the number of cases slower than PyTorch's."""
    lines = ["Worst case of each regime, and how many are below 1.0", ""]
    for dtype, regime, algorithm, members in groups(records):
        timed = [(r.timing.ratio, r) for r in members if r.timing]
        if not timed:
            continue
        ratio, record = min(timed, key=lambda pair: pair[0])
        below = sum(ratio < 1 for ratio, _ in timed)
        lines.append(
            f"{_label(dtype, regime.title, algorithm)}{ratio:>6.2f}"
            f"  {below:>3} of {len(timed):<4} {TITLES[record.result]}, {record.name}"
        )
    return "\n".join(lines)


def mean_table(records: list[Record]) -> str:
    """Geometric means of the ratios by regime, each beside its target; over all at the end."""
    head = "".join(f"{TITLES[result] + ' (target)':>20}" for result in RESULTS)
    lines = ["F.conv's time over ours, geometric means", "", f"{'':<58}{head}"]
    for dtype, regime, algorithm, members in groups(records):
        targets = [regime.target(result, dtype) for result in RESULTS]
        lines.append(_label(dtype, regime.title, algorithm) + _means(members, targets))
    for dtype, algorithm in sorted({(r.dtype, r.forced_algorithm) for r in records}):
        members = [r for r in records if (r.dtype, r.forced_algorithm) == (dtype, algorithm)]
        lines.append(_label(dtype, "all", algorithm) + _means(members, [None] * len(RESULTS)))
    return "\n".join(lines)


def _label(dtype: str, title: str, algorithm: str) -> str:
    return f"{dtype:<11}{title:<38}{algorithm:<9}"


def _means(records: list[Record], targets: list[float | None]) -> str:
    cells = []
    for result, target in zip(RESULTS, targets, strict=True):
        mean = geometric_mean(ratios(records, result))
        shown = f"{mean:.2f}" if mean is not None else "-"
        cells.append(f"{shown:>13}{f'({target:g})' if target else '':>7}")
    return "".join(cells).rstrip()


def choice_table(records: list[Record]) -> str:
    """How far the planner's pick is from the fastest algorithm, where several were timed."""
    # By their ratios to F.conv: what slowed the machine for a while has slowed both.
    cases: dict[str, dict[str, float]] = {}
    picks: dict[str, Record] = {}
    for record in records:
        if record.forced and record.timing:
            cases.setdefault(record.line, {})[record.algorithm] = record.timing.ratio
            if record.algorithm == record.planned:
                picks[record.line] = record
    losses = []
    for line, pick in picks.items():
        speeds = cases[line]
        if len(speeds) > 1:
            fastest = max(speeds, key=speeds.__getitem__)
            losses.append((speeds[fastest] / speeds[pick.algorithm], fastest, pick))
    if not losses:
        return ""
    losses.sort(key=lambda loss: -loss[0])
    near = sum(loss <= NEAR for loss, _, _ in losses)
    lines = [
        f"The planner's pick is within {NEAR - 1:.0%} of the fastest algorithm in {near} of "
        f"{len(losses)} cases ({near / len(losses):.1%}); the worst:",
        "",
    ]
    lines += [
        f"{loss:>6.2f}  {record.algorithm} instead of {fastest}: {TITLES[record.result]}, "
        f"{record.dtype}, {record.name}"
        for loss, fastest, record in losses[:10]
        if loss > NEAR
    ]
    return "\n".join(lines)


def comparison(new: Report, old: Report) -> str:
    """How much faster each regime became: the ratio to F.conv, new over old.

    Each run's F.conv is its own yardstick: a machine that was busier the other time cancels out.
    """
    before = {(r.line, r.forced_algorithm): r.timing.ratio for r in old.records if r.timing}
    gains = [
        (r, r.timing.ratio / before[r.line, r.forced_algorithm])
        for r in new.records
        if r.timing and (r.line, r.forced_algorithm) in before
    ]
    if not gains:
        return "No case in common."
    lines = [f"Speed against {old.machine['date']}: new over old, {len(gains)} cases in common", ""]
    for dtype, regime, algorithm, members in groups([record for record, _ in gains]):
        cells = []
        for result in RESULTS:
            rows = [gain for r, gain in gains if r in members and r.result == result]
            mean = geometric_mean(rows)
            cells.append(f"{f'{mean:.3f}' if mean else '-':>12}")
        lines.append(_label(dtype, regime.title, algorithm) + "".join(cells))
    gains.sort(key=lambda pair: pair[1])
    for title, (record, gain) in (("most lost", gains[0]), ("most gained", gains[-1])):
        lines.append(f"{title}: {gain:.3f}  {TITLES[record.result]}, {record.name}")
    return "\n".join(lines)
