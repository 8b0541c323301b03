"""Memory of the main command at full size, and over many photos; `benchmarks` measures speed."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure.memory import peak_bytes, restore_command
from benchmarks.suites.ceiling import SIZES, make_photos
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


# restores an archive of 200 photos, and prints the peak after 40 of them and after all
ARCHIVE = """
import sys
from pathlib import Path
from runtime.archive.job import Job, Picture
from runtime.archive.local import restore_archive
bundle, folder, out = sys.argv[1:]
data = [file.read_bytes() for file in sorted(Path(folder).iterdir())]
pictures = (Picture(f"{number}.jpg", data[number % len(data)]) for number in range(200))
job = Job(bundle, out, device="cpu", threads=2)
for count, outcome in enumerate(restore_archive(job, pictures), start=1):
    assert outcome.faces, outcome.error
    Path(outcome.output).unlink()
    if count in (40, 200):
        print(next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM")))
"""


@pytest.mark.soak
def test_memory_of_an_archive_does_not_grow(bundle: Path, tmp_path: Path) -> None:
    """Of 12 megapixels each: what is bounded is the number of pixels that are on their way."""
    make_photos(tmp_path / "in", 4, SIZES[-1])
    words = [sys.executable, "-c", ARCHIVE, str(bundle), str(tmp_path / "in"), str(tmp_path)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    early, late = (int(peak) << 10 for peak in done.stdout.split())
    assert late < 1.05 * early
    assert late < 1.5e9
