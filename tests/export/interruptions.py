"""Ctrl-C at random moments of an engine build or an export; run by hand, for several minutes.

    python -m tests.export.interruptions {build,export} [--moments 20] [--seed 0] [--latest S]

Each moment is a process of its own, on a narrow network, that gets SIGINT. Wanted, each time: exit
code 130, no traceback, no process left, and nothing in or beside the output, unless it is whole.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from export.model.synthetic import synthetic_state
from runtime.backends.tensorrt.engine_files import check_engine, read_records
from runtime.bundle.engine_record import FOLDER
from runtime.bundle.opening import open_bundle

_COMMANDS = Path(sys.executable).parent
_INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(description="Ctrl-C at random moments.")
    parser.add_argument("command", choices=("build", "export"))
    parser.add_argument("--moments", type=int, default=20, help="default: 20")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--latest", type=float, help="seconds (default: what the command takes)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="interruptions-") as folder:
        checkpoint, out = Path(folder) / "narrow.pth", Path(folder) / "exported" / "bundle"
        # of a size whose graphs are traced, which takes most of an export
        torch.save(synthetic_state(seed=1, width=8, entries=4), checkpoint)
        out.parent.mkdir()
        command: list[str | Path] = [_COMMANDS / "dmd-export", "--fp16", "--out", out]
        command += ["--checkpoint", checkpoint, "--engine"]
        made = out
        if args.command == "build":
            subprocess.run([*command, "none"], check=True, capture_output=True)
            command = [_COMMANDS / "dmd-build-engine", out, "--engine"]
            made = out / FOLDER
        command.append("tensorrt-rtx")
        latest = args.latest
        if latest is None:
            start = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            latest = time.monotonic() - start
            shutil.rmtree(made)
        rng = random.Random(args.seed)
        print(f"moments of {latest:.1f} s: signal at s, exit code, s to exit, verdict", flush=True)
        failed = 0
        tried = 0
        while tried < args.moments:
            faults = _interrupt(command, rng.uniform(0, latest))
            if faults is None:  # it was over already
                shutil.rmtree(made)
                continue
            tried += 1
            left = {str(path.relative_to(out.parent)) for path in out.parent.rglob(".*.tmp")}
            if made.exists() and not _whole(out):
                left |= {path.name for path in made.iterdir()} - {".lock"}
            if left:
                faults.append(f"left: {', '.join(sorted(left))}")
            shutil.rmtree(made, ignore_errors=True)
            print("; ".join(faults) or "good", flush=True)
            failed += bool(faults)
        print(f"{args.moments} moments, {failed} failed")
        return 1 if failed else 0


def _interrupt(command: list[str | Path], moment: float) -> list[str] | None:
    """What was wrong with it; None if it ended by itself before the moment."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0
    )
    time.sleep(moment)
    if process.poll() is not None:
        return None
    children = _children(process.pid)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate()[1]
    seconds = time.monotonic() - start
    print(f"{moment:8.3f} {process.returncode:5} {seconds:6.2f}  ", end="")
    stays = any(Path(f"/proc/{child}").exists() for child in children)
    # in Python's own first and last moments the signal itself ends it, which a shell calls 130 too
    wrong = process.returncode not in (_INTERRUPTED, -signal.SIGINT) or "Traceback" in said
    faults = ["a process stays"] if stays else []
    return [*faults, f"said:\n{said}"] if wrong else faults


def _whole(bundle: Path) -> bool:
    """Whether the command was done before it was interrupted: all is there, with its hashes."""
    records = read_records(open_bundle(bundle).path)
    for record in records:
        check_engine(bundle, record, verify=True, build="")
    return len(records) == 2


def _children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


if __name__ == "__main__":
    sys.exit(main())
