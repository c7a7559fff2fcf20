"""The CUDA sources as nvcc compiles them, where it is: for each architecture, without a warning,
without a register spilled to memory, and to the instructions that are meant."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
SOURCES = [*sorted(CSRC.glob("cuda/**/*.cu")), *sorted((ROOT / "tests" / "cuda").glob("*.cu"))]
NVCC = shutil.which("nvcc")

# Tensor cores by type, loads of their fragments, and asynchronous copies.
INSTRUCTIONS = {
    "gemm": (
        "HMMA.16816.F32.BF16", "HMMA.16816.F32 ", "HMMA.1688.F32.TF32", "DMMA.8", "FFMA",
        "LDSM.16.M88.4", "LDGSTS.E.BYPASS.128", "LDGSTS.E.64", "LDGSTS.E ",
    ),
}  # fmt: skip
HOPPERS = {
    "direct": (
        "HGMMA.64x128x16.F32.BF16", "HGMMA.64x128x16.F32 ", "HGMMA.64x128x8.F32.TF32",
        "HGMMA.64x16x16.F32.BF16", "UBLKCP", "LDGSTS.E.BYPASS.128",
    ),
    "weight": (
        "HGMMA.64x128x16.F32.BF16", "HGMMA.64x64x16.F32 ", "HGMMA.64x16x16.F32.BF16", ".tnspB",
        "LDSM.16.MT88.4", "LDSM.16.M88.4", "LDGSTS.E.BYPASS.128", "LDGSTS.E.64",
    ),
}  # fmt: skip


def cuobjdump() -> str | None:
    """The toolkit's, or triton's, which has it along."""
    found = importlib.util.find_spec("triton")
    folders = [Path(found.origin).parent / "backends/nvidia/bin"] if found and found.origin else []
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    return shutil.which("cuobjdump", path=path)


@pytest.mark.skipif(not NVCC, reason="no nvcc")
@pytest.mark.parametrize("architecture", ["80", "90a"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.name)
def test_nvcc_compiles_without_a_warning(source, architecture, tmp_path):
    """C++17, which is what the oldest torch compiles as."""
    built = tmp_path / "object.o"
    command = [NVCC, "-std=c++17", "-O3", "-Werror", "all-warnings"]
    command += [f"-gencode=arch=compute_{architecture},code=sm_{architecture}"]
    command += ["-DTORCHCONV_CUDA", f"-I{CSRC}", "-Xptxas", "-v"]
    command += ["-c", str(source), "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    spills = re.findall(r"(\d+) bytes spill", done.stderr)
    assert len(spills) >= done.stderr.count("Compiling entry function"), done.stderr
    assert all(int(count) == 0 for count in spills), done.stderr
    if tool := cuobjdump():
        sass = subprocess.run([tool, "-sass", built], capture_output=True, text=True, check=True)
        meant = INSTRUCTIONS.get(source.stem, ())
        if architecture == "90a":
            meant += HOPPERS.get(source.stem, ())
        for instruction in meant:
            assert instruction in sass.stdout, f"no {instruction} in {source.name}"
