"""The CUDA kernels without a GPU: their sources compiled by g++, run by tests/cuda/emulator.h.

The driver of tests/core runs every CUDA algorithm on every problem against the CPU's reference,
with poisoned results and fenced buffers; a planted fault must turn it red. What nvcc makes of them
is in test_cuda_nvcc.py.
"""

import itertools
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from problems import PROBLEMS, RESULTS, line

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
EMULATOR = ROOT / "tests" / "cuda"
COMPILER = os.environ.get("CXX", "g++").split()
KERNELS = sorted(CSRC.glob("cuda/**/*.cu"))
WARP = EMULATOR / "warp.cu"
# One dtype for each way a kernel may read and write: all the others are tested where they differ.
ALL_DTYPES = (
    "float32", "float64", "bfloat16", "float16", "complex64", "complex128",
    "uint8", "int8", "int16", "int32", "int64",
)  # fmt: skip
DTYPES = ("float32", "float64", "bfloat16", "complex64")
FEW = (
    "3x3", "stride_2", "grouped", "reflect", "replicate", "flip_3d_grouped", "empty_output",
    "last_dense", "chunks_1x1", "chunks_3x3", "chunks_of_positions",
)  # fmt: skip
# A second of one core for a problem of a few times as many multiply-adds, which shows nothing that
# the small ones do not.
MOST_WORK = 1e5
# What gemm multiplies; it refuses no problem of the table in these.
MULTIPLIED = ("float32", "float64", "bfloat16", "float16")
HOPPER = "capability=90"

pytestmark = [
    pytest.mark.skipif(not shutil.which(COMPILER[0]), reason=f"no compiler {COMPILER[0]}"),
    pytest.mark.xdist_group("cuda_core"),
]


def work(problem: str) -> float:
    """Products of a problem line without its padding, roughly."""

    def product(key: str) -> int:
        found = re.search(rf"\b{key}=(\d[\dx]*)", problem)
        total = 1
        for size in found[1].split("x") if found else ():
            total *= int(size)
        return total

    ins, outs = (int(n) for n in re.search(r"channels=(\d+)>(\d+)", problem).groups())
    scale = product("stride")
    places = product("output") if " output=" in problem else product("input") / scale
    return product("batch") * places * product("kernel") * ins * outs / product("groups")


def lines(dtypes=DTYPES, names=tuple(PROBLEMS), most_work=MOST_WORK) -> list[str]:
    return [
        f"{line(name, result, dtype)} device=cuda {HOPPER}"
        for name in names
        if work(line(name)) <= most_work
        for result in RESULTS
        for dtype in dtypes
    ]


def compile_all(folder: Path, sources: list[tuple[Path, list[str]]], include: Path) -> list[Path]:
    def compile_one(job: tuple[Path, list[str]]) -> Path:
        source, flags = job
        built = folder / (source.name + ".o")
        command = [*COMPILER, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", *flags]
        command += [f"-I{include}", "-c", str(source), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return built

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, sources))


# The emulator changes stacks by longjmp, which fortified C libraries take for an error.
EMULATED = [
    "-U_FORTIFY_SOURCE",
    "-Wno-unknown-pragmas",
    "-include",
    str(EMULATOR / "emulator.h"),
    "-x",
    "c++",
]
HOST = ["-DTORCHCONV_CUDA", "-DTORCHCONV_ALGORITHMS(X)=X(reference)"]


def link(objects: list[Path], program: Path) -> Path:
    subprocess.run([COMPILER[-1], *objects, "-o", program, "-lpthread"], check=True)
    return program


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> list[Path]:
    """What is no kernel: the core, the planner, the CPU's reference and the driver."""
    sources = [*sorted(CSRC.glob("core/*.cpp")), *sorted(CSRC.glob("plan/*.cpp"))]
    sources += [CSRC / "algo" / "reference.cpp", ROOT / "tests" / "core" / "driver.cpp"]
    folder = tmp_path_factory.mktemp("host")
    return compile_all(folder, [(source, HOST) for source in sources], CSRC)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> dict[Path, Path]:
    """The emulated kernels, by their sources."""
    folder = tmp_path_factory.mktemp("emulated")
    built = compile_all(folder, [(source, EMULATED) for source in KERNELS], CSRC)
    return dict(zip(KERNELS, built, strict=True))


@pytest.fixture(scope="module")
def program(host, kernels, tmp_path_factory) -> Path:
    return link([*host, *kernels.values()], tmp_path_factory.mktemp("driver") / "driver")


def drive(program: Path, problems: list[str], *, stop: bool = False) -> tuple[int, str]:
    done = subprocess.run(
        [program, "2", "1", *(["1"] if stop else [])],
        input="\n".join(problems),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def assert_all_ran(output: str, problems: list[str]) -> None:
    failed = [text for text in output.splitlines() if not text.startswith("ok")]
    assert len(failed) == 1 and failed[0].endswith(", 0 failed"), failed[:20]
    assert output.count("ok   reference") == len(problems)
    assert output.count("ok   gemm ") == sum(text.split()[1] in MULTIPLIED for text in problems)


def test_every_problem(program):
    problems = lines()
    status, output = drive(program, problems)
    assert_all_ran(output, problems)
    assert output.count("ok   direct ") > 250  # of bfloat16
    assert len(re.findall("ok   direct .* weight bfloat16", output)) > 100
    assert status == 0


def test_every_problem_without_hopper(program):
    problems = [text.replace(HOPPER, "") for text in lines(("bfloat16",), FEW)]
    status, output = drive(program, problems)
    assert_all_ran(output, problems)
    assert "ok   direct " not in output
    assert status == 0


def test_every_dtype(program):
    problems = lines(ALL_DTYPES, FEW)
    status, output = drive(program, problems)
    assert_all_ran(output, problems)
    assert status == 0


def test_tf32(program):
    problems = [f"{text} tf32=1" for text in lines(("float32",))]
    status, output = drive(program, problems)
    assert_all_ran(output, problems)
    assert len(re.findall("ok   direct .* weight float32", output)) > 100
    assert status == 0


# (file, what stands there, what is planted); in kernel sources or what they include.
REFERENCE = "cuda/algo/reference.cu"
DEPTHWISE, DIRECT, GEMM = (f"cuda/algo/{name}" for name in ("depthwise", "direct", "gemm"))
FAULTS = {
    "side_lost": ("core/walk.h", "constexpr int kSides = 3;", "constexpr int kSides = 2;"),
    "batch_forgotten": (REFERENCE, "n * view.batch + g", "g"),
    "tail_of_the_grid": (REFERENCE, "(gridDim.x) * kThreads;", "(gridDim.x) * 2 * kThreads;"),
    # One for each way of depthwise, none of which the others would hide.
    "any_part": (f"{DEPTHWISE}/anyhow.cu", "part_begin(positions, parts, part + 1)", "1"),
    "planes_halo": (f"{DEPTHWISE}/planes.cu", "x[r * stride + u]", "x[r]"),
    "planes_tap": (f"{DEPTHWISE}/planes_weight.cu", "x[r * stride + u]", "x[r]"),
    "planes_pairs": (f"{DEPTHWISE}/planes_weight.cu", "at < (left - kept) * each", "at < each"),
    "planes_phase": (f"{DEPTHWISE}/planes.cu", "block -= jobs.job[number].blocks", "block = 0"),
    "box_edge": (f"{DEPTHWISE}/box.h", "i + pack <= tables.size", "i + 1 <= tables.size"),
    "box_store": (f"{DEPTHWISE}/box.h", "line += tables.first * step;", ""),
    "any_slots": (f"{DEPTHWISE}/anyhow.cu", "slot < half", "slot < half / 2"),
    "last_bias": (f"{DEPTHWISE}/last.cu", "sum[q][j] + start[j]", "sum[q][j] - start[j]"),
    "last_taps": (f"{DEPTHWISE}/last.cu", "(line * width + u)", "(line * width)"),
    "last_window": (f"{DEPTHWISE}/last.h", "first + count > size", "first > size"),
    "last_slice": (f"{DEPTHWISE}/last_weight.cu", "(slices - kept) * each", "each / 2"),
    "copies_not_awaited": (
        f"{GEMM}/kernel.h",
        "wait_copies<kAhead - 1>();",
        "wait_copies<kAhead>();",
    ),
    "inner_tail": (f"{GEMM}/form.h", "left < f.elements ? left", "left < 1 ? left"),
    "direct_bias": (f"{DIRECT}/kernel.h", "kStorePitch + c] + column.bias", "kStorePitch + c]"),
    "direct_phase": (f"{DIRECT}/form.h", "x.tap + r * x.tap_phase", "x.tap - r"),
    "direct_reach": (f"{DIRECT}/form.h", "* x.extent + x.reach_of(shift)", "* x.extent"),
    "direct_taps_not_awaited": (
        f"{DIRECT}/kernel.h",
        "wait_for(&block.barriers[tap_slot], parity);",
        "",
    ),
    "direct_written_under_a_product": (
        f"{DIRECT}/kernel.h",
        "if (++fill_slot == f.slots) fill_slot = 0;",
        "",
    ),
    "direct_weight_line_tail": (
        f"{DIRECT}/weight_block.h",
        "(left < elements ? left : elements) : 0",
        "(left < 0 ? left : elements) : 0",
    ),
    "direct_weight_copies_not_awaited": (
        f"{DIRECT}/weight_loaders.h",
        "wait_copies<0>();",
        "wait_copies<1>();",
    ),
    "direct_weight_split_lost": (
        f"{DIRECT}/weight_splits.h",
        "w.splits * (part + 1) / u.warps",
        "begin + 1",
    ),
    "direct_weight_set": (f"{DIRECT}/weight_gradients.h", "? task.first + s : 0", "? s : 0"),
    "direct_weight_patch": (f"{DIRECT}/weight_patches.h", "moved_by(f, at.shift) + base", "base"),
    "direct_weight_not_filled": (
        f"{DIRECT}/weight_loaders.h",
        "wait_for(&block.filled[slot.number], slot.parity);",
        "",
    ),
    "direct_weight_not_emptied": (
        f"{DIRECT}/weight_loaders.h",
        "wait_for(&block.emptied[slot.number], slot.parity ^ 1);",
        "",
    ),
}


# direct makes a weight gradient that is NaN again from its definition, which would hide what is
# read too early: the emulator fills that with NaNs.
NO_SECOND_SUM = (
    f"{DIRECT}/weight_splits.h",
    "sum = from_definition<T>(w, element);",
    "",
)
# The fewest slots for its tiles, so that they are filled again.
TWO_SLOTS = (f"{DIRECT}/weight_plan.h", "kMostWeightSlots = 4;", "kMostWeightSlots = 2;")
ONE_SPLIT = (f"{DIRECT}/weight_plan.h", "kMostWeightSplits = 264;", "kMostWeightSplits = 1;")
BOTH_WAYS = (f"{DIRECT}/weight_plan.h", "by_patches : {false, true}")
# Weight gradients of several tiles, in the shapes of direct that the table is too small for: two
# tiles of rows, lines in copies of four bytes, two warpgroups with rows of their own, three sets of
# shifts, and pieces that are copied whole.
WEIGHTS = (
    "batch=3 channels=40>72 input=18x28 kernel=3x3 padding=1x1",
    "batch=3 channels=130>140 input=11x14 kernel=1x1",
    "batch=2 channels=130>70 input=500 kernel=3 padding=1",
    "batch=2 channels=30>70 input=6x10x12 kernel=3x3x3 padding=1x1x1",
    "batch=2 channels=72>136 input=18x24 kernel=3x3 stride=2x1 padding=1x1 channels_last=1",
)


def concerns(file: str, kernel: Path) -> bool:
    """Whether a kernel source is the file, lies beside it, or includes it."""
    floor_of_one_algorithm = CSRC / "cuda" / "algo"
    beside = (CSRC / file).parent == kernel.parent != floor_of_one_algorithm
    return kernel == CSRC / file or beside or f'"{file}"' in kernel.read_text()


def changed(
    host: list[Path], kernels: dict[Path, Path], changes: list[tuple[str, str, str]], folder: Path
) -> Path:
    """The driver with kernels in whose sources other text stands."""
    csrc = folder / "csrc"
    shutil.copytree(CSRC, csrc)
    for file, before, after in changes:
        text = (csrc / file).read_text()
        assert text.count(before) == 1, f"{before!r} is not in {file} once"
        (csrc / file).write_text(text.replace(before, after))
    anew = [k for k in KERNELS if any(concerns(file, k) for file, _, _ in changes)]
    sources = [(csrc / kernel.relative_to(CSRC), EMULATED) for kernel in anew]
    others = [built for kernel, built in kernels.items() if kernel not in anew]
    return link([*host, *others, *compile_all(folder, sources, csrc)], folder / "driver")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_turns_the_driver_red(host, kernels, fault, tmp_path):
    problems = lines(("bfloat16",) if fault.startswith("direct") else ("float32",))
    changes = [FAULTS[fault]]
    if fault.startswith("direct_weight"):
        changes += [NO_SECOND_SUM, TWO_SLOTS]
        problems += [f"{text} tf32=1" for text in lines(("float32",)) if text.startswith("weight ")]
        if fault == "direct_weight_set":
            changes.append((*BOTH_WAYS, BOTH_WAYS[1].replace(", true", "")))
        if fault == "direct_weight_not_emptied":  # the third tile of a split shows it
            changes.append(ONE_SPLIT)
            problems = [f"weight {d} {text} device=cuda {HOPPER} tf32=1" for d, text in
                        itertools.product(("bfloat16", "float32"), WEIGHTS)]  # fmt: skip
    program = changed(host, kernels, changes, tmp_path)
    status, output = drive(program, problems, stop=True)
    assert status in (1, 3) and "FAIL" in output, output[-2000:]


def test_large_tiles_and_splits(host, kernels, tmp_path):
    """What takes a large problem, made to happen on small ones: gemm's other tile, most splits,
    direct's chunks of few channels, its weight gradient in its larger shapes, several tiles to a
    split and several tiles of rows and columns, and depthwise's blocks that go on, with few lines
    of taps."""
    plan = f"{GEMM}/plan.h"
    changes = [
        (plan, "kEnoughLargeTiles = 128;", "kEnoughLargeTiles = 0;"),
        (plan, "kLargeFrom = 96;", "kLargeFrom = 1;"),
        (plan, "kLeastDepth = 8;", "kLeastDepth = 1;"),
        (f"{DIRECT}/plan.h", "kLeastSteps = 6;", "kLeastSteps = 1;"),
        (f"{DIRECT}/plan.h", "kGoodShared = 110 << 10;", "kGoodShared = 1 << 10;"),
        (f"{DIRECT}/plan.h", "kStepBytes = 24 << 10;", "kStepBytes = 2 << 10;"),
        (f"{DEPTHWISE}/last.h", "kBlocks = 528;", "kBlocks = 2;"),
        (f"{DEPTHWISE}/last.cu", "kTapBytes = 32 << 10;", "kTapBytes = 2 << 10;"),
        NO_SECOND_SUM,
        (f"{DIRECT}/weight_plan.h", "kMultiprocessors = 132;", "kMultiprocessors = 2;"),
        (f"{DIRECT}/weight_plan.h", "kLeastTiles = 2;", "kLeastTiles = 1;"),
        TWO_SLOTS,
        (f"{DIRECT}/weight.cu", "kManyElements = 1 << 18;", "kManyElements = 1;"),
    ]
    names = ("grouped", "reflect", "stride_2", "wide_blocks", "deep", "last_dense")
    names += tuple(name for name in PROBLEMS if name.startswith(("chunks_", "windows_")))
    problems = lines(("float32", "bfloat16", "float16"), names, 2e6)
    problems += [f"{text} tf32=1" for text in lines(("float32",), names, 2e6)]
    for dtype in ("bfloat16", "float32"):
        problems += [f"weight {dtype} {text} device=cuda {HOPPER} tf32=1" for text in WEIGHTS]
    status, output = drive(changed(host, kernels, changes, tmp_path), problems)
    assert_all_ran(output, problems)
    for text in WEIGHTS:
        for dtype in ("bfloat16", "float32"):
            one = f"weight {dtype} {text.split(' input')[0]} "
            assert re.search(f"ok   direct .* {one}", output), one
    assert status == 0


@pytest.mark.parametrize("by_patches", ["false", "true"])
def test_weight_gradients_are_not_made_again(host, kernels, tmp_path, by_patches):
    problems = [text for text in lines(("bfloat16",)) if text.startswith("weight ")]
    changes = [NO_SECOND_SUM, (*BOTH_WAYS, BOTH_WAYS[1].replace("false, true", by_patches))]
    status, output = drive(changed(host, kernels, changes, tmp_path), problems)
    assert_all_ran(output, problems)
    assert output.count("ok   direct ") > 100
    assert status == 0


@pytest.fixture(scope="module")
def warp(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("warp")
    return link(compile_all(folder, [(WARP, EMULATED)], CSRC), folder / "warp")


def test_the_emulated_warp_is_as_the_ptx_isa_says(warp):
    done = subprocess.run([warp], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "0 failed", done.stdout


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    {
        "stuck": "a block is stuck",
        "early_exit": "a block is stuck",
        "diverged": "lanes of a warp meet at different operations",
        "fence": "a block wrote outside its shared memory",
        "misaligned": "a shared address is not aligned",
        "threads": "too many threads",
        "empty": "an empty launch",
    }.items(),
)
def test_the_emulator_refuses_what_a_gpu_would_hang_or_fail_on(warp, wrong, sentence):
    done = subprocess.run([warp, wrong], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and sentence in done.stdout, done.stdout
