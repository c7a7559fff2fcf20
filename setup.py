"""Builds torchconv._C: the kernels, the operators and the Python module, in one library.

The instruction sets of the hot loops are set in their sources (csrc/micro/target_*.cpp), so one
binary serves every machine of its architecture and no flag here may name one.
"""

from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension, include_paths

ROOT = Path(__file__).parent
SOURCES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "csrc").rglob("*.cpp")
    if "cuda" not in path.relative_to(ROOT).parts
)
FLAGS = [
    "-O3",
    "-g0",
    "-fopenmp",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    # A stand-in for a header that torch's wheel includes and lacks; a real one is found first.
    "-idirafter",
    str(ROOT / "csrc" / "torch" / "stub"),
    # Warnings are for this project's files, not for torch's headers.
    *(flag for path in include_paths() for flag in ("-isystem", path)),
]


class Build(BuildExtension):
    """Keeps the objects in one folder: an editable install would have a fresh one every time."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_temp = "build/objects"


setup(
    ext_modules=[
        CppExtension(
            "torchconv._C",
            SOURCES,
            include_dirs=[str(ROOT / "csrc")],
            extra_compile_args=FLAGS,
            extra_link_args=["-fopenmp"],
        )
    ],
    cmdclass={"build_ext": Build},
)
