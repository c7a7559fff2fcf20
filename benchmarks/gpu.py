"""All that a GPU machine is to say about torchconv, in one call of under ten minutes.

    python benchmarks/gpu.py --json benchmarks/gpu.json

Builds the extension in this checkout (TORCHCONV_CUDA=1), holds the warp functions to their layouts,
runs the tests on the GPU and a small set of them under compute-sanitizer, and times every kind of
convolution against F.conv (cuDNN, benchmark mode on, contiguous and channels_last) by CUDA events.
Writes one JSON file, and prints a short table last. Needs torch with CUDA, nvcc, ninja, pytest and
no network. A step that fails is told in the table and does not stop the others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START = time.monotonic()
# Compute-sanitizer slows kernels down by a factor of 10 to 100.
SANITIZED = ("output", "input", "weight")
SANITIZED_PROBLEMS = ("3x3", "stride_2", "grouped", "depthwise", "reflect", "last_dense", "deep")
DTYPES = ("float32", "bfloat16")
MOST_GFLOP = 8.0  # a workload is cut to this in batch; cuDNN needs under 1 ms for it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "gpu.json")
    parser.add_argument("--seconds", type=float, default=540, help="for all of it. Default: 540")
    parser.add_argument("--dtype", nargs="+", default=DTYPES)
    parser.add_argument("--no-tf32", action="store_true", help="float32 in float32, on both sides")
    parser.add_argument("--skip", nargs="*", default=[], choices=["build", *STEPS])
    options = parser.parse_args()
    os.chdir(ROOT)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": {}, "steps": {}, "cases": []}

    def save() -> None:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")

    if "build" not in options.skip:
        report["steps"]["build"] = step(
            "build", [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], 330
        )
        save()
        if not report["steps"]["build"]["passed"]:
            return table(report)
    for name, (command, limit_s) in STEPS.items():
        if name not in options.skip:
            report["steps"][name] = step(name, command(), min(limit_s, left(options) - 30))
            save()
    found = measure(report["machine"], options.dtype, not options.no_tf32, lambda: left(options))
    for record in found:
        report["cases"].append(record)
    save()
    return table(report)


def left(options: argparse.Namespace) -> float:
    return float(options.seconds) - (time.monotonic() - START)


def step(name: str, command: list[str], limit_s: float) -> dict[str, Any]:
    """Runs a command; shows the end of what it said where it failed."""
    begin = time.monotonic()
    environment = os.environ | {"TORCHCONV_CUDA": "1", "TORCHCONV_PTXAS": "1"}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests'}"
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=max(limit_s, 1), env=environment, check=False)  # fmt: skip
        passed, output = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace") + f"\nstopped after {limit_s:.0f} s"
        passed = False
    except OSError as error:
        passed, output = False, str(error)
    seconds = time.monotonic() - begin
    print(f"{name}: {'passed' if passed else 'FAILED'} in {seconds:.0f} s", flush=True)
    if not passed:
        print("\n".join(output.splitlines()[-40:]), flush=True)
    kept = [text for text in output.splitlines() if " spill " in text or "registers" in text]
    result: dict[str, Any] = {"passed": passed, "seconds": seconds}
    if name == "build":
        spills = [t for t in kept if " spill " in t and " 0 bytes spill stores" not in t]
        result |= {"registers": kept, "spills": len(spills)}
    else:
        result["last"] = output.splitlines()[-1:]
    return result


def warp() -> list[str]:
    program = ROOT / "build" / "warp"
    compiled = f"nvcc -std=c++17 -arch=native -Icsrc tests/cuda/warp.cu -o {program} && {program}"
    return ["sh", "-c", compiled]


def tests() -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests/test_cuda.py"]


def sanitizer() -> list[str]:
    found = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    return [found, "--error-exitcode=1", "--tool=memcheck", sys.executable, __file__, "--sanitized"]


STEPS = {"warp": (warp, 60), "tests": (tests, 150), "sanitizer": (sanitizer, 90)}


def sanitized() -> int:
    """What compute-sanitizer watches: every algorithm on a few problems, checked too."""
    import torch
    from problems import line

    from torchconv import testing

    wrong = 0
    for name, result, algorithm in itertools.product(
        SANITIZED_PROBLEMS, SANITIZED, testing.algorithms("cuda")
    ):
        for dtype in ("float32", "bfloat16", "float64"):
            problem = f"{line(name, result, dtype)} device=cuda"
            tensors = testing.from_line(problem)
            expected = testing.reference(problem, {k: t.cpu() for k, t in tensors.items()})
            try:
                with testing.algorithm(algorithm):
                    actual = testing.run(problem, tensors).cpu()
            except RuntimeError as error:
                if "refuses" not in str(error):
                    raise
                continue
            close = torch.allclose(actual.double(), expected.double(), rtol=1e-2, atol=1e-2)
            wrong += not close
            if not close:
                print(f"{algorithm} is wrong: {problem}")
    return int(wrong > 0)


def measure(
    machine: dict[str, Any], dtypes: list[str], tf32: bool, left_s: Any
) -> Iterator[dict[str, Any]]:
    """Records, one workload of each regime after the other, until the time is over."""
    sys.path.insert(0, str(ROOT))
    import torch

    from torchconv import _C
    from torchconv.tools.calls import difference, native_call, our_call, tensors
    from torchconv.tools.regimes import classify
    from torchconv.tools.workloads import RESULTS, fit, load

    properties = torch.cuda.get_device_properties(0)
    machine.update(
        gpu=properties.name,
        multiprocessors=properties.multi_processor_count,
        torch=torch.__version__,
        cudnn=torch.backends.cudnn.version(),
        kernels=_C.build_info()["cuda"],
        allow_tf32=tf32,
    )
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    by_regime: dict[str, list[Any]] = {}
    for workload in load():
        by_regime.setdefault(classify(workload).name, []).append(workload)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_regime.values()))
    cases = itertools.product((w for w in turns if w), dtypes, (False, True))
    for workload, dtype, channels_last in cases:
        if channels_last and workload.axes == 1:
            continue
        regime, workload = classify(workload).name, fit(workload, MOST_GFLOP)
        try:
            given = tensors(workload, dtype, channels_last=channels_last, device="cuda")
        except RuntimeError:
            continue
        for result in RESULTS:
            if left_s() < 10:
                return
            native = native_call(workload, result, given)
            ours = our_call(workload, result, given)
            line = workload.line(result, dtype) + " device=cuda"
            record: dict[str, Any] = dict(name=workload.name, regime=regime, dtype=dtype, line=line,
                                          result=result, channels_last=channels_last)  # fmt: skip
            try:
                with torch.no_grad():
                    record["error"] = difference_over_tf32(difference, ours(), native())
                    native_s, ours_s = interleaved(native, ours)
            except RuntimeError as error:
                yield record | {"error": str(error).splitlines()[0]}
                continue
            layout = " channels_last=1" if channels_last else ""
            record["algorithm"] = _C.plan(line + layout).algorithm
            yield record | {"native_s": native_s, "ours_s": ours_s, "ratio": native_s / ours_s}


def difference_over_tf32(difference: Any, ours: Any, native: Any) -> str | None:
    """cuDNN may have computed float32 in TF32, with 10 bits of fraction: then that is the scale."""
    import torch

    if ours.dtype == torch.float32 and torch.backends.cudnn.allow_tf32:
        error, scale = (ours - native).abs().max().item(), native.abs().max().item()
        return None if error <= 1e-2 * scale else f"differs by {error:.2g} of {scale:.2g}"
    found: str | None = difference(ours, native)
    return found


def interleaved(native: Any, ours: Any, budget_s: float = 0.03) -> tuple[float, float]:
    """Medians of seconds by CUDA events; both calls in turn, each repeated for 0.5 ms or so."""
    import torch

    def sample(call: Any, repeats: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / repeats

    for call in (native, ours):  # cuDNN tries its algorithms out
        call()
    once_s = [sample(call, 2) for call in (native, ours)]
    repeats = [max(1, min(100, round(5e-4 / s))) for s in once_s]
    pair_s = sum(s * n for s, n in zip(once_s, repeats, strict=True))
    pairs = [
        (sample(native, repeats[0]), sample(ours, repeats[1]))
        for _ in range(max(3, min(50, int(budget_s / pair_s))))
    ]
    return tuple(sorted(column)[len(column) // 2] for column in zip(*pairs, strict=True))  # type: ignore[return-value]


def table(report: dict[str, Any]) -> int:
    """Steps, and geometric means of cuDNN's time over ours: forward / by input / by weight."""
    print(f"\n{report['machine']}")
    for name, what in report["steps"].items():
        spills = f", {what['spills']} kernels spill" if what.get("spills") else ""
        print(f"{'passed' if what['passed'] else 'FAILED'}  {name} {what['seconds']:.0f} s{spills}")
    cases = report["cases"]
    wrong = [case for case in cases if case.get("error")]
    for case in wrong[:10]:
        print(f"WRONG   {case['line']}: {case['error']}")
    groups: dict[tuple[str, str, bool], dict[str, list[float]]] = {}
    for case in cases:
        if "ratio" in case:
            key = (case["regime"], case["dtype"], case["channels_last"])
            groups.setdefault(key, {}).setdefault(case["result"], []).append(case["ratio"])
    for (regime, dtype, last), ratios in sorted(groups.items()):
        means = (math.exp(sum(map(math.log, r)) / len(r)) if r else math.nan
                 for r in (ratios.get(result, []) for result in SANITIZED))  # fmt: skip
        layout = "channels_last" if last else "contiguous"
        print(f"{regime:20} {dtype:9} {layout:13} " + " ".join(f"{mean:7.2f}" for mean in means))
    below = sum(case.get("ratio", 1) < 1 for case in cases)
    print(f"{len(cases)} cases, {len(wrong)} wrong, {below} slower than F.conv")
    steps_passed = all(what["passed"] for what in report["steps"].values())
    return 0 if steps_passed and cases and not wrong else 1


if __name__ == "__main__":
    sys.exit(sanitized() if "--sanitized" in sys.argv else main())
