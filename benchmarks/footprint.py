"""Peak memory of a command."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from export.samples import SAMPLES
from runtime.errors import BenchmarkError

# a process in between: a child's peak counts what its parent held when it forked
_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def peak_bytes(words: Sequence[str]) -> int:
    """Of all processes that the command starts, the largest one's. Linux only.

    Raises `BenchmarkError` with the last line that it said, if it fails.
    """
    done = subprocess.run([sys.executable, "-c", _MEASURE, *words], capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{words[0]}: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout) * 1024  # ru_maxrss is in KiB


def restore_command(bundle: Path, out: Path, threads: int) -> list[str]:
    """`dmd-restore` of one aligned sample."""
    program = Path(sys.executable).with_name("dmd-restore")
    words = [str(program), str(SAMPLES / "astronaut.png"), "--bundle", str(bundle)]
    return [*words, "--out", str(out), "--threads", str(threads)]
