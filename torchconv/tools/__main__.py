"""``python -m torchconv.tools bench | models | curves | growth | memory | overhead | ...``."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import time
import webbrowser
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import torch

from torchconv import _C, pace
from torchconv.explain import plan
from torchconv.tools import bench, curves, explorer, growth, memory, models, overhead, report
from torchconv.tools.calls import TOLERANCES
from torchconv.tools.regimes import REGIMES, classify
from torchconv.tools.workloads import RESULTS, SHIPPED, Workload, from_line, load, with_batch
from torchconv.tools.zoo import NETWORKS

Selection = tuple[list[Workload], Sequence[str], Sequence[str]]

EXIT_ERRORS = 1
EXIT_INTERRUPTED = 130  # as shells report SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m torchconv.tools", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("bench", help="time torchconv against PyTorch's convolutions")
    command.set_defaults(run=_bench)
    _add_selection(command.add_argument_group("what is measured"))
    _add_conditions(command.add_argument_group("how"))
    output = command.add_argument_group("what is left behind")
    output.add_argument("--json", type=Path, metavar="FILE", help="the records, kept up to date")
    output.add_argument("--plot", type=Path, metavar="FILE", help="a picture; needs matplotlib")
    output.add_argument("--compare", type=Path, metavar="FILE", help="an older --json to beat")
    output.add_argument("--from", type=Path, metavar="FILE", dest="source",
                        help="measure nothing: tables and plot of this --json")  # fmt: skip

    command = commands.add_parser("models", help="time whole models against plain torch")
    command.set_defaults(run=_models)
    command.add_argument("--model", nargs="+", choices=list(NETWORKS), default=list(NETWORKS),
                         metavar="NAME", help=", ".join(NETWORKS))  # fmt: skip
    command.add_argument("--dtype", nargs="+", choices=models.DTYPES, default=models.DTYPES)
    command.add_argument("--batch", type=int, default=0, help="default: each model's own")
    command.add_argument("--size", type=float, default=1.0, metavar="FACTOR",
                         help="of the length of every spatial axis (default: 1)")  # fmt: skip
    command.add_argument("--time-limit", type=float, default=5.0, metavar="S",
                         help="per pass, beyond the five pairs each gets (default: 5)")  # fmt: skip
    _add_training(command)

    command = commands.add_parser("curves", help="train ResNet-18 by plain torch and by torchconv")
    command.set_defaults(run=_curves)
    command.add_argument("--steps", type=int, default=100)
    command.add_argument("--batch", type=int, default=32)
    _add_training(command)

    command = commands.add_parser("growth", help="time against batch, channels, map and threads")
    command.set_defaults(run=_growth)
    command.add_argument("--time-limit", type=float, default=0.1, metavar="S", help="per point")
    command.add_argument("--json", type=Path, metavar="FILE", help="the points")
    command.add_argument("--plot", type=Path, metavar="FILE", help="a picture; needs matplotlib")
    command.add_argument("--from", type=Path, metavar="FILE", dest="source",
                         help="measure nothing: table and plot of this --json")  # fmt: skip

    command = commands.add_parser("memory", help="what each algorithm allocates beside its result")
    command.set_defaults(run=_memory)
    command.add_argument("--name", default="*", metavar="GLOB", help='for example "resnet50_*"')
    command.add_argument("--threads", type=int, default=torch.get_num_threads())

    command = commands.add_parser("overhead", help="time calls on a 4x4 image")
    command.set_defaults(run=_overhead)
    command.add_argument("--time-limit", type=float, default=2.0, metavar="S", help="per kind")

    command = commands.add_parser("pace", help="how fast this machine runs each algorithm")
    command.set_defaults(run=_pace)
    command.add_argument("--again", action="store_true", help="measure, whatever is kept")

    command = commands.add_parser("explain", help="show the plan for a problem line")
    command.set_defaults(run=_explain)
    command.add_argument("line", help="for example: output float32 channels=64>64 "
                         "input=56x56 kernel=3x3 padding=1x1")  # fmt: skip

    command = commands.add_parser("explorer", help="write the page that explains convolution")
    command.set_defaults(run=_explorer)
    command.add_argument("--out", type=Path, default=Path("explorer.html"), metavar="FILE")
    command.add_argument("--open", action="store_true", help="show it in a browser")
    return parser


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--thin", type=int, default=1, metavar="N", help="divides all widths")
    command.add_argument("--threads", type=int, default=torch.get_num_threads())
    command.add_argument("--quick", action="store_true", help="small: a first impression")
    command.add_argument("--json", type=Path, metavar="FILE", help="all of it, kept up to date")
    command.add_argument("--plot", type=Path, metavar="FILE", help="a picture; needs matplotlib")
    command.add_argument("--from", type=Path, metavar="FILE", dest="source",
                         help="run nothing: table and plot of this --json")  # fmt: skip


def _add_selection(group: argparse._ArgumentGroup) -> None:
    dtypes = [str(dtype).removeprefix("torch.") for dtype in TOLERANCES]
    group.add_argument("--workloads", type=Path, default=SHIPPED, metavar="FILE",
                       help="JSON list of shapes (default: the shipped ones)")  # fmt: skip
    group.add_argument("--problem", action="append", metavar="LINE", help="problem lines instead")
    group.add_argument("--regime", nargs="+", choices=list(REGIMES), metavar="NAME",
                       help=", ".join(REGIMES))  # fmt: skip
    group.add_argument("--name", default="*", metavar="GLOB", help='for example "resnet50_*"')
    group.add_argument("--dtype", nargs="+", choices=dtypes, help="default: float32")
    group.add_argument("--result", type=_results, metavar="output,input,weight",
                       help="forward, gradient by input, by weight (default: all)")  # fmt: skip
    group.add_argument("--batch", type=int, help="replaces every batch size")
    group.add_argument("--max-gflop", type=float, default=20.0, metavar="G",
                       help="larger cases are cut down, and say so (default: 20)")  # fmt: skip


def _add_conditions(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--threads", type=int, default=torch.get_num_threads())
    group.add_argument("--channels-last", action="store_true")
    group.add_argument("--keep-memory", action="store_true",
                       help="no page faults: freed memory stays mapped")  # fmt: skip
    forced = group.add_mutually_exclusive_group()
    forced.add_argument("--algorithm", nargs="+", choices=_C.algorithms(), metavar="NAME",
                        help="force: " + ", ".join(_C.algorithms()))  # fmt: skip
    forced.add_argument(
        "--all-algorithms",
        action="store_true",
        help="time each that might be fastest, and judge the planner",
    )
    group.add_argument("--time-limit", type=float, default=1.0, metavar="S",
                       help="per case, beyond the five pairs each gets (default: 1)")  # fmt: skip
    group.add_argument("--total-time-limit", type=float, default=float("inf"), metavar="S")
    group.add_argument("--quick", action="store_const", const=True,
                       help="small cases, few pairs: a first impression")  # fmt: skip


def _results(words: str) -> list[str]:
    chosen = words.split(",")
    if unknown := set(chosen) - set(RESULTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {RESULTS}")
    return chosen


def _explain(options: argparse.Namespace) -> int:
    print(plan(options.line))
    return 0


def _pace(options: argparse.Namespace) -> int:
    path = pace.file()
    if path and options.again:
        path.unlink(missing_ok=True)
    print(pace.table(pace.settle(), path))
    return 0


def _explorer(options: argparse.Namespace) -> int:
    explorer.save(options.out)
    print(options.out)
    if options.open:
        webbrowser.open(options.out.resolve().as_uri())
    return 0


def _overhead(options: argparse.Namespace) -> int:
    print(overhead.table(options.time_limit))
    return 0


def _models(options: argparse.Namespace) -> int:
    _check_plot(options)
    records: list[models.Record] = []
    if options.source:
        facts, records = models.load(options.source)
    else:
        if options.quick:
            options.batch, options.time_limit = 2, 0.0
            options.size, options.thin = min(options.size, 0.25), max(options.thin, 4)
        torch.set_num_threads(options.threads)
        facts = report.machine() | {"thin": options.thin}
        for record in models.run(
            options.model, options.dtype, batch=options.batch, size=options.size,
            thin=options.thin, time_limit_s=options.time_limit,
        ):  # fmt: skip
            records.append(record)
            print(models.summary(record), file=sys.stderr, flush=True)
            if options.json:
                models.save(facts, records, options.json)
    print(models.table(records))
    if options.plot:
        models.plot(facts, records, options.plot)
    return EXIT_ERRORS if any(record.error for record in records) else 0


def _curves(options: argparse.Namespace) -> int:
    _check_plot(options)
    if options.source:
        trained = curves.Curves.load(options.source)
    else:
        if options.quick:
            options.steps, options.batch, options.thin = 10, 8, max(options.thin, 4)
        torch.set_num_threads(options.threads)
        for trained in curves.run(options.steps, options.batch, options.thin):
            run, losses = list(trained.losses.items())[-1]
            words = f"{run}, step {len(losses)} of {options.steps}: loss {losses[-1]:.4f}"
            print(words, file=sys.stderr, flush=True)
            if options.json:
                trained.save(options.json)
    print(curves.table(trained))
    if options.plot:
        curves.plot(trained, options.plot)
    return 0 if trained.sound else EXIT_ERRORS


def _check_plot(options: argparse.Namespace) -> None:
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib: pip install torchconv[plot]")


def _growth(options: argparse.Namespace) -> int:
    if options.source:
        measured = growth.load(options.source)
    else:
        measured = list(growth.points(options.time_limit))
    if options.json:
        growth.save(measured, options.json)
    print(growth.table(measured))
    if options.plot:
        growth.plot(measured, options.plot)
    return 0


def _memory(options: argparse.Namespace) -> int:
    chosen = [workload for workload in load() if fnmatch(workload.name, options.name)]
    print(memory.table(memory.uses(chosen, options.threads)))
    return 0


def _bench(options: argparse.Namespace) -> int:
    _check_plot(options)
    if options.quick:
        options.max_gflop, options.time_limit = 1.0, 0.1
    older = report.Report.load(options.compare) if options.compare else None
    interrupted = False
    if options.source:
        measured = report.Report.load(options.source)
    else:
        torch.set_num_threads(options.threads)
        if options.keep_memory:
            bench.keep_memory()
        conditions = {"channels_last": options.channels_last, "keep_memory": options.keep_memory}
        measured = report.Report(report.machine() | conditions, [])
        interrupted = _measure(_cases(options), measured, options)
    if any(record.timing for record in measured.records):
        _present(measured, older, options.plot)
    errors = report.error_table(measured.records)
    print(errors, end="\n" if errors else "")
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_ERRORS if errors else 0


def _cases(options: argparse.Namespace) -> list[bench.Case]:
    cases = []
    for workloads, dtypes, results in _selected(options):
        cases += bench.cases(
            [with_batch(workload, options.batch or workload.input[0]) for workload in workloads],
            options.dtype or dtypes,
            options.result or results,
            _C.algorithms() if options.all_algorithms else options.algorithm or [bench.PLANNED],
            max_gflop=options.max_gflop,
            far=bench.FAR if options.all_algorithms else math.inf,
            channels_last=options.channels_last,
        )
    if not cases:
        raise ValueError("no case: no workload fits the options, or the algorithm refuses them")
    return cases


def _selected(options: argparse.Namespace) -> Iterator[Selection]:
    """Workloads, with the dtypes and results to measure where the user names none."""
    for line in options.problem or ():
        workload, result, dtype = from_line(line)
        yield [workload], [dtype], [result]
    if not options.problem:
        regimes = options.regime or REGIMES
        chosen = [
            workload
            for workload in load(options.workloads)
            if fnmatch(workload.name, options.name) and classify(workload).name in regimes
        ]
        yield chosen, ["float32"], RESULTS


def _measure(cases: list[bench.Case], into: report.Report, options: argparse.Namespace) -> bool:
    """Fills the report and its file case by case. Returns whether the user stopped it."""
    start = time.monotonic()
    records = bench.run(cases, time_limit_s=options.time_limit)
    try:
        for done, record in enumerate(records, 1):
            into.records.append(record)
            if options.json:
                into.save(options.json)
            elapsed_s = time.monotonic() - start
            left_s = elapsed_s / done * (len(cases) - done)
            print(
                f"[{done:>{len(str(len(cases)))}}/{len(cases)}] {_clock(elapsed_s)}, "
                f"{_clock(left_s)} left  {report.summary(record)}",
                file=sys.stderr,
                flush=True,
            )
            if elapsed_s > options.total_time_limit and done < len(cases):
                print(f"Out of time: {len(cases) - done} cases not run.", file=sys.stderr)
                break
    except KeyboardInterrupt:
        print(f"Stopped after {len(into.records)} of {len(cases)} cases.", file=sys.stderr)
        return True
    return False


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _present(measured: report.Report, older: report.Report | None, plot_file: Path | None) -> None:
    facts = ", ".join(f"{key} {value}" for key, value in measured.machine.items())
    tables = [facts, report.worst_table(measured.records)]
    if older:
        tables.append(report.comparison(measured, older))
    tables += filter(None, [report.choice_table(measured.records)])
    tables.append(report.mean_table(measured.records))
    print("\n\n".join(tables))
    if plot_file:
        from torchconv.tools import plot  # needs matplotlib, which is optional

        plot.save(measured, plot_file)


if __name__ == "__main__":
    sys.exit(main())
