"""Ctrl-C at random moments of an engine build and of an export; by hand, some ten minutes.

    python -m tests.export.interruptions [--moments 20] [--seed 0] [--early 0]

Each moment is a process of its own, on a narrow network, that gets SIGINT. Wanted, each time: exit
code 130, one line that says so, no traceback, nothing beside or in the output, no process left.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from export.model.synthetic import synthetic_state
from runtime.bundle.engine_record import FOLDER

_COMMANDS = Path(sys.executable).parent
_INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=20, help="of each command (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--latest", type=float, help="seconds (default: what the command takes)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="interruptions-") as name:
        folder = Path(name)
        checkpoint, bundle = folder / "narrow.pth", folder / "exported" / "bundle"
        torch.save(synthetic_state(seed=1, width=8, entries=4), checkpoint)
        bundle.parent.mkdir()
        export = [_COMMANDS / "dmd-export", "--fp16", "--checkpoint", checkpoint, "--out", bundle]
        export += ["--engine", "tensorrt-rtx"]
        build = [_COMMANDS / "dmd-build-engine", bundle, "--engine", "tensorrt-rtx"]
        rng = random.Random(args.seed)

        def try_out(command: list[str | Path], clean: Callable[[], bool]) -> int:
            print(f"{Path(command[0]).name}: signal at s, exit code, s to exit, verdict", flush=True)
            latest = args.latest or _seconds(command)
            moments = sorted(rng.uniform(0, latest) for _ in range(args.moments))
            return sum(not _interrupt(command, moment, clean) for moment in moments)

        def nothing_exported() -> bool:
            left = list(bundle.parent.iterdir())
            shutil.rmtree(bundle, ignore_errors=True)
            return left == []

        def nothing_built() -> bool:
            left = {path.name for path in (bundle / FOLDER).glob("*")}
            shutil.rmtree(bundle / FOLDER, ignore_errors=True)
            return left <= {".lock"}

        subprocess.run([*export, "--engine", "none"], check=True, stderr=subprocess.DEVNULL)
        failed = try_out(build, nothing_built)
        shutil.rmtree(bundle)
        failed += try_out(export, nothing_exported)
        print(f"{2 * args.moments} moments, {failed} failed")
        return 1 if failed else 0


def _seconds(command: list[str | Path]) -> float:
    """How long the command takes when it is left alone; what it made goes."""
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.monotonic() - start
    shutil.rmtree(next(word / FOLDER for word in command if isinstance(word, Path) and word.is_dir()))
    return seconds


def _interrupt(command: list[str | Path], moment: float, clean: Callable[[], bool]) -> bool:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0
    )
    time.sleep(moment)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    seconds = time.monotonic() - start
    faults = []
    if process.returncode != _INTERRUPTED:
        faults.append("exit code")
    if "Traceback" in said:
        faults.append("traceback")
    if not clean():
        faults.append("leftovers")
    print(f"{moment:8.3f} {process.returncode:5} {seconds:6.2f}  {', '.join(faults) or 'good'}")
    if faults:
        print(said)
    sys.stdout.flush()
    return not faults


if __name__ == "__main__":
    sys.exit(main())
