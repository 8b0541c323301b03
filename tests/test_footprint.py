"""Memory of the main command, full size. Speed is measured by `benchmarks`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SAMPLES

pytestmark = pytest.mark.slow

# a process in between: a child's peak counts what its parent held when it forked
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_peak_memory_of_one_restore(full_bundle: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("dmd-restore")
    words = [str(program), str(SAMPLES / "astronaut.png"), "--bundle", str(full_bundle)]
    words += ["--out", str(tmp_path), "--threads", "2"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    peak = int(done.stdout) * 1024  # ru_maxrss is in KiB on Linux
    assert 5e8 < peak < 1.4e9
