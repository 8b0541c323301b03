"""A service of many clients: the real Triton server on loopback, ONNX Runtime by a stand-in.

    python -m benchmarks.studies.service --bundle BUNDLE --json FILE [--clients 64] [--duration 120]

Throughput of 8 clients against one local Restorer that 8 threads share, in turns; then one client
alone; then many; then many again, whose server is killed in the middle and started again. Every
answer is compared with the local one, and must be as near as answers from a batch can be.
"""

import statistics
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from benchmarks.studies import record
from export.triton.local_server import Server, missing, stand_in
from export.triton.repository import Serving, write_repository
from runtime import DmdnetError, Remote, RemoteError, Restorer, SpecificDictionary, read_landmarks
from runtime.bundle.opening import open_bundle
from runtime.errors import BenchmarkError
from runtime.images.arrays import Image
from runtime.images.files import read_image
from runtime.samples.faces import SAMPLES

CONCURRENT = 8
REFERENCES = 5
_PATIENT = Remote(timeout=600)
_SHARING = Remote(timeout=600, shared_memory=True)
_LEVELS = {"fp32": 1, "fp16": 2, "int8": 8}  # of 255; roundings flip with what shares a call


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.service", __doc__)
    parser.add_argument("--bundle", required=True, type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--duration", type=float, default=120, help="seconds of many clients")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--faces", type=int, default=32, help="of a turn of the throughput")
    parser.add_argument("--max-batch", type=int, default=4, help="faces in one engine call")
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
            **record.circumstances(
                "onnxruntime", "tritonclient", "nvidia-pytriton", "dmdnet-runtime"
            ),
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
        killed = _run(server, tasks, args.clients, args.duration, kill=True)
        failures = [*alone.failures(), *many.failures(), *killed.failures(may_err=True)]
        return result | {
            "one client": alone.summary(),
            f"{args.clients} clients": many.summary(),
            f"{args.clients} clients, server killed and started again": killed.summary(),
            "failures": failures,
        }


@dataclass(frozen=True)
class Task:
    """A face to restore, and what the local Restorer makes of it."""

    face: Image
    landmarks: Any
    person: SpecificDictionary | None
    expected: Image
    allowed: int  # levels of 255 that others in the same call may change

    def levels(self, restorer: Restorer) -> int:
        """Restore it; the largest difference to what is expected, of 255.

        Raises `BenchmarkError` where that is more than allowed.
        """
        worst = _difference(
            restorer.restore_aligned(self.face, self.landmarks, self.person), self.expected
        )
        if worst > self.allowed:
            raise BenchmarkError(f"a result differs by {worst} levels from the local one")
        return worst


@dataclass
class Service:
    """What the clients of a server saw; times in seconds."""

    seconds: list[float] = field(default_factory=list)  # of answers while the server was up
    levels: list[int] = field(default_factory=list)  # of every answer
    errors: list[str] = field(default_factory=list)  # ours, after all retries
    faults: list[str] = field(default_factory=list)  # errors of any other kind: there must be none
    idle: int = 0  # clients that got no answer after the server was back
    back_after: float | None = None  # from the kill until all models were ready
    served_after: float | None = None  # from then until the first answer

    def failures(self, may_err: bool = False) -> list[str]:
        """What must not be; `may_err`: errors of ours may, the server was away."""
        found = [*self.faults, *([] if may_err else self.errors)]
        return found + ([f"{self.idle} clients got no answer afterwards"] if self.idle else [])

    def summary(self) -> dict[str, object]:
        more = {name: value for name, value in asdict(self).items() if name.endswith("_after")}
        return {
            "answers": len(self.levels),
            "exactly the local result": self.levels.count(0),
            "largest difference (levels of 255)": max(self.levels, default=None),
            "p50_s": float(np.percentile(self.seconds, 50)),
            "p99_s": float(np.percentile(self.seconds, 99)),
            "errors of ours": len(self.errors),
            "other errors": self.faults,
            "clients without an answer afterwards": self.idle,
            **{f"{name}_s": value for name, value in more.items() if value is not None},
        }


def _tasks(local: Restorer) -> list[Task]:
    """Two faces, each of nobody and of two people: enrolled from the faces at several exposures."""
    faces = []
    for name in ("astronaut.png", "grace_hopper.png"):
        face = np.asarray(read_image(SAMPLES / name), np.uint8)
        faces.append((face, read_landmarks(SAMPLES / f"{name}.txt")))
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
    """How far results of one face with other identities are apart: a mixture would be seen."""
    return min(
        _difference(one.expected, other.expected)
        for one, other in combinations(tasks, 2)
        if one.face is other.face
    )


def _difference(one: Image, other: Image) -> int:
    return int(np.abs(one.astype(int) - other).max())


def _throughput(
    local: Restorer, repositories: dict[str, Path], tasks: Sequence[Task], rounds: int, faces: int
) -> dict[str, object]:
    """Faces a second with `CONCURRENT` at once, each way in turns; one server runs at a time."""

    def served(repository: Path, remote: Remote) -> float:
        with Server(repository) as server, ExitStack() as stack:
            clients = [
                stack.enter_context(Restorer(server.url, remote=remote)) for _ in range(CONCURRENT)
            ]
            return _rate(clients, tasks, faces)

    works: dict[str, Callable[[], float]] = {
        "local": lambda: _rate([local] * CONCURRENT, tasks, faces)
    }
    for name, repository in repositories.items():
        works[name] = partial(served, repository, _PATIENT)
        works[f"{name}, shared memory"] = partial(served, repository, _SHARING)
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            rates[name].append(work())
    return {
        "clients": CONCURRENT,
        "faces_per_s": {name: statistics.median(found) for name, found in rates.items()},
        "ratio to local": {
            name: statistics.median(np.divide(found, rates["local"]).tolist())
            for name, found in rates.items()
            if name != "local"
        },
        "all_faces_per_s": rates,
    }


def _rate(clients: Sequence[Restorer], tasks: Sequence[Task], faces: int) -> float:
    """After a warm-up of each client."""

    def work(number: int) -> int:
        return tasks[number % len(tasks)].levels(clients[number % len(clients)])

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(work, range(len(clients))))
        start = time.perf_counter()
        list(pool.map(work, range(faces)))
        return faces / (time.perf_counter() - start)


def _run(
    server: Server, tasks: Sequence[Task], clients: int, duration: float, kill: bool = False
) -> Service:
    """Clients that ask again and again; in the middle the server goes away and comes back."""
    seen, lock = Service(), threading.Lock()
    end = time.monotonic() + duration
    times = {"killed": float("inf"), "back": float("inf")}

    def client(number: int) -> None:
        answered, turn = 0.0, number
        with Restorer(server.url, remote=_PATIENT) as restorer:
            # at least one answer after the end, if the server was away
            while (now := time.monotonic()) < end or (kill and answered < times["back"]):
                task, turn = tasks[turn % len(tasks)], turn + 1
                try:
                    levels = task.levels(restorer)
                except RemoteError as error:
                    with lock:
                        seen.errors.append(str(error))
                    if time.monotonic() > end + duration:
                        break
                    continue
                except DmdnetError as error:
                    with lock:
                        seen.faults.append(repr(error))
                    break
                answered = time.monotonic()
                with lock:
                    seen.levels.append(levels)
                    if answered < times["killed"] or now > times["back"]:
                        seen.seconds.append(answered - now)
                    if now > times["back"] and seen.served_after is None:
                        seen.served_after = answered - times["back"]
        with lock:
            seen.idle += kill and answered < times["back"]

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(client, number) for number in range(clients)]
        if kill:
            time.sleep(duration / 2)
            times["killed"] = time.monotonic()
            server.kill()
            server.start()
            times["back"] = time.monotonic()
            seen.back_after = times["back"] - times["killed"]
        for future in futures:
            try:
                future.result()
            except Exception as error:  # whatever a client did not expect is what we look for
                seen.faults.append(repr(error))
    return seen


if __name__ == "__main__":
    main()
