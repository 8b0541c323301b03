"""How fast all is that surrounds the network: photos with a null engine, against the floor."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.timing import Ratio, Times, Work, race
from benchmarks.report.results import Measurement
from benchmarks.suites.example_faces import background, lay
from benchmarks.suites.photograph import Stages, photograph
from benchmarks.suites.setting import Setting, measurement
from runtime.archive.job import Job, Picture
from runtime.archive.local import ArchiveRestorer
from runtime.backends.base import Boxes, Rows
from runtime.errors import BenchmarkError
from runtime.images.arrays import Image
from runtime.images.encoding import encode
from runtime.images.files import decode_photo, write_image
from runtime.restorer import Restorer
from runtime.samples.faces import samples

SIZES = ((1200, 900), (4000, 3000))
"""Width and height of the photos."""

NULL, FLOOR = "null engine", "floor"

_PIXELS, _FEWEST = 48_000_000, 8  # of all photos of a run, and of them
_FACE = (0.125, 0.4)  # side of a face's crop, as a share of the photo's width


class NullEngine:
    """Gives faces back as they are, eight at a time; it memorises nothing but zeros."""

    description = NULL
    max_batch = 8
    max_references: int | None = None

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        return image

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        return np.zeros((len(image), 1), np.float32)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class NullJob(Job):
    """A job whose network costs nothing."""

    def open(self) -> Restorer:
        return Restorer(self.bundle, engine=NullEngine(), threads=self.threads)


@dataclass(frozen=True)
class Ceiling:
    """What was measured of photos of one size on so many cores.

    Attributes:
        size: width and height in pixels.
        cores: to which all threads were bound.
        photos_a_second: of each run, with the null engine and of the floor, which took turns.
        share: of the floor's photos a second, those with the null engine.
        core_s: a photo's seconds of CPU time, in all threads, median of the runs.
        stages: seconds of each stage of one photo at a time, by name; with one core only.
    """

    size: tuple[int, int]
    cores: int
    photos_a_second: dict[str, Times]
    share: Ratio
    core_s: dict[str, float]
    stages: dict[str, float]


def ceilings(
    bundle: Path, rounds: int, sizes: Sequence[tuple[int, int]] = SIZES
) -> Iterator[Ceiling]:
    """Measure JPEG files of one face, in and out, on one core and on all of them.

    The floor is decoding and encoding alone: from and to memory, on as many threads as cores.
    """
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            count = max(_FEWEST, _PIXELS // (size[0] * size[1]))
            files = make_photos(Path(folder) / "in", count, size)
            for cores in sorted({1, len(os.sched_getaffinity(0))}):
                with on_cores(cores):
                    yield _ceiling(bundle, size, cores, files, Path(folder) / "out", rounds)


def null_engine(setting: Setting) -> Iterator[Measurement]:
    """The measurements of `ceilings` with the first bundle, which only says how crops are cut.

    If quick, of the smaller photos only.
    """
    rounds, sizes = (2, SIZES[:1]) if setting.quick else (5, SIZES)
    for found in ceilings(setting.bundles[0].path, rounds, sizes):
        cores = "1 core" if found.cores == 1 else f"{found.cores} cores"
        case = f"{found.size[0]} x {found.size[1]}, {cores}"
        for name, times in found.photos_a_second.items():
            against = found.share if name == NULL else None
            yield measurement("pipeline", name, case, times, "photos/s", against)
        for name, seconds in found.core_s.items():
            yield Measurement("pipeline", name, f"{case}: CPU time", "s", seconds)
        for stage, seconds in found.stages.items():
            yield Measurement("pipeline", NULL, f"{case}: {stage}", "s", seconds)


def make_photos(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Write JPEG files of a face on a smooth background, each with another size and place."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    faces = [sample.image for sample in samples()]
    least, most = (round(share * size[0]) for share in _FACE)
    for index in range(count):
        photo = background(rng, (12, 9), size)
        side = int(rng.integers(least, most))
        x, y = (int(rng.integers(0, length - side)) for length in size)
        lay(faces[index % 2], photo, side, (x, y))
        write_image(folder / f"{index:04d}.jpg", photo)
    return sorted(map(str, folder.iterdir()))


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Bind this thread and those that it starts to the first cores; OpenCV takes as many."""
    before, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    os.sched_setaffinity(0, sorted(before)[:count])
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        cv2.setNumThreads(threads)


def _ceiling(
    bundle: Path, size: tuple[int, int], cores: int, files: list[str], out: Path, rounds: int
) -> Ceiling:
    out.mkdir(exist_ok=True)
    encoded = [Path(file).read_bytes() for file in files]
    with closing(ArchiveRestorer(NullJob(bundle, str(out), threads=cores))) as restorer:
        spent: dict[str, list[float]] = {FLOOR: [], NULL: []}
        works = {
            FLOOR: partial(_floor, encoded, cores),
            NULL: partial(_restore, restorer, [Picture(file) for file in files]),
        }
        counted = {name: partial(_counted, work, spent[name]) for name, work in works.items()}
        seconds = race(counted, fewest=rounds)
    rates = {
        name: Times(tuple(tuple(len(files) / s for s in turn) for turn in times.turns))
        for name, times in seconds.items()
    }
    core_s = {name: statistics.median(each[1:]) / len(files) for name, each in spent.items()}
    stages = _stages(bundle, files, out) if cores == 1 else {}
    return Ceiling(size, cores, rates, rates[NULL].against(rates[FLOOR], FLOOR), core_s, stages)


def _counted(work: Work, spent: list[float]) -> None:
    """Do the work, and add the CPU time that it took to `spent`."""
    start = time.process_time()
    work()
    spent.append(time.process_time() - start)


def _floor(encoded: Sequence[bytes], threads: int) -> None:
    def code(data: bytes) -> None:
        encode(decode_photo(data, "a photo").image, ".jpg", None, None)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(code, encoded))


def _restore(restorer: ArchiveRestorer, pictures: Sequence[Picture]) -> None:
    for outcome in restorer.restore(pictures):
        if outcome.error or not outcome.faces:
            raise BenchmarkError(outcome.error or f"{outcome.input}: no face was found")


def _stages(bundle: Path, files: Sequence[str], out: Path) -> Stages:
    """The median of each stage's seconds, one photo after the other."""
    runs: list[Stages] = []
    with Restorer(bundle, engine=NullEngine(), threads=1) as restorer:
        for file in (files[0], *files):
            photograph(restorer, Path(file), out / Path(file).name, runs)
    return {name: statistics.median(run[name] for run in runs[1:]) for name in runs[0]}
