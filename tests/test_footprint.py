"""Memory of the main command at full size, and over many photos; `benchmarks` measures speed."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure.memory import peak_bytes, restore_command
from tests.conftest import SAMPLES

pytestmark = pytest.mark.long


def test_peak_memory_of_one_restore(full_bundle: Path, tmp_path: Path) -> None:
    assert 5e8 < peak_bytes(restore_command(full_bundle, tmp_path, 2)) < 1.4e9


# restores photos of changing sizes, and prints the memory held after 20 and after 200
MANY = """
import sys, cv2
from runtime import Restorer
from runtime.images.files import read_image
photo = read_image(sys.argv[2])
with Restorer(sys.argv[1], device="cpu") as restorer:
    for turn in range(1, 201):
        side = 300 + turn * 37 % 400
        assert restorer.restore(cv2.resize(photo, (side, side))).restored
        if turn in (20, 200):
            print(next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmRSS")))
"""


@pytest.mark.soak
def test_memory_does_not_grow(bundle: Path) -> None:
    words = [sys.executable, "-c", MANY, str(bundle), str(SAMPLES / "photos/astronaut.png")]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late < 1.1 * early
