"""The machine's pace: measured once, kept in a file, multiplied into the planner's costs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchconv import _C, pace
from torchconv.explain import plan
from torchconv.tools.__main__ import main

LINE = "output float32 channels=64>64 input=28x28 kernel=3x3 padding=1x1"
HALF_GEMM = {LINE: {**dict.fromkeys(_C.algorithms(), 1.0), "gemm": 0.5}}


@pytest.fixture(autouse=True)
def stated_costs_afterwards() -> Iterator[None]:
    yield
    _C.set_pace({})


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "deep" / "pace.json"
    monkeypatch.setenv(pace.FILE, str(path))
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PROBES", pace.PROBES[-3:-1])
    monkeypatch.setattr(pace, "REPETITIONS", 1)


def costs(line: str = LINE) -> dict[str, float]:
    return {one.name: one.cost_s for one in plan(line).candidates if not one.refusal}


def test_a_pace_multiplies_the_costs_of_its_algorithm_and_result():
    before, by_input = costs(), costs(LINE.replace("output", "input"))
    _C.set_pace(HALF_GEMM)
    assert costs() == {**before, "gemm": pytest.approx(before["gemm"] / 2)}
    assert costs(LINE.replace("output", "input")) == by_input
    _C.set_pace({})
    assert costs() == before


def test_an_algorithm_without_samples_goes_by_the_others():
    before = costs()
    _C.set_pace({LINE: {"gemm": 0.5}})
    assert costs() == {name: pytest.approx(cost / 2) for name, cost in before.items()}


def test_a_dtype_goes_by_its_own_samples_or_else_by_those_of_another():
    lines = [
        LINE.replace("float32", dtype)
        for dtype in ("float32", "float64", "complex128", "bfloat16", "float16", "complex64")
    ]
    stated = [costs(line)["gemm"] for line in lines]
    single, double, _, half, *_ = lines
    for samples, expected in (
        ({single: {"gemm": 2.0}}, [2, 2, 2, 2, 2, 2]),
        ({single: {"gemm": 2.0}, double: {"gemm": 0.5}}, [2, 0.5, 0.5, 2, 2, 2]),
        ({single: {"gemm": 2.0}, half: {"gemm": 0.5}}, [2, 2, 2, 0.5, 2, 2]),
    ):
        _C.set_pace(samples)
        found = [costs(line)["gemm"] / cost for line, cost in zip(lines, stated, strict=True)]
        assert found == pytest.approx(expected)


ALIKE = {
    "channels": LINE.replace("64>64", "128>64"),
    "groups": LINE + " groups=2",
    "stride": LINE + " stride=2x1",
    "taps": LINE.replace("kernel=3x3", "kernel=3x6"),
    "positions": LINE + " batch=8",
}


@pytest.mark.parametrize("line", ALIKE.values(), ids=ALIKE)
def test_the_samples_of_problems_alike_weigh_most(line):
    stated = {of: costs(of)["gemm"] for of in (LINE, line)}
    far = "output float32 channels=512>1 input=2 kernel=1"
    _C.set_pace({LINE: {"gemm": 2.0}, far: {"gemm": 0.5}})
    here, there = (costs(of)["gemm"] / stated[of] for of in (LINE, line))
    assert 1.8 < there < here < 2


def test_the_choice_follows_the_pace():
    loser = sorted(costs(), key=costs().__getitem__)[1]
    assert plan(LINE).algorithm != loser
    _C.set_pace({LINE: {**dict.fromkeys(costs(), 1.0), loser: 1e-6}})
    assert plan(LINE).algorithm == loser


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pace_is_positive(factor):
    before = costs()
    with pytest.raises(ValueError, match="a pace must be positive"):
        _C.set_pace({LINE: {"gemm": 0.5, "winograd": factor}})
    assert costs() == before


def test_unknown_names():
    with pytest.raises(ValueError, match="no algorithm is named 'fast'"):
        _C.set_pace({LINE: {"fast": 1.0}})
    with pytest.raises(ValueError, match="winograd refuses: "):
        _C.measure("output float32 channels=1>1 input=18x8 kernel=17x1", "winograd", 1)


def test_every_probe_runs_by_its_best_algorithm():
    for line in pace.lines():
        assert _C.measure(line, plan(line).algorithm or "", 1) > 0


def test_measured_once(file: Path, quick: None):
    first = pace.settle()
    assert first
    assert len(first.factors) == len(pace.lines())
    assert all("gemm" in row or "fft" in row or "lanes" in row for row in first.factors.values())
    written = file.read_text()
    assert pace.settle() == first
    assert file.read_text() == written
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_is_kept_is_used(file: Path):
    file.parent.mkdir()
    factors = {LINE: {**HALF_GEMM[LINE], "of_tomorrow": 1.0}}
    kept = {"machine": "one", "date": "then", "factors": factors}
    file.write_text(json.dumps(kept))
    before = costs()
    assert pace.settle() == pace.Pace("one", "then", HALF_GEMM)
    assert costs()["gemm"] == pytest.approx(before["gemm"] / 2)


def content(factors: object) -> str:
    return json.dumps({"machine": "m", "date": "d", "factors": factors})


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", content({}), content({LINE: {}}), content({LINE: {"gemm": -1}}),
     content({LINE: [1]}), content({"a line": {"gemm": 1}}),
     content({LINE + " device=cuda": {"gemm": 1}})],
)  # fmt: skip
def test_a_file_that_is_none_is_replaced(file: Path, quick: None, content: str):
    file.parent.mkdir()
    file.write_text(content)
    assert pace.settle()
    assert len(json.loads(file.read_text())["factors"]) == len(pace.lines())


def test_of_two_that_measure_at_once_both_use_the_first(file: Path, quick: None):
    def measured_meanwhile() -> pace.Pace:
        file.write_text(json.dumps({"machine": "one", "date": "then", "factors": HALF_GEMM}))
        return pace.measure()

    assert pace.save(measured_meanwhile, file) == pace.Pace("one", "then", HALF_GEMM)


def test_where_nothing_can_be_kept_the_stated_costs_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(pace.FILE, str(tmp_path / "file" / "pace.json"))
    before = costs()
    assert pace.settle() is None
    assert costs() == before


def test_the_first_import_measures(tmp_path: Path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    del environment[pace.FILE]
    for _ in range(2):
        subprocess.run([sys.executable, "-c", "import torchconv"], env=environment, check=True)
    (path,) = (tmp_path / "torchconv").iterdir()
    assert pace.load(path)


def test_the_tool(file: Path, quick: None, capsys: pytest.CaptureFixture[str]):
    assert main(["pace"]) == 0
    first = capsys.readouterr().out
    assert str(file) in first and "winograd" in first
    assert main(["pace"]) == 0
    assert capsys.readouterr().out == first
    file.write_text(json.dumps({"machine": "one", "date": "then", "factors": HALF_GEMM}))
    assert main(["pace", "--again"]) == 0
    assert "then" not in capsys.readouterr().out


def test_the_tool_without_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv(pace.FILE, "")
    assert main(["pace"]) == 0
    assert "The stated costs count" in capsys.readouterr().out
