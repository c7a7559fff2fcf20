"""How fast this machine runs each algorithm, measured once and kept in a file.

The planner's costs (csrc/algo) are stated for the machines they were fitted on. A few small
problems tell how far another one is from them: the seconds measured over the cost stated are
factors, and the planner multiplies a cost by a mean of those of problems like it
(csrc/plan/pace.h).

The first import on a machine measures for about a second, on one thread, and writes the file; later
ones read it. A choice decides the last bits of a result, so it must not change from run to run:
where the file cannot be written, nothing is measured and the stated costs count.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import math
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torchconv import _C, _tables

FILE = "TORCHCONV_PACE_FILE"  # the environment's word for it; empty: the stated costs count
REPETITIONS = 3
FAR = 3.0  # times the lowest cost, beyond which an algorithm's pace on a problem is nobody's matter
MOST = 4.0  # a factor farther than this from the mean of all would be a fault of the measuring

# Of each kind of layer that one algorithm or another is for, on small and on large maps.
PROBES = (
    "channels=64>64 input=28x28 kernel=3x3 padding=1x1",
    "channels=128>128 input=14x14 kernel=3x3 padding=1x1",
    "batch=2 channels=96>96 input=7x7 kernel=3x3 padding=1x1",
    "channels=16>16 input=64x64 kernel=3x3 padding=1x1",
    "channels=64>128 input=28x28 kernel=1x1",
    "channels=256>64 input=14x14 kernel=1x1",
    "channels=48>48 input=14x14 kernel=5x5 padding=2x2",
    "channels=32>48 input=28x28 kernel=5x5 stride=2x2 padding=2x2",
    "channels=3>32 input=56x56 kernel=3x3 stride=2x2 padding=1x1",
    "channels=1>16 input=28x28 kernel=5x5",
    "channels=64>64 groups=64 input=28x28 kernel=3x3 padding=1x1",
    "channels=64>64 groups=64 input=28x28 kernel=3x3 stride=2x2 padding=1x1",
    "channels=96>96 groups=96 input=14x14 kernel=7x7 padding=3x3",
    "batch=2 channels=192>192 groups=192 input=7x7 kernel=5x5 padding=2x2",
    "channels=64>64 groups=16 input=28x28 kernel=3x3 padding=1x1",
    "channels=128>128 groups=16 input=14x14 kernel=3x3 padding=1x1",
    "channels=32>32 input=1024 kernel=9 padding=4",
    "channels=64>64 groups=64 input=1024 kernel=4 padding=3",
    "channels=8>8 input=4096 kernel=256",
    "channels=16>16 groups=16 input=28x28 kernel=29x29 padding=14x14",
    "channels=256>64 input=56x56 kernel=1x1",
    "channels=3>32 input=112x112 kernel=3x3 padding=1x1",
    "channels=256>256 input=14x14 kernel=3x3 stride=2x2 padding=1x1",
    "channels=256>256 input=7x7 kernel=3x3 padding=1x1",
    "channels=256>256 groups=32 input=28x28 kernel=3x3 stride=2x2 padding=1x1",
    "channels=512>512 groups=16 input=14x14 kernel=3x3 stride=2x2 padding=1x1",
    "channels=1>64 input=80x160 kernel=5x5 stride=2x2",
    "channels=64>64 groups=64 input=112x112 kernel=3x3 padding=1x1",
    "channels=64>64 groups=64 input=112x112 kernel=3x3 stride=2x2 padding=1x1",
    "batch=4 channels=256>256 groups=256 input=14x14 kernel=3x3 padding=1x1",
)
RESULTS = ("output", "input", "weight")
MULTIPLY_BFLOAT16 = ("avx512_bf16", "avx512_amx")  # targets

Factors = Mapping[str, Mapping[str, float]]  # by problem line and algorithm


@dataclass(frozen=True)
class Pace:
    """What was measured, when, and on which machine."""

    machine: str
    date: str
    factors: Factors

    def use(self) -> None:
        _C.set_pace(self.factors)


def cpu_model() -> str:
    """The processor's name, with its family and model where the system tells them."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            # One processor is enough: there may be hundreds, and this is read at every import.
            lines = [*itertools.takewhile(str.strip, file)]
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.strip().split("\t: ", 1) for line in lines if "\t: " in line)
    family = " ".join(f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields)
    return f"{fields.get('model name', platform.machine())} ({family})"


def file() -> Path | None:
    """Where the pace of this machine, by this build, is kept. None: nowhere, by the user's wish."""
    named = os.environ.get(FILE)
    if named is not None:
        return Path(named) if named else None
    built = os.stat(_C.__file__)
    key = f"{cpu_model()} {_C.target()} {built.st_size} {built.st_mtime_ns}"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "torchconv" / f"pace-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def settle() -> Pace | None:
    """Uses the pace that is kept, or else measures and keeps it. None: the stated costs count."""
    try:
        path = file()
        pace = None if path is None else load(path) or save(measure, path)
    except (OSError, RuntimeError):  # no home, nowhere to write
        return None
    if pace:
        pace.use()
    return pace


def load(path: Path) -> Pace | None:
    """What a file holds. None where it is not there, or is no such file."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        names = _C.algorithms()
        factors = {
            line: {name: float(row[name]) for name in names if name in row}
            for line, row in fields["factors"].items()
            if _C.parse(line)["device"] == "cpu"
        }
        pace = Pace(str(fields["machine"]), str(fields["date"]), factors)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    every = [factor for row in factors.values() for factor in row.values()]
    return pace if every and all(0 < factor < math.inf for factor in every) else None


def save(measured: Callable[[], Pace], path: Path) -> Pace | None:
    """Measures into a file that was not there. Of processes that do so at once, all use what the
    first has written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8") as own:
        json.dump(asdict(measured()), own, indent=1)
        own.flush()
        with contextlib.suppress(FileExistsError):
            os.link(own.name, path)
    return load(path)


def lines() -> list[str]:
    """The problems that are measured: of each dtype that the machine multiplies."""
    dtypes = ["float32", "float64"]
    if _C.target() in MULTIPLY_BFLOAT16:
        dtypes.append("bfloat16")
    return [f"{r} {dtype} {probe}" for r in RESULTS for dtype in dtypes for probe in PROBES]


def measure() -> Pace:
    """Measures this machine now. What was in use counts no more."""
    _C.set_pace({})
    measured = {line: dict(_factors(line)) for line in lines()}
    mean = _mean([factor for row in measured.values() for factor in row.values()])
    factors = {
        line: {name: min(max(factor, mean / MOST), mean * MOST) for name, factor in row.items()}
        for line, row in measured.items()
    }
    date = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return Pace(f"{cpu_model()}, {_C.target()}", date, factors)


def _factors(line: str) -> Iterator[tuple[str, float]]:
    """Measured seconds over stated cost, of each algorithm that might be chosen."""
    usable = [one for one in _C.plan(line, 1).candidates if not one.refusal]
    lowest_s = min(one.cost_s for one in usable)
    for one in usable:
        if one.cost_s <= FAR * lowest_s:
            yield one.name, _C.measure(line, one.name, REPETITIONS) / one.cost_s


def _mean(factors: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, factors)) / len(factors))


def table(pace: Pace | None, path: Path | None) -> str:
    """The factors, and where they come from."""
    if pace is None:
        where = f"{FILE} is empty" if path is None else f"{path} cannot be written"
        return f"The stated costs count: {where}."
    rows = [
        (name, *(_summary([row[name] for line, row in pace.factors.items()
                           if line.startswith(result) and name in row]) for result in RESULTS))
        for name in _C.algorithms()
    ]  # fmt: skip
    head = ("seconds over stated cost", *RESULTS)
    return f"{pace.machine}, {pace.date}, {path}\n{_tables.text(head, rows, (1, 2, 3))}"


def _summary(factors: Sequence[float]) -> str:
    if not factors:
        return "-"
    return f"{_mean(factors):.2f} ({min(factors):.2f} to {max(factors):.2f})"
