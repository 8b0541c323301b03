"""Measure a GPU step by step: ONNX Runtime's CUDA provider against PyTorch, and its parity.

    python -m benchmarks.studies.gpu --checkpoint synthetic --work DIR --json FILE --minutes 9
    python -m benchmarks.studies.gpu --shared ../shared --work DIR --json FILE    # goldens too

Each step runs in a process of its own, and FILE is written after each. The same call again, on this
machine or another, goes on with the steps that FILE lacks, and then with those that failed.
`--rehearse` tries every step on the CPU. The package must be installed, as its metadata is read.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from benchmarks.measure.machine import circumstances
from benchmarks.studies import record
from benchmarks.studies.gpu.steps import STEPS, Plan, prepare
from runtime.cli import console
from runtime.cli.inputs import positive
from runtime.errors import BenchmarkError

LONGEST_S = 540  # of a step: what runs it may be cut off after ten minutes
LEAST_S = 60  # in which a step gets somewhere
_FIRST = prepare.__name__
_STEP = "import sys; from benchmarks.studies.gpu.steps import write_rows; write_rows(*sys.argv[1:])"
_REHEARSED_S = 3600  # the same on a CPU, which may be busy
_SAID = 30  # lines of stderr that are kept of a step that failed

Done = dict[str, Any]
"""What `run_step` gives."""


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.gpu", __doc__)
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--checkpoint", help="weights, as for dmd-export")
    shared = "folder of the research data, for the goldens and their weights"
    weights.add_argument("--shared", type=Path, metavar="DIR", help=shared)
    work = "folder for the bundles, which are made if they are missing"
    parser.add_argument("--work", required=True, type=Path, metavar="DIR", help=work)
    minutes = "start no step in the last of so many minutes, and end it then (default: no limit)"
    parser.add_argument("--minutes", type=positive, help=minutes)
    steps = f"only these, after {_FIRST} (default: {','.join(STEPS)})"
    parser.add_argument("--steps", type=_names, metavar="NAME,NAME", default=STEPS, help=steps)
    rehearse = "few cases and short times, on the CPU"
    parser.add_argument("--rehearse", action="store_true", help=rehearse)
    args = parser.parse_args()
    record.record(parser.prog, args.json, partial(measure, args))


def _names(text: str) -> Sequence[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in STEPS]:
        raise ArgumentTypeError(f"there is no step {unknown[0]!r}")
    return names


def measure(args: Namespace) -> dict[str, Any]:
    """Run the steps that the file lacks, then those that failed, and write it after each.

    The first step makes what all others need, on whichever machine this is: it always runs.
    Raises `BenchmarkError` if the file is of another plan, or of other weights.
    """
    shared = str(args.shared) if args.shared else None
    plan = Plan(str(args.work), args.checkpoint, shared, args.rehearse)
    steps = _known(args.json, plan)
    args.work.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    longest = _REHEARSED_S if args.rehearse else LONGEST_S
    others = [name for name in STEPS if name in args.steps and name != _FIRST]
    missing = [name for name in others if name not in steps]
    failed = [name for name in others if name in steps and steps[name]["error"]]
    for name in (_FIRST, *missing, *failed):
        left = min(longest, end - time.monotonic())
        if left < LEAST_S:
            break
        console.say(f"gpu: {name} ...")
        done = run_step(name, plan, left)
        if name == _FIRST:
            _refuse_other_weights(args.json, steps.get(name), done)
        steps[name] = _better(steps.get(name), done)
        record.write(args.json, _result(plan, steps, args.steps))
        if steps[_FIRST]["error"]:
            break
    return _result(plan, steps, args.steps)


def _known(path: Path, plan: Plan) -> dict[str, Done]:
    """The steps of the file, if it is there."""
    if not path.exists():
        return {}
    written = json.loads(path.read_text())
    theirs = msgspec.convert(written.get("plan"), Plan | None)
    if theirs is None or theirs.measured != plan.measured:
        raise BenchmarkError(f"{path} is of another plan than this one: name another file")
    steps: dict[str, Done] = written["steps"]
    return steps


def _refuse_other_weights(path: Path, before: Done | None, now: Done) -> None:
    theirs, ours = (
        {row["weights"] for row in (done or {"rows": []})["rows"] if "weights" in row}
        for done in (before, now)
    )
    if theirs and ours and theirs != ours:
        raise BenchmarkError(f"{path} has figures of other weights: name another file")


def _better(before: Done | None, now: Done) -> Done:
    """Of two attempts at a step, the later one, unless both failed and it has fewer rows."""
    if before and before["error"] and now["error"] and len(before["rows"]) > len(now["rows"]):
        return before
    return now


def _result(plan: Plan, steps: Mapping[str, Done], asked: Sequence[str]) -> dict[str, Any]:
    failures = [
        f"{name}: {steps[name]['error'] if name in steps else 'did not run'}"
        for name in STEPS
        if (name in asked or name == _FIRST) and (name not in steps or steps[name]["error"])
    ]
    return {"plan": msgspec.to_builtins(plan), "steps": steps, "failures": failures}


def run_step(name: str, plan: Plan, limit_s: float) -> Done:
    """Run one step in a process of its own: after a failure of CUDA, all its calls would fail.

    Returns date, machine and versions, its rows, also those from before an error, its seconds, the
    error as a line or None, and the last lines of its stderr if there was one.
    """
    begun = circumstances()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder) / "rows", Path(folder) / "log"
        words = [sys.executable, "-c", _STEP, name, msgspec.json.encode(plan).decode(), str(rows)]
        with (
            log.open("wb") as stderr,
            subprocess.Popen(words, stderr=stderr, start_new_session=True) as process,
        ):
            try:
                code = process.wait(limit_s)
                error = f"exit code {code}" if code else None
            except subprocess.TimeoutExpired:
                error = f"cut off after {limit_s:.0f} s"
            finally:  # with what it started: the next step must have the GPU to itself
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        said = log.read_text(errors="replace").strip().splitlines()[-_SAID:] if error else []
        if said and error and error.startswith("exit code"):
            error = f"{error}: {said[-1]}"
        # behind the last line end is one that was not finished
        lines = rows.read_text().split("\n")[:-1] if rows.exists() else []
    seconds = round(time.monotonic() - start, 1)
    found = [json.loads(line) for line in lines]
    return {**begun, "seconds": seconds, "error": error, "stderr": said, "rows": found}


if __name__ == "__main__":
    main()
