"""The examples run as a reader would run them, and leave what they promise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

for package in ("matplotlib", "scipy", "sklearn", "tqdm"):
    pytest.importorskip(package)


def run(name: str, folder: Path, *options: str, status: int = 0) -> str:
    command = [sys.executable, str(EXAMPLES / name), *options]
    # One thread: a busy machine then only slows it down, and does not stall it.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_by_hand_spells_out_and_agrees(tmp_path):
    printed = run("01_by_hand.py", tmp_path)
    assert "output[0] = 1*1 + 2*0 + 3*(-1) = -2" in printed
    assert printed.count("from scratch = torchconv = scipy = PyTorch") == 6


def test_edge_detector_leaves_a_picture(tmp_path):
    run("02_edge_detector.py", tmp_path, "--out", "pictures")
    assert (tmp_path / "pictures" / "edges.png").stat().st_size > 50_000


def test_training_learns_and_leaves_a_picture(tmp_path):
    printed = run("03_train.py", tmp_path, "--epochs", "4", "--goal", "0.8")
    assert "test digits read rightly" in printed
    assert (tmp_path / "examples" / "output" / "train.png").stat().st_size > 20_000


def test_training_fails_below_the_goal(tmp_path):
    run("03_train.py", tmp_path, "--epochs", "1", "--goal", "1.1", status=1)


def test_research_agrees_with_pytorch(tmp_path):
    printed = run("04_research.py", tmp_path)
    for answer in ("gradcheck", "Hessian", "third derivative", "per-sample", "fullgraph"):
        assert answer in printed
