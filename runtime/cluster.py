"""The archive on a Ray cluster: workers that each hold one Restorer, fed by Ray Data."""

import json
import math
import os
import signal
import socket
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runtime import storage
from runtime.errors import ClusterError, DmdnetError, DmdnetWarning, UsageError
from runtime.files import remove_unfinished

if TYPE_CHECKING:
    from runtime.archive import Job, Outcome, Picture
    from runtime.tables import Tables

LOCAL = "local"
"""In place of an address: a cluster on this machine, as long as the work lasts."""

_ATTEMPTS = 3  # deaths of a worker on one picture
_BATCH = 32  # pictures that a worker takes at a time: what is done again when it dies
_BATCHES = 10_000  # the driver holds a little of each
_CONNECT_S = 5.0


@dataclass(frozen=True)
class Workers:
    """How many, and what each has of a machine; None: as many as there are GPUs, or else nodes."""

    actors: int | None = None
    gpus: float | None = None
    cpus: float | None = None


class Cluster:
    """A connection to the Ray cluster at `address` ("host:port", "auto" or `LOCAL`).

    Raises `ClusterError` when Ray is not installed or the cluster cannot be reached.
    """

    def __init__(self, address: str = LOCAL) -> None:
        self._ray = _ray()
        self._ours = not self._ray.is_initialized()  # an application's connection stays its own
        if self._ours:
            _connect(self._ray, address)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ours:
            self._ray.shutdown()

    def restore(
        self, job: "Job", archive: "Sequence[str] | Tables", workers: Workers
    ) -> "Generator[Outcome, None, None]":
        """Do the job on an archive of paths and URLs, or of tables, and say what became of each.

        A picture whose worker dies is done again, by itself; after three deaths it is an error.
        Raises `ClusterError` when no node can hold such a worker, or none can start.
        """
        workers, threads = self._fitted(workers, job)
        job = replace(job, threads=threads)
        storage.make_folder(job.out)
        return self._stream(job, self._rows(archive, workers), workers)

    def _stream(self, job: "Job", data: Any, workers: Workers) -> "Generator[Outcome, None, None]":
        from runtime.archive import Outcome

        ray = self._ray
        # beside the driver, without which nothing goes on anyway
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        ledger = ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=here).remote()
        done = data.map_batches(
            Worker,
            fn_constructor_args=(job, ledger, Path.cwd()),
            batch_size=None,
            batch_format="numpy",
            # at least 1: a node's death may leave room for no more
            concurrency=(1, workers.actors, workers.actors),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
        )
        try:
            for row in done.iter_rows():
                outcome = json.loads(row["outcome"])
                yield Outcome(**outcome | {"notes": tuple(outcome["notes"])})
        except ray.exceptions.RayError as error:
            raise self._failure(ledger, error) from error
        for text in ray.get(ledger.warnings.remote()):
            warnings.warn(text, DmdnetWarning, stacklevel=2)

    def _failure(self, ledger: Any, error: Exception) -> Any:
        """What a worker said before it failed; a bug's own trace; or that the cluster failed."""
        with suppress(self._ray.exceptions.RayError):
            said: str | None = self._ray.get(ledger.failure.remote(), timeout=_CONNECT_S)
            if said is not None:
                return ClusterError(said)
        if isinstance(error, self._ray.exceptions.RayTaskError):
            return error  # a bug: its trace is what helps
        text = str(error).strip().splitlines()[0]
        return ClusterError(f"the Ray cluster failed: {text}; --resume does what is missing")

    def _fitted(self, workers: Workers, job: "Job") -> tuple[Workers, int | None]:
        """Workers as this cluster can hold them, and the threads of each."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        nodes = [node for node in nodes if node.get("CPU", 0) > 0]
        if not nodes:
            raise ClusterError("the Ray cluster has no node with a CPU to work on")
        all_gpus = sum(node.get("GPU", 0) for node in nodes)
        gpus = workers.gpus
        if gpus is None:
            gpus = 1.0 if all_gpus and job.device != "cpu" else 0.0
        actors = workers.actors or max(1, int(all_gpus / gpus) if gpus else len(nodes))
        a_node = math.ceil(actors / len(nodes))
        cpus = workers.cpus
        if cpus is None:
            # one is left for Ray Data's own tasks, which would wait for ever without
            spare = min(node["CPU"] for node in nodes) - 1
            share = 1.0 if gpus else spare / a_node
            cpus = max(0.5, float(int(share))) if share >= 1 else 0.5
        if not any(node["CPU"] >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            has = "; ".join(f"{n['CPU']:g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)
            raise ClusterError(
                f"no node can hold a worker of {cpus:g} CPUs and {gpus:g} GPUs; the nodes have "
                f"{has}: change --ray-cpus or --ray-gpus"
            )
        threads = job.threads or (None if gpus or a_node == 1 else max(1, int(cpus)))
        return Workers(actors, gpus, cpus), threads

    def _rows(self, archive: "Sequence[str] | Tables", workers: Workers) -> Any:
        """Ray's rows, in blocks of a batch each."""
        import pyarrow

        from runtime.tables import Tables

        count = archive.count if isinstance(archive, Tables) else len(archive)
        size = _batch_size(count, workers)
        if isinstance(archive, Tables):
            data = self._ray.data.read_parquet(
                list(archive.paths),
                filesystem=storage.store_of(archive.paths[0]),
                override_num_blocks=math.ceil(count / size),
            )
            return data.select_columns(list(archive.columns))
        starts = range(0, count, size)
        return self._ray.data.from_arrow(
            [pyarrow.table({"path": archive[start : start + size]}) for start in starts]
        )


class Ledger:
    """What the workers tell the driver: pictures begun and not ended, warnings, why they failed."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._warnings: dict[str, None] = {}
        self._failure: str | None = None

    def begin(self, name: str) -> None:
        self._begun[name] = self._begun.get(name, 0) + 1

    def end(self, name: str) -> None:
        self._begun.pop(name, None)

    def begun(self, names: Sequence[str]) -> dict[str, int]:
        """How often each of the pictures was begun by a worker that did not end it."""
        return {name: self._begun[name] for name in names if name in self._begun}

    def warn(self, text: str) -> None:
        self._warnings[text] = None

    def warnings(self) -> list[str]:
        return list(self._warnings)

    def fail(self, text: str) -> None:
        self._failure = self._failure or text

    def failure(self) -> str | None:
        return self._failure


class Worker:
    """One process of the cluster, with one Restorer; Ray Data calls it with batches.

    `folder`: where the driver runs, to which relative paths belong.
    """

    def __init__(self, job: "Job", ledger: Any, folder: Path) -> None:
        from runtime.archive import ArchiveRestorer

        ray = self._ray = _ray()
        self._job, self._ledger = job, ledger

        def tell(message: Warning | str, *_: object, **__: object) -> None:
            ledger.warn.remote(str(message))

        warnings.showwarning = tell
        with suppress(OSError):  # absolute paths and URLs do without
            os.chdir(folder)
        try:
            if not storage.is_url(job.out) and not Path(job.out).is_dir():
                raise UsageError(f"{job.out} is not there: --out must be storage of all nodes")
            self._restorer = ArchiveRestorer(job)
        except (DmdnetError, OSError) as error:
            ray.get(ledger.fail.remote(f"{error} (a worker on {socket.gethostname()})"))
            raise

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        """The outcomes of a batch's pictures, a row each."""
        from runtime.tables import pictures_of

        for outcome in self._restore(pictures_of(batch)):
            yield {"outcome": [json.dumps(asdict(outcome))]}

    def _restore(self, pictures: "Sequence[Picture]") -> "Iterator[Outcome]":
        """Those that a worker died on first, each by itself, so that only the guilty one pays."""
        from runtime.archive import Outcome

        names = [picture.name for picture in pictures]
        begun = self._ray.get(self._ledger.begun.remote(names))
        for picture in pictures:
            if begun.get(picture.name, 0) >= _ATTEMPTS:
                output = self._job.output_of(picture.name)
                error = f"{picture.name}: the worker died on this picture {_ATTEMPTS} times"
                yield Outcome(picture.name, output, self._restorer.backend, error)
            elif picture.name in begun:
                output = self._job.output_of(picture.name)
                if not storage.is_url(output):
                    remove_unfinished(Path(output))
                yield from self._do([picture])
        yield from self._do([picture for picture in pictures if picture.name not in begun])

    def _do(self, pictures: "Sequence[Picture]") -> "Iterator[Outcome]":
        for outcome in self._restorer.restore(self._begin(pictures)):
            yield outcome
            self._ledger.end.remote(outcome.input)

    def _begin(self, pictures: "Sequence[Picture]") -> "Iterator[Picture]":
        for picture in pictures:
            self._ray.get(self._ledger.begin.remote(picture.name))
            yield picture


def _batch_size(pictures: int, workers: Workers) -> int:
    """Small enough to share the work out, large enough that a million are few batches."""
    fair = pictures // (8 * (workers.actors or 1))
    return max(1, min(_BATCH, fair), math.ceil(pictures / _BATCHES))


def _connect(ray: Any, address: str) -> None:
    if address not in (LOCAL, "auto"):
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or "/" in host:
            raise UsageError(
                f"--ray {address}: not an address host:port; for a cluster on this machine put "
                "--ray after the INPUTs"
            )
        try:  # Ray itself would try for minutes, and then end the process
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        except (OSError, OverflowError) as error:
            raise ClusterError(f"no Ray cluster answers at {address}: {error}") from None
    if address == LOCAL:
        os.environ.setdefault("RAY_worker_niceness", "0")  # 15 would be behind all other programs
    handler = signal.getsignal(signal.SIGTERM)
    local = {"num_cpus": max(2, os.cpu_count() or 1), "include_dashboard": False}
    try:
        with _without_stderr():
            ray.init(
                address,
                log_to_driver=False,
                logging_level="error",
                **(local if address == LOCAL else {}),
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ClusterError(f"Ray cannot start or connect ({address}): {line}") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray puts in its own


class _without_stderr:  # noqa: N801
    """What Ray's C++ says while it starts is not for the user's terminal."""

    def __enter__(self) -> None:
        self._kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)


def _ray() -> Any:
    """Ray, told to be quiet: it reads these when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")  # of lines about workers: none
    try:
        import logging

        import ray
        import ray.data
        import ray.util.scheduling_strategies
    except ImportError:
        raise ClusterError("--ray needs Ray: install dmdnet-runtime[ray]") from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # its files go on
            handler.setLevel(logging.CRITICAL + 1)
    return ray
