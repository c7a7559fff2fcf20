"""Builds torchconv._C: the kernels, the operators and the Python module, in one library.

The instruction sets of the hot loops are set in their sources (csrc/micro/target_*.cpp), so one
binary serves every machine of its architecture and no flag here may name one.

Kernels for a GPU are built where torch has CUDA and its compiler, nvcc, is found: in $CUDA_HOME, on
PATH or in /usr/local/cuda. TORCHCONV_CUDA=1 insists on them, TORCHCONV_CUDA=0 leaves them out,
TORCHCONV_CUDA_ARCH="80 90a" builds for these alone, and TORCHCONV_PTXAS=1 prints the registers and
the spills of each.
"""

import os
import shutil
import sys
from pathlib import Path

import torch
from setuptools import setup


def has_headers(folder: Path) -> bool:
    """Not below a folder further down: /usr/local is no toolkit because one lies in it."""
    header = Path("include", "cuda_runtime.h")
    return (folder / header).exists() or any(folder.glob(f"targets/*/{header}"))


def toolkit() -> Path | None:
    """The CUDA toolkit's folder. An nvcc on PATH may be a link or a script that calls another."""
    nvcc = shutil.which("nvcc")
    folders = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    folders += [str(Path(nvcc).resolve().parent.parent)] if nvcc else []
    for folder in map(Path, filter(None, [*folders, "/usr/local/cuda"])):
        if (folder / "bin" / "nvcc").exists() and has_headers(folder):
            return folder
    return None


def missing_for_cuda() -> str:
    """Why there can be no kernels for a GPU; empty where there can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if toolkit() is None:
        return "no nvcc in $CUDA_HOME, on PATH or in /usr/local/cuda"
    return ""


def with_cuda() -> bool:
    wish, missing = os.environ.get("TORCHCONV_CUDA", ""), missing_for_cuda()
    if wish not in ("", "0", "1"):
        raise SystemExit(f"torchconv: TORCHCONV_CUDA is 0, 1 or unset, not {wish!r}")
    if wish == "1" and missing:
        raise SystemExit(f"torchconv: TORCHCONV_CUDA=1, but {missing}")
    if wish == "0":
        missing = "TORCHCONV_CUDA=0"
    what = f"for CPU only ({missing})" if missing else f"for CPU and CUDA (nvcc in {toolkit()})"
    print(f"torchconv: building {what}", file=sys.stderr, flush=True)
    return not missing


CUDA = with_cuda()
if CUDA:  # read by torch when it is imported
    os.environ["CUDA_HOME"] = str(toolkit())

from torch.utils.cpp_extension import (  # noqa: E402
    BuildExtension,
    CppExtension,
    CUDAExtension,
    include_paths,
)

ROOT = Path(__file__).parent
LEFT_OUT = "csrc/torch/cuda_absent.cpp" if CUDA else "csrc/torch/cuda.cpp"
SOURCES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "csrc").rglob("*.c*")
    if path.suffix in ((".cpp", ".cu") if CUDA else (".cpp",)) and path != ROOT / LEFT_OUT
)
FLAGS = [
    "-O3",
    "-g0",
    "-fopenmp",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    *(["-DTORCHCONV_CUDA"] if CUDA else []),
    # A stand-in for a header that torch's wheel includes and lacks; a real one is found first.
    "-idirafter",
    str(ROOT / "csrc" / "torch" / "stub"),
    # Warnings are for this project's files, not for torch's headers.
    *(flag for path in include_paths() for flag in ("-isystem", path)),
]
# Code for Ampere and what is like it, for Hopper with its own instructions, and what a driver turns
# into code for later ones.
ARCHITECTURES = ["arch=compute_80,code=sm_80", "arch=compute_90a,code=sm_90a"]
ARCHITECTURES += ["arch=compute_90,code=compute_90"]
if chosen := os.environ.get("TORCHCONV_CUDA_ARCH", "").split():
    ARCHITECTURES = [f"arch=compute_{number},code=sm_{number}" for number in chosen]
CUDA_FLAGS = [
    "-O3",
    "-Xcompiler=-fvisibility=hidden",
    *(f"-gencode={architecture}" for architecture in ARCHITECTURES),
    *(["-Xptxas=-v"] if os.environ.get("TORCHCONV_PTXAS") == "1" else []),
]


class Build(BuildExtension):
    """Keeps the objects in one folder: an editable install would have a fresh one every time."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_temp = "build/objects"


setup(
    ext_modules=[
        (CUDAExtension if CUDA else CppExtension)(
            "torchconv._C",
            SOURCES,
            include_dirs=[str(ROOT / "csrc")],
            extra_compile_args={"cxx": FLAGS, "nvcc": CUDA_FLAGS},
            extra_link_args=["-fopenmp"],
        )
    ],
    cmdclass={"build_ext": Build},
)
