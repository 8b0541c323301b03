"""Starts processes that try inputs, watches them, and adds up what became of the inputs."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.rule import Tally

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
"""Seconds for one input: far more than any takes that does not hang."""


def explore(
    name: str,
    work: Path,
    save: Path,
    *,
    seed: int,
    examples: int = 0,
    seconds: float = 0,
    patience: float = PATIENCE_S,
) -> Tally:
    """Try `examples` inputs of a kind, or those of some `seconds`; faults go to the folder `save`.

    A process that hangs or dies is a fault too, and its input is kept; where there is time left,
    another goes on with other inputs. `work` is a folder that is removed afterwards; `patience` is
    how many seconds one input may take.
    """
    found = Tally()
    save.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    while True:
        shutil.rmtree(work, ignore_errors=True)
        for part in ("inside", "cwd", "home", "tmp"):
            (work / part).mkdir(parents=True)
        left = max(0.0, end - time.monotonic()) if seconds else 0.0
        died = _run(name, work.resolve(), seed, examples, left, patience)
        if (work / "tally.json").exists():
            found.add(json.loads((work / "tally.json").read_text()))
        for file in (work / "faults").glob("*"):
            shutil.copy(file, save)
        begun = (work / "current").exists()
        if died is not None:
            found.faults[died] += 1
            (save / f"{name}-{seed}-died.txt").write_text(f"{died}\n")
            if begun:
                found.tried += 1
                shutil.copy(work / "current", save / f"{name}-{seed}-died.input")
        shutil.rmtree(work, ignore_errors=True)
        if died is None or not begun or time.monotonic() >= end:
            return found
        seed += 1000


def _run(
    name: str, work: Path, seed: int, examples: int, seconds: float, patience: float
) -> str | None:
    """One process; returns how it ended if it did not come to its end by itself."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HOME": str(work / "home"),
        "TMPDIR": str(work / "tmp"),
        "XDG_CACHE_HOME": str(work / "inside" / "cache"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(work / "hypothesis"),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "tests.fuzz.child", name, work, seed, examples, seconds]
    current = work / "current"
    with (work / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            list(map(str, words)), cwd=work / "cwd", env=environment, stdout=stderr, stderr=stderr
        )
        started = time.time()
        try:
            while process.poll() is None:
                time.sleep(0.05)
                since = current.stat().st_mtime if current.exists() else started
                if time.time() - since > patience:
                    return f"hang: over {patience:g} s"
        finally:
            process.kill()
            process.wait()
    if process.returncode == 0:
        return None
    said = (work / "stderr").read_text(errors="replace").strip().splitlines()
    return f"the process ended with {process.returncode}: {said[-1][:200] if said else ''}"
