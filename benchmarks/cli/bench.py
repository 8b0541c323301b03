"""`dmd-bench`: measure bundles on this machine; `dmd-bench compare`: compare two runs."""

import sys
import time
import traceback
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from benchmarks.suites.catalog import SUITES, load
from calibration.cli.compare import TRUTH_HELP
from runtime.cli import console
from runtime.cli.inputs import positive
from runtime.errors import BenchmarkError, UsageError, error_line
from runtime.machine.tensorrt_editions import DEVICES

if TYPE_CHECKING:
    from benchmarks.report.results import Result
    from benchmarks.suites.setting import Setting
    from calibration.truth import Truth


def main() -> NoReturn:
    if sys.argv[1:2] == ["compare"]:
        _compare(sys.argv[2:])
    parser = console.Parser(
        "dmd-bench",
        "Measure bundles on this machine (docs/benchmarks.md). "
        "`dmd-bench compare OLD.json NEW.json` lists what got worse.",
    )
    add = parser.add_argument
    suite = "what to measure (default: all)"
    add("suite", nargs="?", choices=("all", *SUITES), default="all", help=suite)
    bundle = "bundle to measure; may be given several times"
    add("--bundle", action="append", required=True, type=Path, help=bundle)
    add("--device", choices=("auto", *DEVICES), default="auto", help="default: %(default)s")
    batch = "numbers of faces in a call (default: %(default)s)"
    add("--batch", type=_numbers, default="1,4", metavar="1,2,4,8", help=batch)
    references = "numbers of references (default: %(default)s)"
    add("--references", type=_counts, default="0,1,5,10,20", metavar="0,1,5", help=references)
    threads = "CPU threads of an engine: the largest number given; throughput with each"
    add("--threads", type=_numbers, metavar="1,2", help=threads)
    duration = "seconds to measure each bundle in each case (default: 6)"
    add("--duration", type=positive, default=6, metavar="S", help=duration)
    quick = "fewer cases and rounds: under 3 minutes on two cores"
    add("--quick", action="store_true", help=quick)
    null = "for pipeline: also photos a second with an engine that gives faces back as they are"
    add("--null-engine", action="store_true", help=null)
    baseline = "measure our PyTorch module too, and compare the bundles with it"
    add("--baseline", choices=("torch",), help=baseline)
    add("--checkpoint", help="weights of the PyTorch module, as for dmd-export")
    add("--truth", type=Path, metavar="DIR", help=f"for quality: {TRUTH_HELP}")
    add("--json", type=Path, metavar="FILE", help="write the results as JSON")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    add("--html", type=Path, metavar="FILE", help="write a page with tables, plots and faces")
    args = parser.parse_args()
    console.run(parser.prog, lambda: bench(args))


def bench(args: Namespace) -> int:
    """Run the suites; write what was measured even if one of them fails, and say so."""
    from benchmarks.measure.peaks import peaks
    from benchmarks.report import tables
    from benchmarks.suites.runners import Cases, open_runners
    from benchmarks.suites.setting import Setting, nearest_to_usual
    from calibration.truth import truth_set

    for file in (args.json, args.markdown, args.html):
        if file is not None and not file.absolute().parent.is_dir():
            raise BenchmarkError(f"{file}: its folder does not exist")
    suites = list(SUITES) if args.suite == "all" else [args.suite]
    if args.truth is not None and "quality" not in suites:
        raise UsageError("--truth needs the suite quality, or all")
    if args.null_engine and "pipeline" not in suites:
        raise UsageError("--null-engine needs the suite pipeline, or all")
    truth = truth_set(args.truth)
    for reason in truth.warnings:
        console.say(f"dmd-bench: warning: {reason}")
    modes = ["eager"] if args.quick else ["eager", "compile", "both"]
    *fewer, threads = args.threads or (None,)
    references = args.references
    if args.quick:
        references = tuple(sorted({references[0], nearest_to_usual(references)}))
    modes = modes if args.baseline else []
    with open_runners(args.bundle, args.device, threads, args.checkpoint, modes) as runners:
        console.say("dmd-bench: measuring the machine's peak ...")
        baseline = "torch eager" if args.baseline else runners[0].subject.name
        setting = Setting(
            runners,
            Cases(runners[0].memorize, max(args.references)),
            peaks(threads, on_gpu=not all(runner.on_cpu for runner in runners)),
            device=args.device,
            threads=threads,
            fewer_threads=tuple(fewer),
            batches=args.batch[:1] if args.quick else args.batch,
            references=references,
            duration=1 if args.quick else args.duration,
            quick=args.quick,
            null_engine=args.null_engine,
            baseline=baseline if len(runners) > 1 else None,
            truth=truth,
        )
        result = _measure(setting, suites, args)
    tables.show(result)
    for name, error in result.errors.items():
        console.say(f"dmd-bench: {name}: {error}")
    return console.FAILED if result.errors else 0


def _measure(setting: "Setting", suites: list[str], args: Namespace) -> "Result":
    """Run the suites, and write the files after each, so that nothing measured is lost."""
    from tqdm import tqdm

    from benchmarks.measure.machine import circumstances
    from benchmarks.report.results import Measurement, Result
    from benchmarks.suites.example_faces import before_and_after

    start = time.monotonic()
    measurements: list[Measurement] = []
    errors: dict[str, str] = {}
    pictures = before_and_after(setting) if args.html else ()
    before = {"gpu_clocks_before": circumstances()["machine"]["gpu_clocks"]}
    result = None
    with tqdm(suites, unit="suite", disable=None, leave=False) as bar:
        for name in bar:
            bar.set_description(name)
            if bar.disable:  # no terminal for a bar
                console.say(f"dmd-bench: {name} ...")
            try:
                for measurement in load(name)(setting):
                    measurements.append(measurement)
            except Exception as error:  # whatever a suite raises, the others are measured
                console.check_interrupted()
                console.say_trace("".join(traceback.format_exception(error)))
                errors[name] = error_line(error)
            now = circumstances()
            now["machine"] |= before
            result = Result(
                **now,
                options={
                    "suite": args.suite,
                    "device": setting.device,
                    "threads": [*setting.fewer_threads, setting.threads],
                    "batches": list(setting.batches),
                    "references": list(setting.references),
                    "duration_s": setting.duration,
                    "quick": setting.quick,
                    **(_truth_options(setting.truth) if "quality" in suites else {}),
                },
                peaks=dict(setting.peaks),
                subjects=tuple(runner.subject for runner in setting.runners),
                measurements=tuple(measurements),
                pictures=pictures,
                errors=errors,
                seconds=round(time.monotonic() - start, 1),
            )
            _write(result, args)
    assert result is not None
    return result


def _truth_options(truth: "Truth") -> dict[str, Any]:
    from calibration.truth import RECIPES

    recipes = {f"x{recipe.shrink:g}": recipe.text for recipe in RECIPES}
    return {"truth": {"source": truth.source, "sha256": truth.digest} | recipes}


def _write(result: "Result", args: Namespace) -> None:
    from runtime.storage.local import write_atomically

    if args.json is not None:
        result.write(args.json)
    if args.markdown is not None:
        from benchmarks.report.tables import markdown

        write_atomically(args.markdown, markdown(result).encode())
    if args.html is not None:
        from benchmarks.report.html import report

        write_atomically(args.html, report(result).encode())


def _compare(words: list[str]) -> NoReturn:
    from benchmarks.report.compare import fraction, main_compare

    parser = console.Parser("dmd-bench compare", "List what got worse from one run to another.")
    parser.add_argument("old", type=Path, help="JSON of the earlier run")
    parser.add_argument("new", type=Path, help="JSON of the later run")
    allowed = "fail where a value got worse by more than this share (default: 5%%)"
    parser.add_argument("--fail-above", type=fraction, default=0.05, metavar="5%", help=allowed)
    args = parser.parse_args(words)
    console.run(parser.prog, lambda: main_compare(args.old, args.new, args.fail_above))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive(part) for part in text.split(",")}))


def _counts(text: str) -> tuple[int, ...]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise ArgumentTypeError(f"{text!r} is not a list of whole numbers")
    return tuple(sorted({int(part) for part in text.split(",")}))
