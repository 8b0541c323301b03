"""Race an archive on Ray against the local run: same photos, same cores, one worker, in turns.

    python -m benchmarks.studies.archive --bundle BUNDLE --json FILE
    python -m benchmarks.studies.archive --null-engine --bundle BUNDLE --json FILE

With `--null-engine` it measures another thing: how many photos a second the local run does with a
network that costs nothing, against decoding and encoding alone (`benchmarks.suites.ceiling`).

The time counts from the first photo written to the last, which leaves out the start of either; what
Ray needs to start is recorded beside it. `dmd-bench pipeline` measures what one photo costs, stage
by stage.
"""

import operator
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NoReturn

from benchmarks.measure.timing import race
from benchmarks.studies import record
from benchmarks.suites.ceiling import ceilings, make_photos
from runtime.archive.job import Job, Outcome, Picture
from runtime.archive.local import restore_archive
from runtime.archive.ray_driver import Cluster, Workers
from runtime.errors import BenchmarkError

_SIDES = (1200, 900)  # of a photo, one face each


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.archive", __doc__)
    parser.add_argument("--bundle", required=True, type=Path, help="bundle to restore with")
    parser.add_argument("--photos", type=int, default=60, help="photos in a run, one face each")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    null = "measure the local run with an engine that gives faces back; makes its own photos"
    parser.add_argument("--null-engine", action="store_true", help=null)
    args = parser.parse_args()
    if args.null_engine:
        measured = partial(measure_ceilings, args.bundle, args.rounds)
    else:
        measured = partial(measure, args.bundle, args.photos, args.rounds)
    record.record(parser.prog, args.json, measured)


def measure(bundle: Path, photos: int, rounds: int) -> dict[str, object]:
    """Race both runs; the first of each is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        files = make_photos(Path(folder) / "in", photos, _SIDES)
        jobs = {name: Job(bundle, f"{folder}/{name}", device="cpu") for name in ("local", "ray")}
        start = time.perf_counter()
        with Cluster() as cluster:
            connect_s = time.perf_counter() - start
            works: dict[str, Callable[[], float]] = {
                "local": lambda: run(jobs["local"], restore_archive, map(Picture, files)),
                "ray": lambda: run(jobs["ray"], cluster.restore, files, Workers(actors=1)),
            }
            times = race(works, fewest=rounds, measured=operator.call)
    return {
        "what": f"{photos} photos of {_SIDES[0]} x {_SIDES[1]} with one face, one worker",
        "rounds": rounds,
        "ray_over_local": times["ray"].against(times["local"], "local"),
        "median_s": {name: each.median for name, each in times.items()},
        "connect_s": connect_s,
        "times_s": {name: each.seconds for name, each in times.items()},
    }


def measure_ceilings(bundle: Path, rounds: int) -> dict[str, object]:
    """All that surrounds the network, by size of photo, on one core and on all."""
    what = "JPEG photos of one face, null engine, against decoding and encoding alone"
    return {"what": what, "rounds": rounds, "ceilings": list(ceilings(bundle, rounds))}


def run(job: Job, restore: Callable[..., Iterable[Outcome]], *inputs: object) -> float:
    """Run once and return the seconds from the first output to the last; outputs are removed.

    Raises `BenchmarkError` if a photo failed.
    """
    outcomes = list(restore(job, *inputs))
    failed = [outcome.error for outcome in outcomes if outcome.error]
    if failed:
        raise BenchmarkError(failed[0])
    written = [Path(outcome.output).stat().st_mtime for outcome in outcomes]
    shutil.rmtree(job.out)
    return max(written) - min(written)


if __name__ == "__main__":
    main()
