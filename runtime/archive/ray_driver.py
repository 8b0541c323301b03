"""The archive on a Ray cluster: workers that each hold one Restorer, fed by Ray Data."""

import json
import math
import os
import signal
import socket
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.archive.ray_worker import Ledger, Worker, load_ray
from runtime.errors import ClusterError, DmdnetWarning, UsageError, error_line
from runtime.redaction import public_name
from runtime.scheduling.background import interruptibly
from runtime.storage import locations as storage
from runtime.video.naming import is_clip

if TYPE_CHECKING:
    from runtime.archive.job import Job, Outcome
    from runtime.archive.tables import Tables

LOCAL = "local"
"""The address that starts a cluster on this machine, for the time of the work."""

_BATCH = 32  # pictures that a worker takes at a time: what is done again when it dies
_BATCHES = 10_000  # the driver holds a little of each
_CONNECT_S = 5.0


@dataclass(frozen=True)
class Workers:
    """How many workers there are, and how many GPUs and CPUs each has.

    None is what fits the cluster: a worker for each GPU or, without GPUs, for each node.
    """

    actors: int | None = None
    gpus: float | None = None
    cpus: float | None = None


class Cluster:
    """A connection to the Ray cluster at `address` ("host:port", "auto" or `LOCAL`).

    Raises `ClusterError` when Ray is not installed or the cluster cannot be reached.
    """

    def __init__(self, address: str = LOCAL) -> None:
        self._ray = load_ray()
        self._ours = not self._ray.is_initialized()  # an application's connection stays its own
        if self._ours:
            _connect(self._ray, address)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._ray.shutdown()

    def restore(
        self, job: "Job", archive: "Sequence[str] | Tables", workers: Workers
    ) -> "Generator[Outcome, None, None]":
        """Do a job on paths and URLs, or on tables. Yields what became of each picture.

        A picture whose worker dies is done again, by itself; after three deaths it has failed.
        Raises `ClusterError` when no node can hold such a worker, or none can start.
        """
        workers, threads = self._fitted(workers, job)
        job = replace(job, threads=threads)
        storage.make_folder(job.out)
        return self._stream(job, archive, workers)

    def _stream(
        self, job: "Job", archive: "Sequence[str] | Tables", workers: Workers
    ) -> "Generator[Outcome, None, None]":
        from runtime.archive.job import Outcome

        data = self._rows(archive, workers)
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
            batch_format="pyarrow",  # as the columns are, even where a name is no text,
            # at least 1: a node's death may leave room for no more
            concurrency=(1, workers.actors, workers.actors),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
        )
        # rows that cannot be read are missing then, and end no run; they are counted below
        done.context.max_errored_blocks = -1
        found = 0
        try:
            for row in done.iter_rows():
                outcome = json.loads(row["outcome"])
                found += 1
                yield Outcome(**outcome | {"notes": tuple(outcome["notes"])})
            said = ray.get(ledger.failure.remote())
        except ray.exceptions.RayError as error:
            raise self._failure(ledger, error) from error
        if said is not None:
            raise ClusterError(said)
        if missing := _count(archive) - found:
            yield _unread(archive, missing)
        for text in ray.get(ledger.warnings.remote()):
            warnings.warn(text, DmdnetWarning, stacklevel=2)

    def _failure(self, ledger: Any, error: Exception) -> ClusterError:
        """What a worker said before it failed, or that the cluster failed."""
        with suppress(self._ray.exceptions.RayError):
            said: str | None = self._ray.get(ledger.failure.remote(), timeout=_CONNECT_S)
            if said is not None:
                return ClusterError(said)
        cause = getattr(error, "cause", None)  # of a task, such as one that reads a Parquet file
        if isinstance(cause, Exception):
            text = error_line(cause)
        else:
            text = str(error).strip().splitlines()[0]
        return ClusterError(f"the Ray cluster failed: {text}; run again with --resume")

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
                f"{has}; change --ray-cpus or --ray-gpus"
            )
        # beside a GPU a worker uses more than Ray reserves for it, to keep the GPU busy
        share = min(node["CPU"] for node in nodes) / a_node if gpus else cpus
        threads = job.threads or (None if a_node == 1 else max(1, int(share)))
        return Workers(actors, gpus, cpus), threads

    def _rows(self, archive: "Sequence[str] | Tables", workers: Workers) -> Any:
        """Ray's rows, in blocks of a batch each."""
        import pyarrow

        from runtime.archive.tables import Tables

        count = _count(archive)
        size = _batch_size(count, workers)
        if isinstance(archive, Tables):
            data = self._ray.data.read_parquet(
                list(archive.paths),
                filesystem=storage.store_of(archive.paths[0]),
                override_num_blocks=math.ceil(count / size),
            )
            return data.select_columns(list(archive.columns))
        return self._ray.data.from_arrow(
            [
                pyarrow.table({"path": [os.fsencode(name) for name in batch]})
                for batch in batches(archive, size)
            ]
        )


def _count(archive: "Sequence[str] | Tables") -> int:
    return len(archive) if isinstance(archive, Sequence) else archive.count


def _unread(archive: "Sequence[str] | Tables", missing: int) -> "Outcome":
    """The one outcome for all pictures that could not be read."""
    from runtime.archive.job import Outcome

    names = [] if isinstance(archive, Sequence) else archive.paths
    source = ", ".join(map(public_name, names)) or "the archive"
    error = (
        f"{source}: {missing} pictures could not be read, most likely because of a damaged file; "
        "with --resume and without --ray, dmd-restore names that file and does what is left"
    )
    return Outcome(source, "", "", error)


def _batch_size(pictures: int, workers: Workers) -> int:
    """Small enough to share the work out, large enough that a million are few batches."""
    fair = pictures // (8 * (workers.actors or 1))
    return max(1, min(_BATCH, fair), math.ceil(pictures / _BATCHES))


def batches(names: Sequence[str], size: int) -> list[Sequence[str]]:
    """Clips, which take long, come first, and each alone: none is done again with another."""
    clips = [name for name in names if is_clip(name)]
    pictures = [name for name in names if not is_clip(name)] if clips else names
    starts = range(0, len(pictures), size)
    return [[clip] for clip in clips] + [pictures[start : start + size] for start in starts]


def _connect(ray: Any, address: str) -> None:
    if address not in (LOCAL, "auto"):
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or "/" in host:
            raise UsageError(
                f"--ray {address}: not an address host:port; for a cluster on this machine, put "
                "--ray after the INPUTs"
            )
        try:  # Ray itself would try for minutes, and then end the process
            interruptibly(socket.create_connection, (host, int(port)), _CONNECT_S).close()
        except (OSError, OverflowError) as error:
            raise ClusterError(f"no Ray cluster answers at {address}: {error}") from None
    options: dict[str, Any] = {}
    if address == LOCAL:
        options = {"num_cpus": max(2, os.cpu_count() or 1), "include_dashboard": False}
        os.environ.setdefault("RAY_worker_niceness", "0")  # 15 would be behind all other programs
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with _without_stderr():
            ray.init(address, log_to_driver=False, logging_level="error", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ClusterError(f"Ray cannot start or connect ({address}): {line}") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray puts in its own


@contextmanager
def _without_stderr() -> Iterator[None]:
    """What Ray's C++ says while it starts is not for the user's terminal."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
