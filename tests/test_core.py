"""The kernel core alone, without torch: a driver program runs every algorithm on every problem with
poisoned results and fenced buffers, and must turn red when a fault is planted in the sources.
"""

import fcntl
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from problems import PROBLEMS, RESULTS, line

ROOT = Path(__file__).parent.parent
COMPILER = os.environ.get("CXX", "g++")
DTYPES = (
    "float32", "float64", "bfloat16", "float16", "complex64", "complex128",
    "uint8", "int8", "int16", "int32", "int64",
)  # fmt: skip
TARGETS = ("avx512_amx", "avx512_bf16", "avx512", "avx2", "baseline")
LINES = [line(name, result, dtype) for name in PROBLEMS for result in RESULTS for dtype in DTYPES]
# As an output is stored: in lines, columns, strided, in parts of a vector, in place.
LINES += [
    f"{line(name, 'output', dtype)} activation=relu"
    for name in ("1x1", "3x3", "1d", "stride_2", "grouped", "depthwise", "tiles_of_8_9", "tiles_1d",
                 "last_bands", "last_phases", "deep", "few_chunks", "in_place_14x17",
                 "in_place_long")
    for dtype in ("float32", "float64", "bfloat16", "float16")
]  # fmt: skip
# Every path of the algorithms, in a third of the time that all dtypes take.
FEW_LINES = [text for text in LINES if " float32 " in text or " complex64 " in text]
# Matrices in blocks of rows, chunks of the depth and groups of strips, where a machine has them.
MATRIX_LINES = [text for text in LINES if " bfloat16 " in text] + [
    f"{result} bfloat16 {fields}"
    for result in RESULTS
    for fields in (
        "channels=256>160 input=5x6 kernel=3x3 padding=1x1",
        "channels=64>40 input=3x240 kernel=3x3 padding=1x1",
    )
]
LINES += MATRIX_LINES[-6:]
# Results of more than 8 MiB, which pass the caches: lines that are held whole, and in pieces.
LINES += [
    "output float32 channels=5>5 groups=5 input=1001x523 kernel=3x3 padding=1x1 bias=1",
    "output float32 channels=2>2 groups=2 input=901x1203 kernel=2x3 padding=1x1 output=901x1203",
    "input bfloat16 channels=3>3 groups=3 input=1209x1207 kernel=3x1 padding=1x0",
    "output float64 channels=3>3 groups=3 input=400001 kernel=4 padding=3 output=400001",
]

pytestmark = pytest.mark.skipif(not shutil.which(COMPILER), reason=f"no compiler {COMPILER}")
# Two halves of about the same length, which share what they compile.
WHOLE = pytest.mark.xdist_group("core")
FAULTY = pytest.mark.xdist_group("faults")


def build(csrc: Path, folder: Path, flags: list[str], known: dict[str, Path]) -> Path:
    """Compiles the core of `csrc`, with no include path but its own, and links the driver.

    Sources named in `known` are taken as already compiled; the others are added to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    floors = ("core", "micro", "algo", "plan")
    sources = [p for floor in floors for p in sorted((csrc / floor).rglob("*.cpp"))]
    sources.append(ROOT / "tests" / "core" / "driver.cpp")

    def compile_one(source: Path) -> Path:
        name = str(source.relative_to(csrc)) if source.is_relative_to(csrc) else source.name
        if name in known:
            return known[name]
        built = folder / (name.replace("/", "@") + ".o")
        command = [COMPILER, "-std=c++20", *flags, f"-I{csrc}", "-c", str(source), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        known[name] = built
        return built

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    program = folder / "driver"
    subprocess.run([COMPILER, *flags, *objects, "-o", program, "-lpthread"], check=True)
    return program


PLAIN = ["-O1"]
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def drive(
    program: Path, lines: list[str], threads: int = 2, *, stop: bool = False, **environment: str
) -> tuple[int, str]:
    done = subprocess.run(
        [program, str(threads), "1", *(["1"] if stop else [])],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def objects():
    """The compiled sources, by name, once `plain` has been built."""
    return {}


@pytest.fixture(scope="module")
def plain(objects, tmp_path_factory):
    """Built by the first process that comes; the others wait, and link its objects."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "plain"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (program := folder / "driver").exists():
            return build(ROOT / "csrc", folder, PLAIN, objects)
        for built in folder.glob("*.o"):
            objects[built.name.removesuffix(".o").replace("@", "/")] = built
        return program


@WHOLE
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("threads", "lines"), [(1, FEW_LINES), (3, LINES)], ids=["1", "3"])
def test_every_problem_on_every_target(plain, target, threads, lines):
    _, best = drive(plain, [], TORCHCONV_TARGET=target)
    if not best.startswith(f"{target},"):
        pytest.skip(f"this machine has no {target}: it would run {best.split(',')[0]} again")
    status, output = drive(plain, lines, threads, TORCHCONV_TARGET=target)
    assert status == 0, [text for text in output.splitlines() if not text.startswith("ok")]
    assert output.count("ok   gemm") == len(lines)


@WHOLE
def test_a_bad_line_is_reported_not_run(plain):
    status, output = drive(plain, ["output float32 channels=1>1 input=2 kernel=3"])
    assert status == 1
    assert "more than the padded input of 2" in output


@WHOLE
def test_under_sanitizers(plain, objects, tmp_path):
    """All that computes an address: the floors above the hot loops. Those take minutes to compile
    so, and are left as they are."""
    loops = {name: path for name, path in objects.items() if name.startswith("micro/target_")}
    assert loops
    lines = FEW_LINES + MATRIX_LINES
    status, output = drive(build(ROOT / "csrc", tmp_path, SANITIZED, loops), lines)
    assert status == 0, output[-3000:]
    assert output.count("ok   gemm") == len(lines)


@pytest.mark.long
def test_the_hot_loops_under_sanitizers(tmp_path):
    program = build(ROOT / "csrc", tmp_path, SANITIZED, {})
    for target in TARGETS:
        status, output = drive(program, LINES, TORCHCONV_TARGET=target)
        assert status == 0, output[-3000:]


# Faults that a convolution is prone to: (file, what stands there, what is planted).
FAULTS = {
    "none": ("micro/target.cpp", "", ""),  # the control, which must stay green
    "padding_off_by_one": (
        "micro/pack.cpp",
        "x.stride - x.padding + tap[last]",
        "x.stride - x.padding + 1 + tap[last]",
    ),
    "edge_dropped": ("micro/pack.cpp", "/ stride + 1 : 0", "/ stride : 0"),
    "lines_in_padding": ("micro/pack.cpp", "(first + rows.begin * y.stride) *", "first *"),
    "edge_not_cleared": ("micro/pack.cpp", "zero(to + column, to_row, rows, length);", ""),
    "taps_reversed": ("micro/pack.cpp", "++tap[a] < p.axis[a].kernel_size", "false"),
    "row_tail_dropped": (
        "algo/gemm/forward.cpp",
        "r < rows; r += tile",
        "r + 4 <= rows; r += tile",
    ),
    "depth_chunk_lost": ("algo/gemm/forward.cpp", "k0 > 0 ||", "false ||"),
    "bias_forgotten": ("algo/gemm/forward.cpp", "if (!operands.bias.data) return;", "return;"),
    "block_tail_dropped": (
        "algo/gemm/forward.cpp",
        "column_blocks = ceil_div(positions, columns);",
        "column_blocks = std::max<int64_t>(positions / columns, 1);",
    ),
    "run_misplaced": ("algo/gemm/weight.cpp", "run.column * height", "run.column"),
    "split_lost": ("algo/gemm/weight.cpp", "int64_t s = 1; s < plan", "int64_t s = 2; s < plan"),
    "products_apart": (
        "algo/gemm/weight.cpp",
        "if (plan.planes == 2)\n      comb",
        "if (0)\n comb",
    ),
    "third_factor_lost": (
        "algo/gemm/forward.cpp",
        "add_planes(to, part, rows * (k1 - k0));",
        "{}",
    ),
    "plane_of_another": (
        "algo/gemm/input.cpp",
        "rows + q * plan.rows * plan.columns + run.column",
        "rows + run.column",
    ),
    "turned_piece_misplaced": ("algo/gemm/weight.cpp", "sums + piece.r0 - b.r0", "sums"),
    "weight_out_of_place": ("algo/gemm/weight.cpp", "lanes != 0)", "lanes < 0)"),
    "few_chunk_lost": ("algo/gemm/few.cpp", "k < plan.depth; k += plan", "k < 1; k += plan"),
    "few_tail_lost": ("algo/gemm/few.cpp", "if (whole == b.rows) continue;", "continue;"),
    "few_panel_lost": (
        "algo/gemm/few.cpp",
        "worker.turned + j * count + k * width",
        "worker.turned + k * width",
    ),
    "slots_joined": ("algo/gemm/input.cpp", "slot = tap % x.slots", "slot = 0"),
    "slots_without_gaps": (
        "algo/gemm/input.cpp",
        "covers()) return true;",
        "covers()) return false;",
    ),
    "tap_replaces": (
        "algo/gemm/input.cpp",
        "plan.columns, Finish{true}, to);",
        "plan.columns, Finish{}, to);",
    ),
    "lanes_slot": ("algo/lanes/cut.cpp", "t % classes * slot", "0"),
    "lanes_image_kept": ("algo/lanes/groups.cpp", "zero(to + line *", "zero(to + 1 + line *"),
    "lanes_sign": ("algo/lanes/groups.cpp", "*= -1", "*= 1"),
    "lanes_line_lost": (
        "algo/lanes/groups.cpp",
        "lines, down, columns, step}",
        "lines, step, columns, step}",
    ),
    "lanes_border_lost": ("algo/lanes/groups.cpp", "last_tap.end}", "first_tap.end}"),
    "lanes_split_lost": ("algo/lanes/weight.cpp", "s = 1; s < splits", "s = 2; s < splits"),
    "line_of_a_slot": ("micro/lines.cpp", "at % spacing * slot", "0"),
    "padding_kept": ("algo/direct/forward.cpp", "padded.clear(worker.lines);", ""),
    "place_not_cleared": ("algo/direct/weight.cpp", "*cleared != u / p.batch", "*cleared < 0"),
    "class_of_taps_lost": ("algo/direct/weight.cpp", "first < plan.tap_classes()", "first < 1"),
    "line_class_lost": (
        "algo/direct/forward.cpp",
        "r < std::min(plan.line_step",
        "r < std::min(1L",
    ),
    "plane_conjugated": ("algo/direct/weight.cpp", "totals[j] -= totals", "totals[j] += totals"),
    "tiles_lost": (
        "algo/winograd/plan.cpp",
        "  tile_blocks = ceil_div(tile_count, tiles_per_block);",
        "  tile_blocks = std::max<int64_t>(tile_count / tiles_per_block, 1);",
    ),
    "tile_depth_lost": ("algo/winograd/forward.cpp", "nullptr, k0 > 0);", "nullptr, false);"),
    "tile_taps_reversed": ("algo/winograd/forward.cpp", "from[a] = -from[a];", ""),
    "tile_edge_kept": ("algo/winograd/tiles.cpp", "v <= reach(a) ?", "v <= reach(a) + 1 ?"),
    "tile_chunk_repeated": (
        "algo/winograd/forward.cpp",
        "width_of(strip), begin, input",
        "width_of(strip), 0, input",
    ),
    "tile_sums_replaced": ("algo/winograd/weight.cpp", "nullptr, add);", "nullptr, false);"),
    "tile_split_lost": ("algo/winograd/weight.cpp", "s = 1; s < plan", "s = 2; s < plan"),
    "tile_block_repeated": (
        "algo/winograd/weight.cpp",
        "b % plan.in_blocks * plan.in_channels",
        "b % plan.in_blocks * 0",
    ),
    "tile_taps_unturned": ("algo/winograd/weight.cpp", "to[a] = -to[a];", ""),
    "tile_outputs_kept": (
        "algo/winograd/weight.cpp",
        "std::fill(here + length",
        "std::fill(here + count",
    ),
    "phase_misplaced": (
        "algo/winograd/tiles.cpp",
        "stride + piece.tap[a]",
        "stride + 0",
    ),
    "taps_of_a_block_lost": (
        "algo/winograd/plan.cpp",
        "t.strides = strides_of(x);",
        "t.strides = phases_of(x);",
    ),
    "stretch_misplaced": (
        "algo/winograd/tiles.cpp",
        "float* const here = to + k * tiling.lanes;",
        "float* const here = to;",
    ),
    "phases_of_one_channel": (
        "algo/winograd/forward.cpp",
        "base + offset + c * stride.in_channel",
        "base + offset",
    ),
    "phases_share_taps": (
        "algo/winograd/weight.cpp",
        "tap * plan.lanes + piece.at",
        "tap * plan.lanes",
    ),
    "kept_made_again": (
        "algo/winograd/forward.cpp",
        "context.filled ? 0 : numbers",
        "numbers",
    ),
    "fourier_tiles_lost": (
        "algo/fft/plan.cpp",
        "ceil_div(each, t.outputs)",
        "std::max<int64_t>(each / t.outputs, 1)",
    ),
    "fourier_depth_lost": ("algo/fft/forward.cpp", "ci > 0);", "false);"),
    "fourier_block_lost": (
        "algo/fft/forward.cpp",
        "block < end; ++block",
        "block < begin + 1; ++block",
    ),
    "fourier_first_output": (
        "algo/fft/forward.cpp",
        "turned ? p.axis[a].kernel_size - 1",
        "turned ? 0",
    ),
    "fourier_sums_replaced": ("algo/fft/weight.cpp", "first > 0", "false"),
    "fourier_reach": (
        "algo/fft/tiles.cpp",
        "x.kernel_size - 1), x.input",
        "x.kernel_size - 2), x.input",
    ),
    "fourier_not_conjugated": ("algo/fft/tiles.cpp", "backwards ? -scale", "backwards ? scale"),
    "fourier_taps_conjugated": ("algo/fft/tiles.cpp", "line[k] = -line[k]", "line[k] = line[k]"),
    "fourier_tile_kept": ("algo/fft/tiles.cpp", "std::fill(line + count, line + half, T(0));", ""),
    "fourier_cyclic": ("algo/fft/transform.cpp", "angles[0] = kTurn / 4;", "angles[0] = 0;"),
    "fourier_panel_lost": (
        "algo/fft/transform.cpp",
        "c < columns; c += panel",
        "c < panel; c += panel",
    ),
    "square_shifted": (
        "micro/pack.cpp",
        "first + begin * x.stride + t0), end",
        "first + begin * x.stride), end",
    ),
    "blind_outputs_shift": ("core/relabel.cpp", "x.padding -= first * x.stride;", ""),
    "slots_shifted": (
        "algo/gemm/input.cpp",
        "all.begin * x.axis.stride - x.low(0);",
        "all.begin * x.axis.stride;",
    ),
    "planes_row_lost": ("algo/lanes/planes.cpp", "last < x.input_size)", "last <= x.input_size)"),
    "planes_of_another_band": ("algo/lanes/forward.cpp", "number % (cut.pieces", "0 * (cut.pieces"),
    "planes_band_of_input": ("algo/lanes/planes_input.cpp", "piece.line * down - first)", "0)"),
    "planes_gaps_kept": ("algo/lanes/planes_input.cpp", "if (has_gaps) std", "if (false) std"),
    "image_gaps_kept": ("algo/lanes/input.cpp", "if (has_gaps) std", "if (false) std"),
    "lanes_rows_of_one_channel": ("algo/lanes/forward.cpp", "= taps[k + t];", "= taps[t];"),
    "direct_rows_misplaced": (
        "algo/direct/forward.cpp",
        "rows.weight + k0 * taps.weight_row",
        "rows.weight",
    ),
    "in_place_lines_lost": (
        "algo/direct/in_place.cpp",
        "+ first * plan.line.dilation",
        "+ 0 * plan.line.dilation",
    ),
    "direct_workers_without_scratch": (
        "algo/direct/forward.cpp",
        "= workers_for(p, context.threads)",
        "= context.threads",
    ),
    "in_place_class_lost": ("algo/direct/in_place.cpp", "x.padding - number,", "x.padding,"),
    "in_place_planes_repeated": ("algo/direct/in_place.cpp", "if (++g < p.groups)", "if (++g < 2)"),
    "outer_padding_seen": ("micro/grid.cpp", "if (i < 0) return false;", "if (i < 0) continue;"),
    "in_place_weights_of_one": (
        "algo/direct/in_place.cpp",
        "w + ci * steps.in_channel",
        "w",
    ),
    "indirect_padding_kept": ("algo/indirect/by_lines.cpp", "padded.clear(worker.lines);", ""),
    "indirect_lines_apart": (
        "algo/indirect/parts.cpp",
        "per_line == 0 ? row : per",
        "per_line == 0 ? columns : per",
    ),
    "indirect_weights_kept": (
        "algo/indirect/parts.cpp",
        "pair == first || n == 0",
        "pair == first",
    ),
    "indirect_plane_lost": (
        "algo/indirect/by_lines.cpp",
        "worker.sums + q * sums_row",
        "worker.sums",
    ),
    "channels_padding_kept": (
        "algo/indirect/by_channels.cpp",
        "padded.clear(worker.lines);",
        "",
    ),
    "channels_lines_apart": (
        "algo/indirect/by_channels.cpp",
        "l * plan.line.stride * plan.line_length()",
        "l * plan.line_length()",
    ),
    "weight_lines_apart": ("algo/indirect/weight.cpp", "l * line_step(p, output)", "l"),
    "channels_sign_lost": ("algo/indirect/by_channels.cpp", "q == 0 && run.n == 1", "false"),
    "channels_bias_lost": (
        "algo/indirect/by_channels.cpp",
        "worker.starts + v * plan.lanes;",
        "worker.starts;",
    ),
    "weight_split_lost": ("algo/indirect/weight.cpp", "split < plan.splits; ++split", "false;"),
    "weight_place_kept": ("algo/indirect/weight.cpp", "unit == first || n == 0", "unit == first"),
    "fold_replaces": ("core/relabel.cpp", "p.accumulate = number >= used;", ""),
    "gaps_left": ("core/relabel.cpp", "!= x.stride) return true;", "!= x.stride) return false;"),
    "straightened_twice": ("core/relabel.cpp", "x.dilation = -x.dilation;", ""),
}


# Those of matrices, which are seen where a machine multiplies them.
BY_MATRICES = "algo/indirect/by_matrices.cpp"
MATRIX_FAULTS = {
    "matrix_none": ("micro/target.cpp", "", ""),
    "matrix_rows_misplaced": (BY_MATRICES, "place.first * output.stride.out_channel", "0"),
    "matrix_chunk_lost": (BY_MATRICES, "worker.starts, k > 0", "worker.starts, 0"),
    "matrix_end_kept": (
        BY_MATRICES,
        "end_lines(rows, 2 * plan.depth, worker.weights, plan.weights_row);",
        "",
    ),
    "matrix_strip_misplaced": (BY_MATRICES, "copied + j * whole * lanes", "copied"),
    "output_strip_misplaced": (
        "algo/gemm/weight.cpp",
        "worker.strips + r * whole",
        "worker.strips",
    ),
    "lines_not_ended": (
        "algo/gemm/weight.cpp",
        "end_lines(rows, count, worker.panels, line);",
        "",
    ),
    "rows_not_stripped": (
        "algo/gemm/input.cpp",
        "kernels<T>().strips(k1 - k0, count, to, plan.columns, worker.strips);",
        "",
    ),
}


@FAULTY
@pytest.mark.parametrize("fault", [*FAULTS, *MATRIX_FAULTS])
def test_a_planted_fault_turns_the_driver_red(plain, objects, fault, tmp_path):
    if fault in MATRIX_FAULTS and not drive(plain, [])[1].startswith("avx512_amx,"):
        pytest.skip("this machine multiplies no matrices")
    file, before, after = {**FAULTS, **MATRIX_FAULTS}[fault]
    csrc = tmp_path / "csrc"
    shutil.copytree(ROOT / "csrc", csrc)
    text = (csrc / file).read_text()
    assert before in text, f"the fault no longer fits {file}"
    (csrc / file).write_text(text.replace(before, after) if before else text)
    known = {name: path for name, path in objects.items() if name != file}
    program = build(csrc, tmp_path / "build", PLAIN, known)
    lines = MATRIX_LINES if fault in MATRIX_FAULTS else FEW_LINES
    status, output = drive(program, lines, stop=True)
    assert (status == 0) == (not before), output[-2000:]
