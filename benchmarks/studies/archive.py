"""An archive on Ray against the local run: same photos, same cores, one worker, in turns.

    python -m benchmarks.studies.archive --bundle BUNDLE --json FILE

Counted are the seconds from the first photo written to the last, so without anybody's start; the
whole runs are given beside them, and what Ray needs to start. Also the stages of one photo of
4000 x 3000, file to file, which docs/archive.md reckons with.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np

from benchmarks.studies import record
from benchmarks.studies.photographs import composite
from runtime.archive.job import Job, Outcome, Picture
from runtime.archive.local import restore_archive
from runtime.archive.ray_driver import Cluster, Workers
from runtime.errors import BenchmarkError
from runtime.images.files import read_image, read_photo, write_image
from runtime.restorer import Restorer
from runtime.samples.faces import SAMPLES

_SIDES = (1200, 900)  # of a photo, one face each
_TRIES = 5


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.archive", __doc__)
    parser.add_argument("--bundle", required=True, type=Path)
    parser.add_argument("--photos", type=int, default=60, help="in a run; one face each")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    measured = partial(measure, args.bundle, args.photos, args.rounds)
    record.record(parser.prog, args.json, measured)


def measure(bundle: Path, photos: int, rounds: int) -> dict[str, object]:
    """Both runs in turns after one uncounted of each, and the stages of a photo."""
    with tempfile.TemporaryDirectory() as folder:
        files = make_photos(Path(folder) / "in", photos)
        start = time.perf_counter()
        with Cluster() as cluster:
            connect_s = time.perf_counter() - start

            def local(job: Job) -> Iterable[Outcome]:
                return restore_archive(job, map(Picture, files))

            def on_ray(job: Job) -> Iterable[Outcome]:
                return cluster.restore(job, files, Workers(actors=1))

            works: dict[str, Callable[[Job], Iterable[Outcome]]] = {"local": local, "ray": on_ray}
            work_s: dict[str, list[float]] = {name: [] for name in works}
            whole_s: dict[str, list[float]] = {name: [] for name in works}
            for turn in range(rounds + 1):
                for name, work in works.items():
                    writing, whole = run(work, Job(bundle, f"{folder}/{name}", device="cpu"))
                    if turn:
                        work_s[name].append(writing)
                        whole_s[name].append(whole)
        stages = stages_of_a_photo(bundle, Path(folder))
    ratios = [ray / local for ray, local in zip(work_s["ray"], work_s["local"], strict=True)]
    return {
        **record.circumstances("ray", "pyarrow", "onnxruntime", "opencv-python", "dmdnet-runtime"),
        "what": f"{photos} photos of {_SIDES[0]} x {_SIDES[1]} with one face, one worker",
        "rounds": rounds,
        "ray_over_local": {"median": statistics.median(ratios), "all": ratios},
        "median_s": {name: statistics.median(values) for name, values in work_s.items()},
        "whole_run_median_s": {name: statistics.median(all_s) for name, all_s in whole_s.items()},
        "connect_s": connect_s,
        "photo_of_12_megapixels_median_s": stages,
        "times_s": work_s,
    }


def make_photos(folder: Path, count: int) -> list[str]:
    """JPEG files of a face on a smooth background, each another size and place."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    faces = [
        np.asarray(read_image(SAMPLES / name), np.uint8)
        for name in ("astronaut.png", "grace_hopper.png")
    ]
    for index in range(count):
        coarse = rng.integers(60, 200, (9, 12, 3)).astype(np.uint8)
        photo = np.asarray(cv2.resize(coarse, _SIDES, interpolation=cv2.INTER_CUBIC))
        side = int(rng.integers(150, 500))
        face = cv2.resize(faces[index % 2], (side, side), interpolation=cv2.INTER_AREA)
        x, y = (int(rng.integers(0, most - side)) for most in _SIDES)
        photo[y : y + side, x : x + side] = face
        write_image(folder / f"{index:04d}.jpg", photo)
    return sorted(map(str, folder.iterdir()))


def run(work: Callable[[Job], Iterable[Outcome]], job: Job) -> tuple[float, float]:
    """Seconds from the first output to the last, and of the whole run; the outputs go."""
    start = time.perf_counter()
    outcomes = list(work(job))
    whole = time.perf_counter() - start
    failed = [outcome.error for outcome in outcomes if outcome.error]
    if failed:
        raise BenchmarkError(failed[0])
    written = [Path(outcome.output).stat().st_mtime for outcome in outcomes]
    shutil.rmtree(job.out)
    return max(written) - min(written), whole


def stages_of_a_photo(bundle: Path, folder: Path) -> dict[str, float]:
    """Seconds of read and write as JPEG and PNG, and of the Restorer's stages; twelve faces."""
    photo = composite()
    seconds: dict[str, list[float]] = {}

    def timed(stage: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        seconds.setdefault(stage, []).append(time.perf_counter() - start)

    files = {kind: folder / f"photo.{kind}" for kind in ("jpg", "png")}
    with Restorer(bundle, device="cpu") as restorer:
        for _ in range(_TRIES):
            for kind, file in files.items():
                timed(f"write {kind}", partial(write_image, file, photo))
                timed(f"read {kind}", partial(read_photo, file))
            for stage, value in restorer.restore(photo).timings.items():
                seconds.setdefault(f"{stage}, 12 faces", []).append(value)
    return {stage: statistics.median(values) for stage, values in seconds.items()}


if __name__ == "__main__":
    main()
