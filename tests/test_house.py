"""The house itself: which floor may see which (CONTRIBUTING.md), and how large a file may grow."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
SOURCES = sorted(
    p for p in CSRC.rglob("*") if p.suffix in (".h", ".cpp", ".cu") and "stub" not in p.parts
)

# A floor may include itself and these.
FLOORS = {
    "core": set(),
    "micro": {"core"},
    "algo": {"core", "micro"},
    "plan": {"core"},
    "cuda": {"core"},
    "torch": {"core", "micro", "plan"},
}
PER_TARGET = [
    *(CSRC / "micro" / name for name in ("simd.h", "stored.h")),
    *(CSRC / "micro").glob("*_impl.h"),
    *(CSRC / "micro").glob("target_*.cpp"),
]


def includes(source: Path) -> list[tuple[str, str]]:
    return re.findall(r'^\s*#include ([<"])([^>"]+)[>"]', source.read_text(), re.MULTILINE)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_a_file_includes_its_own_floor_and_lower_ones(source):
    floor, *rest = source.relative_to(CSRC).parts
    for bracket, header in includes(source):
        if bracket == "<":
            is_torch = header.split("/")[0] in ("torch", "ATen", "c10", "pybind11")
            assert floor == "torch" or not is_torch, header
            continue
        assert (CSRC / header).exists(), header
        other, *inside = Path(header).parts
        assert other in FLOORS[floor] | {floor}, header
        if (
            floor == "algo" and other == "algo"
        ):  # never a sibling: an algorithm is one file or folder
            assert inside[0] == rest[0], header
        if floor == "cuda" and other == "cuda":  # the same floors inside
            assert inside[0] == "micro" or inside[:2] == rest[:2], header
            assert rest[0] == "algo" or inside[0] == rest[0], header


@pytest.mark.parametrize("source", PER_TARGET, ids=lambda p: p.name)
def test_hot_loops_call_no_inline_library_function(source):
    """What is compiled per instruction set includes no STL: the linker keeps one copy of those."""
    allowed = {"immintrin.h", "core/half.h", "micro/kernels.h"}
    allowed |= {str(path.relative_to(CSRC)) for path in PER_TARGET}
    assert {header for _, header in includes(source)} <= allowed
    assert "std::" not in re.sub(r"//.*", "", source.read_text())


def test_every_algorithm_is_one_file_or_folder_and_one_line():
    lists = (CSRC / "plan" / "algorithms.h").read_text().split("TORCHCONV_CUDA_ALGORITHMS")[:2]
    for text, folder in zip(lists, ("algo", "cuda/algo"), strict=True):
        listed = re.findall(r"X\((\w+)\)", text)
        assert sorted(listed) == sorted(p.stem for p in (CSRC / folder).iterdir())
        assert listed[-1] == "reference"


def test_no_flag_that_changes_numbers_or_needs_this_machine():
    for path in (ROOT / "setup.py", *SOURCES):
        text = path.read_text()
        assert "-march=native" not in text and "-ffast-math" not in text, path


def test_files_stay_readable():
    package = [
        p for p in (ROOT / "torchconv").rglob("*") if p.suffix in (".py", ".js", ".css", ".html")
    ]
    for path in (*SOURCES, *package):
        lines = path.read_text().splitlines()
        assert len(lines) <= 360, f"{path} has {len(lines)} lines"
        for number, text in enumerate(lines, 1):
            assert len(text) <= 110, f"{path}:{number} is {len(text)} columns wide"


def test_nothing_outside_the_repository_is_named():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    forbidden = re.compile(r"/work/|/home/|\.\./shared|pypi\.org")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if (
            path != Path(__file__)
            and path.suffix in (".py", ".md", ".cpp", ".h", ".toml", ".sh", "")
            and path.is_file()
        ):
            found = forbidden.search(path.read_text(errors="ignore"))
            assert not found, f"{name}: {found.group()}"
