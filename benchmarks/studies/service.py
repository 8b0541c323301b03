"""Measure a real Triton server on loopback, which many clients use at once.

    python -m benchmarks.studies.service --bundle BUNDLE --json FILE [--clients 64] [--duration 120]

First the throughput of 8 clients takes turns with that of one local Restorer that 8 threads share;
then one client is measured alone, and then many. Every answer is compared with the local one, from
which it may differ only by what sharing a batch can change. The server runs ONNX Runtime in its
Python backend (`export.triton.local_server`).
"""

import operator
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from benchmarks.measure.load import Load, difference, under_load
from benchmarks.measure.timing import race
from benchmarks.studies import record
from export.triton.local_server import Server, missing, stand_in
from export.triton.repository import Serving, write_repository
from runtime import Remote, Restorer, SpecificDictionary
from runtime.bundle.opening import open_bundle
from runtime.errors import BenchmarkError
from runtime.images.arrays import Image
from runtime.samples.faces import samples

CONCURRENT = 8
REFERENCES = 5
_PATIENT = Remote(timeout=600)
_SHARING = Remote(timeout=600, shared_memory=True)
_LEVELS = {"fp32": 1, "fp16": 2, "int8": 8}  # of 255; roundings flip with what shares a call


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.service", __doc__)
    parser.add_argument("--bundle", required=True, type=Path, help="bundle to serve")
    parser.add_argument("--clients", type=int, default=64, help="clients at once in the last part")
    parser.add_argument("--duration", type=float, default=120, help="seconds of the last part")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the throughput")
    parser.add_argument("--faces", type=int, default=32, help="faces in a turn of the throughput")
    parser.add_argument("--max-batch", type=int, default=4, help="most faces in one engine call")
    args = parser.parse_args()
    reason = missing()
    if reason is not None:
        parser.error(reason)
    record.record(parser.prog, args.json, partial(measure, args))


def measure(args: Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        local = stack.enter_context(Restorer(args.bundle, device="cpu"))
        tasks = _tasks(local)
        repositories = {}
        for name, max_batch in (("batching", args.max_batch), ("no batching", 1)):
            repositories[name] = Path(folder) / name.replace(" ", "-")
            serving = Serving(device="cpu", max_batch=max_batch)
            write_repository(open_bundle(args.bundle), repositories[name], serving)
            stand_in(repositories[name])
        result: dict[str, object] = {
            "what": f"one face a request, of nobody or of one of two people with {REFERENCES} "
            f"references; {local.manifest.precision}",
            "max_batch": args.max_batch,
            "levels that a batch may change": _LEVELS[local.manifest.precision],
            "levels that another identity changes, at least": _apart(tasks),
            "throughput": _throughput(local, repositories, tasks, args.rounds, args.faces),
        }
        server = stack.enter_context(Server(repositories["batching"]))
        alone = _run(server, tasks, 1, min(30.0, args.duration / 4))
        many = _run(server, tasks, args.clients, args.duration)
        return {
            **result,
            "one client": alone.summary(),
            f"{args.clients} clients": many.summary(),
            "failures": [*alone.errors, *many.errors],
        }


@dataclass(frozen=True)
class Task:
    """A face to restore, and the result of the local Restorer."""

    face: Image
    landmarks: Any
    person: SpecificDictionary | None
    expected: Image
    allowed: int  # levels of 255 that others in the same call may change

    def levels(self, restorer: Restorer) -> int:
        """Restore it, and return the largest difference to the expected result, in levels of 255.

        Raises `BenchmarkError` where that is more than allowed.
        """
        restored = restorer.restore_aligned(self.face, self.landmarks, self.person)
        worst = difference(restored, self.expected)
        if worst > self.allowed:
            raise BenchmarkError(f"a result differs by {worst} levels from the local one")
        return worst


def _tasks(local: Restorer) -> list[Task]:
    """Two faces, each without a dictionary and with those of two people.

    The people are enrolled from the faces at several exposures.
    """
    faces = [(sample.image, sample.landmarks) for sample in samples()]
    people: list[SpecificDictionary | None] = [None]
    for face, points in faces:
        exposures = [(face * gain).astype(np.uint8) for gain in np.linspace(0.5, 1.0, REFERENCES)]
        people.append(local.memorize(exposures, [points] * REFERENCES))
    allowed = _LEVELS[local.manifest.precision]
    return [
        Task(face, points, person, local.restore_aligned(face, points, person), allowed)
        for person in people
        for face, points in faces
    ]


def _apart(tasks: Sequence[Task]) -> int:
    """The least levels of 255 that another identity changes: a mixture would be seen."""
    return min(
        difference(one.expected, other.expected)
        for one, other in combinations(tasks, 2)
        if one.face is other.face
    )


def _throughput(
    local: Restorer, repositories: dict[str, Path], tasks: Sequence[Task], rounds: int, faces: int
) -> dict[str, object]:
    """Faces a second with `CONCURRENT` at once, each way in turns; one server runs at a time."""

    def served(repository: Path, remote: Remote) -> float:
        with Server(repository) as server, ExitStack() as stack:
            clients = [
                stack.enter_context(Restorer(server.url, remote=remote)) for _ in range(CONCURRENT)
            ]
            return _seconds_a_face(clients, tasks, faces)

    works: dict[str, Callable[[], float]] = {
        "local": lambda: _seconds_a_face([local] * CONCURRENT, tasks, faces)
    }
    for name, repository in repositories.items():
        works[name] = partial(served, repository, _PATIENT)
        works[f"{name}, shared memory"] = partial(served, repository, _SHARING)
    times = race(works, fewest=rounds, warm_up=0, measured=operator.call)
    return {
        "clients": CONCURRENT,
        "faces_per_s": {name: 1 / each.median for name, each in times.items()},
        "ratio to local": {
            name: times["local"].against(each, name).median
            for name, each in times.items()
            if name != "local"
        },
        "all_seconds_a_face": {name: each.seconds for name, each in times.items()},
    }


def _seconds_a_face(clients: Sequence[Restorer], tasks: Sequence[Task], faces: int) -> float:
    """Seconds a face with all clients at once, after a warm-up of each."""
    work = partial(_restore, tasks, clients)
    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(work, range(len(clients))))
        start = time.perf_counter()
        list(pool.map(work, range(faces)))
        return (time.perf_counter() - start) / faces


def _run(server: Server, tasks: Sequence[Task], clients: int, duration: float) -> Load:
    """Let clients ask again and again for so many seconds."""
    with ExitStack() as stack:
        opened = [
            stack.enter_context(Restorer(server.url, remote=_PATIENT)) for _ in range(clients)
        ]
        return under_load([partial(_restore, tasks, [one]) for one in opened], duration)


def _restore(tasks: Sequence[Task], clients: Sequence[Restorer], number: int) -> int:
    """Have a client do a task, both chosen by the number; `Task.levels` says what it returns."""
    return tasks[number % len(tasks)].levels(clients[number % len(clients)])


if __name__ == "__main__":
    main()
