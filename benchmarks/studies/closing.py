"""Close a Restorer while sixteen threads make every public call on it.

    python -m benchmarks.studies.closing --bundle BUNDLE --json FILE [--seconds 60]

Restorers are opened and closed again and again: on ONNX Runtime, then through a real Triton server
with shared memory. Every result must be the one that a single thread gets; a call that begins after
`close` must raise `ClosedError`; nothing may be left in /dev/shm.
"""

import itertools
import tempfile
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.load import line_of
from benchmarks.studies import record
from export.triton.local_server import Server, missing, stand_in
from export.triton.repository import Serving, write_repository
from runtime import ClosedError, Remote, Restored, Restorer, SpecificDictionary
from runtime.bundle.opening import open_bundle
from runtime.samples.faces import samples

THREADS = 16
LIFE = 3.0  # seconds from opening a Restorer to closing it, or until every call was right once
PATIENCE = 60.0  # but no longer than this
SHARED_MEMORY = Path("/dev/shm")

Values = Sequence[NDArray[Any]]
Call = Callable[[Restorer], Values]
"""Makes a public call of a Restorer, and returns the result as arrays."""


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.closing", __doc__)
    bundle = "float32 bundle; small weights give more rounds"
    parser.add_argument("--bundle", required=True, type=Path, help=bundle)
    parser.add_argument("--seconds", type=float, default=60, help="for each backend (default: 60)")
    args = parser.parse_args()
    reason = missing()
    if reason is not None:
        parser.error(reason)
    record.record(parser.prog, args.json, partial(measure, args))


def measure(args: Namespace) -> dict[str, Any]:
    local = endure(lambda: Restorer(args.bundle, device="cpu", threads=1), args.seconds)
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        write_repository(open_bundle(args.bundle), repository, Serving(device="cpu", max_batch=4))
        stand_in(repository)
        with Server(repository) as server:
            remote = Remote(shared_memory=True, timeout=120)
            served = endure(lambda: Restorer(server.url, remote=remote), args.seconds, levels=1)
    left = sorted(path.name for path in SHARED_MEMORY.glob("dmdnet-*"))
    return {
        "what": f"{THREADS} threads, every public call, close under them, again and again",
        "ONNX Runtime": local.summary(),
        "Triton, shared memory": served.summary(),
        "left in /dev/shm": left,
        "failures": [*local.failures, *served.failures, *left],
    }


@dataclass
class Seen:
    """The outcomes of the threads' calls, by the name of the call."""

    restorers: int = 0
    right: Counter[str] = field(default_factory=Counter)
    interrupted: Counter[str] = field(default_factory=Counter)  # ClosedError; begun before `close`
    refused: Counter[str] = field(default_factory=Counter)  # ClosedError; begun after it
    failures: Counter[str] = field(default_factory=Counter)  # all else, as a line

    def summary(self) -> dict[str, Any]:
        return {
            "restorers": self.restorers,
            "calls": self.right.total() + self.interrupted.total() + self.refused.total(),
            "right": dict(self.right),
            "closed while at work": dict(self.interrupted),
            "refused after close": dict(self.refused),
            "failures": dict(self.failures),
        }


def endure(
    opened: Callable[[], Restorer], seconds: float, life: float = LIFE, levels: int = 0
) -> Seen:
    """Open Restorers one after the other, and close each while the threads use it.

    Each is closed after `life` seconds; on a slow machine later, once every call has been right.
    `levels`: of 255, by which a picture may differ from the one that a single thread gets.
    """
    with opened() as alone:
        calls = public_calls(alone)
        wanted = {name: call(alone) for name, call in calls.items()}
    seen, end = Seen(), time.monotonic() + seconds
    before = set(SHARED_MEMORY.glob("dmdnet-*"))
    while seen.restorers == 0 or time.monotonic() < end:
        with opened() as restorer:
            _close_at_work(restorer, calls, wanted, seen, life, levels)
        seen.restorers += 1
        for left in set(SHARED_MEMORY.glob("dmdnet-*")) - before:
            seen.failures[f"left in {left.parent}: a region"] += 1
    return seen


def public_calls(restorer: Restorer) -> Mapping[str, Call]:
    """Every public call by name, on two pictures of people whose dictionaries `restorer` makes."""
    one, two = samples()
    pictures, points = [one.image, two.image], [one.landmarks, two.landmarks]
    alice, bob = (
        restorer.memorize([image, image // 2], [marks] * 2)
        for image, marks in zip(pictures, points, strict=True)
    )

    def photos(of: Restorer) -> Values:
        done = of.restore_photos(pictures, alice, identities=[{}, {0: bob}])
        return [_image(result) for result in done]

    def faces(of: Restorer) -> Values:
        return [_image(result) for result in of.restore_faces(pictures, points, [bob, None])]

    def memorize(of: Restorer) -> Values:
        return [of.memorize(pictures, points).rows]

    def detect(of: Restorer) -> Values:
        return [np.r_[face.box, face.landmarks.ravel()] for face in of.detect(pictures[0])]

    def check(of: Restorer) -> Values:
        of.check(_copy(alice))
        return []

    return {
        "restore": lambda of: [of.restore(pictures[0], bob).image],
        "restore_aligned": lambda of: [of.restore_aligned(pictures[1], points[1], alice)],
        "restore_batch": lambda of: of.restore_batch(pictures, points, [alice, bob]),
        "restore_photos": photos,
        "restore_faces": faces,
        "memorize": memorize,
        "detect": detect,
        "check": check,
    }


def _close_at_work(
    restorer: Restorer,
    calls: Mapping[str, Call],
    wanted: Mapping[str, Values],
    seen: Seen,
    life: float,
    levels: int,
) -> None:
    closed, lock = threading.Event(), threading.Lock()
    before = seen.right.copy()

    def work(first: int) -> None:
        """Each call in turn; after `close`, each once more."""
        names = list(calls)
        late = 0
        for number in itertools.count(first):
            name, was_closed = names[number % len(names)], closed.is_set()
            if late == len(names):
                return
            late += was_closed
            what = _outcome(restorer, calls[name], wanted[name], levels)
            with lock:
                if what == "right" and not was_closed:
                    seen.right[name] += 1
                elif what == "closed":
                    (seen.refused if was_closed else seen.interrupted)[name] += 1
                else:
                    seen.failures[f"{name}{' after close' if was_closed else ''}: {what}"] += 1
            # properties stay
            if restorer.device_seconds is not None or not restorer.backend:
                seen.failures["properties"] += 1

    with ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(work, number) for number in range(THREADS)]
        begun = time.monotonic()
        while (past := time.monotonic() - begun) < life or (
            past < PATIENCE and any(seen.right[name] == before[name] for name in calls)
        ):
            time.sleep(0.05)
        restorer.close()
        closed.set()
        for each in running:
            each.result()


def _outcome(restorer: Restorer, call: Call, wanted: Values, levels: int) -> str:
    """ "right", "closed", or what is wrong."""
    try:
        found = call(restorer)
    except ClosedError:
        return "closed"
    except Exception as error:  # any error is a result of the study
        return f"{type(error).__name__}: {line_of(error)}"
    same = len(found) == len(wanted) and all(
        _near(one, other, levels) for one, other in zip(found, wanted, strict=True)
    )
    return "right" if same else "another result than alone"


def _near(one: NDArray[Any], other: NDArray[Any], levels: int) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype == np.uint8 or not levels:
        return bool((np.abs(one.astype(float) - other) <= levels).all())
    # rows that shared a call of the memorizer are rounded in another order
    return bool(np.allclose(one, other, rtol=1e-3, atol=1e-3 * float(np.abs(other).max())))


def _image(result: object) -> NDArray[Any]:
    if isinstance(result, Restored):
        return result.image
    assert isinstance(result, Exception)
    raise result


def _copy(person: SpecificDictionary) -> SpecificDictionary:
    """One that the Restorer has not checked before."""
    return SpecificDictionary(person.rows, person.layout, person.weights_sha256)


if __name__ == "__main__":
    main()
