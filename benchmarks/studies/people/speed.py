"""What recognising costs: of a face on one core, and of an archive run with ten people.

Each archive run is a `dmd-restore` of its own, and counts from its first photo written to its last:
without people; with one person's dictionary for every face; and with ten people, two of whom are in
the photos. So the ratio of the last to the first has what references cost the network, and the
ratio of the last to the second what recognising costs.
"""

import operator
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.timing import race
from benchmarks.suites.ceiling import make_photos
from runtime.errors import BenchmarkError
from runtime.people.matching import Person, who
from runtime.people.recognition import Recognizer
from runtime.restorer import Restorer
from runtime.samples.faces import samples

PEOPLE = 10
MOST_S = 0.010  # to recognise a face on one core
MOST_RATIO = 1.05  # of an archive run with ten people, to one without
WITHOUT, IDENTITY, TEN = "without people", "one dictionary for all faces", "ten people"
_SIDES = (1200, 900)  # of a photo, one face each
_RUN = "from runtime.cli.restore import main; main()"


@dataclass(frozen=True)
class Cost:
    """Seconds of a core for a face: to say who it is, and to compare it again when restored."""

    recognising: float
    likeness: float


def measure(bundle: Path, photos: int, rounds: int) -> dict[str, object]:
    """Both costs; `failures` says which goal was missed."""
    face = of_a_face()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_photos(place / "in", photos, _SIDES)
        enroll(bundle, place / "people")
        options = {
            WITHOUT: [],
            IDENTITY: ["--identity", f"{place}/people/person-0.safetensors"],
            TEN: ["--people", f"{place}/people"],
        }
        works: dict[str, Callable[[], float]] = {
            name: partial(run, bundle, place, words) for name, words in options.items()
        }
        times = race(works, fewest=rounds, measured=operator.call)
    over_none = times[TEN].against(times[WITHOUT], WITHOUT)
    failures = []
    if face.recognising > MOST_S:
        failures.append(f"{1000 * face.recognising:.1f} ms a face, over {1000 * MOST_S:g}")
    if over_none.median > MOST_RATIO:
        failures.append(f"an archive run takes {over_none.median:.3f} times as long")
    return {
        "what": f"{photos} photos of {_SIDES[0]} x {_SIDES[1]} with one face; {PEOPLE} people",
        "rounds": rounds,
        "seconds_a_face_on_one_core": face,
        "ten_people_over_none": over_none,
        "ten_people_over_one": times[TEN].against(times[IDENTITY], IDENTITY),
        "times_s": {name: each.seconds for name, each in times.items()},
        "failures": failures,
    }


def of_a_face() -> Cost:
    """Seconds of CPU time that an aligned face takes among ten people, by one thread: medians."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        recognizer, (first, second) = Recognizer(1), (each.rgb for each in samples())
        known = recognizer.describe([first, second])
        people = [Person.of("0", known[:1]), Person.of("1", known[1:])]
        people += [Person.of(str(n), _nobody(n)) for n in range(2, PEOPLE)]

        def recognise() -> None:
            assert who(recognizer.describe([first]), people)[0].name == "0"

        def compare() -> None:
            assert people[0].distances(recognizer.describe([second]))[0] > 0

        works = {"recognise": recognise, "compare": compare}
        times = race(works, duration=5.0, fewest=20, measured=_core_seconds)
        return Cost(times["recognise"].median, times["compare"].median)
    finally:
        cv2.setNumThreads(threads)


def enroll(bundle: Path, folder: Path) -> None:
    """Write the dictionaries of ten people, the first two of whom are the built-in ones.

    The others have the numbers of nobody: what a person costs does not depend on who it is.
    """
    folder.mkdir()
    with Restorer(bundle, device="cpu") as restorer:
        made = [restorer.memorize([each.image], [each.landmarks]) for each in samples()]
    for number in range(PEOPLE):
        person = replace(made[number % 2], name=f"person-{number}")
        if number >= len(made):
            person = replace(person, vectors=_nobody(number))
        person.save(folder / f"person-{number}.safetensors")


def run(bundle: Path, place: Path, options: list[str]) -> float:
    """Restore the photos once; seconds from the first output to the last, which are removed.

    Raises `BenchmarkError` if a photo failed.
    """
    out = place / "out"
    words = [str(place / "in"), "--bundle", str(bundle), "--out", str(out), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *words, *options], capture_output=True, text=True
    )
    if done.returncode:
        raise BenchmarkError(f"dmd-restore failed: {(done.stderr.splitlines() or ['?'])[-1]}")
    written = [file.stat().st_mtime for file in out.iterdir()]
    shutil.rmtree(out)
    return max(written) - min(written)


def _core_seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _nobody(number: int) -> NDArray[np.float32]:
    """A vector (1, 128) as long as that of a face, far from all faces."""
    made = np.random.default_rng(number).standard_normal((1, 128))
    return (1.5 * made / np.linalg.norm(made)).astype(np.float32)
