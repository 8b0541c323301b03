"""Race an archive on Ray against the local run: same photos, same cores, one worker, in turns.

    python -m benchmarks.studies.archive --bundle BUNDLE --json FILE
    python -m benchmarks.studies.archive --null-engine --bundle BUNDLE --json FILE

With `--null-engine` it measures another thing: how many photos a second the local run does with a
network that costs nothing, against decoding and encoding alone (`benchmarks.suites.ceiling`); with
`--before CHECKOUT` in turns with another checkout of this repository, too.

The time counts from the first photo written to the last, which leaves out the start of either; what
Ray needs to start is recorded beside it. `dmd-bench pipeline` measures what one photo costs, stage
by stage.
"""

import operator
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NoReturn

from benchmarks.measure.checkouts import HERE, Ask, asked
from benchmarks.measure.timing import race
from benchmarks.studies import record
from benchmarks.suites.ceiling import SIZES, ceilings, make_photos
from runtime.archive.job import Job, Outcome, Picture
from runtime.archive.local import restore_archive
from runtime.archive.ray_driver import Cluster, Workers
from runtime.errors import BenchmarkError

_SIDES = (1200, 900)  # of a photo, one face each
_PHOTOS = dict(zip(SIZES, (48, 16), strict=True))  # of a run, by size


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.archive", __doc__)
    parser.add_argument("--bundle", required=True, type=Path, help="bundle to restore with")
    parser.add_argument("--photos", type=int, default=60, help="photos in a run, one face each")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    null = "measure the local run with an engine that gives faces back; makes its own photos"
    parser.add_argument("--null-engine", action="store_true", help=null)
    before = "with --null-engine: another checkout, to compare with"
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help=before)
    args = parser.parse_args()
    if args.before is not None and not args.null_engine:
        parser.error("--before needs --null-engine")
    if args.before is not None:
        measured = partial(measure_before, args.bundle, args.before.resolve(), args.rounds)
    elif args.null_engine:
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


# only what every version has; it answers with the CPU seconds of a run
_WORKER = """
import json, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from runtime.archive.job import Job, Picture
from runtime.archive.local import ArchiveRestorer
from runtime.images.encoding import encode
from runtime.images.files import decode_photo
from runtime.restorer import Restorer

class Null:
    description, max_batch, max_references = "null engine", 8, None
    def restore(self, image, boxes, people, membership):
        return image
    def memorize(self, image, boxes):
        return np.zeros((len(image), 1), np.float32)
    def close(self):
        pass

@dataclass(frozen=True)
class NullJob(Job):
    def open(self):
        return Restorer(self.bundle, engine=Null())

def restore():
    for outcome in restorer.restore(map(Picture, files)):
        assert outcome.error is None and outcome.faces, outcome

def code(data):
    encode(decode_photo(data, "a photo").image, ".jpg", None, None)

def floor():
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(code, encoded))

bundle, folder, out = sys.argv[1:]
files = sorted(map(str, Path(folder).iterdir()))
encoded = [Path(file).read_bytes() for file in files]
restorer = ArchiveRestorer(NullJob(bundle, out))
for line in sys.stdin:
    start = time.process_time()
    floor() if line == "floor\\n" else restore()
    print(json.dumps(time.process_time() - start), flush=True)
"""


def measure_before(bundle: Path, before: Path, rounds: int) -> dict[str, object]:
    """The local run with a null engine of two checkouts, and the floor, in turns, on all cores."""
    found = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            files = make_photos(Path(folder) / "in", _PHOTOS[size], size)
            ask = {}
            for name, checkout in {"before": before, "now": HERE}.items():
                (Path(folder) / name).mkdir()
                places = (str(bundle.resolve()), f"{folder}/in", f"{folder}/{name}")
                ask[name] = stack.enter_context(asked(checkout, _WORKER, *places))
            spent: dict[str, list[float]] = {"floor": [], "before": [], "now": []}
            works = {name: partial(_ask, ask.get(name, ask["now"]), name, spent) for name in spent}
            times = race(works, fewest=rounds)
        found.append(
            {
                "size": size,
                "photos": len(files),
                "photos_a_second": {name: len(files) / each.median for name, each in times.items()},
                "core_s": {
                    name: statistics.median(each[1:]) / len(files) for name, each in spent.items()
                },
                # of times: the quotient of photos a second
                "now_over_before": times["before"].against(times["now"], "now"),
                "now_over_floor": times["floor"].against(times["now"], "now"),
            }
        )
    what = "JPEG photos of one face, null engine: photos a second, two checkouts in turns"
    return {"what": what, "rounds": rounds, "sizes": found}


def _ask(ask: Ask, what: str, spent: dict[str, list[float]]) -> None:
    spent[what].append(ask(what))


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
