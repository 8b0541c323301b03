"""Run commands as processes of their own, and measure their peak memory on host and GPU."""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import BenchmarkError
from runtime.samples.faces import SAMPLES

# a process in between: a child's peak counts what its parent held when it forked
_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def output_of(words: Sequence[str], what: object) -> str:
    """Run a command and return its output; `what`: how an error names it.

    Raises `BenchmarkError` with the command's last line if it fails.
    """
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BenchmarkError(f"{what}: {said[-1]}")
    return done.stdout


def peak_bytes(words: Sequence[str]) -> int:
    """Peak memory of the largest process that the command starts, in bytes. Linux only.

    Raises `BenchmarkError` with the command's last line if it fails.
    """
    said = output_of([sys.executable, "-c", _MEASURE, *words], shlex.join(words))
    return int(said) * 1024  # ru_maxrss is in KiB


def peak_gpu_bytes(words: Sequence[str]) -> int | None:
    """Peak memory of the first GPU while the command runs, in bytes over what was in use before.

    It is read from nvidia-smi five times a second; None if that is not installed, or does not tell,
    as of a GPU that shares the host's memory.
    """
    if shutil.which("nvidia-smi") is None or (before := _gpu_bytes()) is None:
        return None
    most = 0
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, _gpu_bytes() or 0)
            time.sleep(0.2)
    if process.returncode:
        raise BenchmarkError(f"{shlex.join(words)}: exit code {process.returncode}")
    return max(0, most - before)


def _gpu_bytes() -> int | None:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    said = output_of(query, "nvidia-smi").split()[0]  # "[N/A]" where it does not tell
    return int(said) << 20 if said.isdecimal() else None


def restore_command(bundle: Path, out: Path, threads: int | None) -> list[str]:
    """The command line of a `dmd-restore` of one aligned sample."""
    # what the program dmd-restore does, wherever pip has put that
    words = [sys.executable, "-c", "from runtime.cli.restore import main; main()"]
    words += [str(SAMPLES / "astronaut.png"), "--bundle", str(bundle), "--out", str(out)]
    return words if threads is None else [*words, "--threads", str(threads)]
