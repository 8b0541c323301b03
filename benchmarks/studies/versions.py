"""Race two checkouts of this project against each other: did a change make restoring slower?

    python -m benchmarks.studies.versions --before CHECKOUT --bundle BUNDLE --json FILE

Each checkout has a process of its own that keeps a Restorer open; in turns they restore one aligned
face, and one photo of 4000 x 3000 pixels with one face. The ratio is the median over the rounds of
this checkout's seconds over the other's, with its 95 % interval.
"""

import operator
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

from benchmarks.measure.checkouts import HERE, asked
from benchmarks.measure.timing import race
from benchmarks.studies import record
from benchmarks.suites.example_faces import background, lay
from runtime.images.arrays import Image
from runtime.samples.faces import samples

# only what every version has; a line in is a file's name, a line out is the seconds it took
_WORKER = """
import sys, time
import numpy as np
from runtime import Restorer
bundle, threads = sys.argv[1:]
with Restorer(bundle, device="cpu", threads=int(threads)) as restorer:
    for line in sys.stdin:
        picture = np.load(line.strip())
        start = time.perf_counter()
        if len(picture) == 512:
            restorer.restore_aligned(picture)
        else:
            restorer.restore(picture)
        print(time.perf_counter() - start, flush=True)
"""


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.versions", __doc__)
    parser.add_argument("--before", required=True, type=Path, help="the other checkout")
    parser.add_argument("--bundle", required=True, type=Path, help="bundle to restore with")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each process")
    parser.add_argument("--rounds", type=int, default=40, help="rounds of each picture")
    args = parser.parse_args()
    measured = partial(measure, args.before, args.bundle, args.threads, args.rounds)
    record.record(parser.prog, args.json, measured)


def measure(before: Path, bundle: Path, threads: int, rounds: int) -> dict[str, object]:
    """The ratio of this checkout's seconds to those of the checkout `before`, for each picture."""
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        arguments = (str(bundle.resolve()), str(threads))
        ask = {
            name: stack.enter_context(asked(checkout.resolve(), _WORKER, *arguments))
            for name, checkout in (("before", before), ("now", HERE))
        }
        for what, picture in _pictures().items():
            file = Path(folder) / f"{len(results)}.npy"
            np.save(file, picture)
            seconds = race(
                {name: partial(send, str(file)) for name, send in ask.items()},
                fewest=rounds,
                warm_up=2,
                measured=operator.call,
            )
            results[what] = {
                "ratio": seconds["now"].against(seconds["before"], "before"),
                "median_s": {name: times.median for name, times in seconds.items()},
            }
    return {"rounds": rounds, "threads": threads, "bundle": bundle.name, "pictures": results}


def _pictures() -> dict[str, Image]:
    """BGR: an aligned face, and a photo with that face on a smooth background."""
    face = samples()[0].image
    photo = background(np.random.default_rng(1), (40, 30), (4000, 3000))
    lay(face, photo, len(face), (1400, 900))
    return {"aligned face": face, "photo of 12 megapixels": photo}


if __name__ == "__main__":
    main()
