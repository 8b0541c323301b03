"""One worker of a Ray cluster, and the ledger in which workers note what they do."""

import json
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ClusterError, UsageError, error_line
from runtime.storage import locations as storage
from runtime.storage.temporary import remove_unfinished

if TYPE_CHECKING:
    from runtime.archive.job import Job, Outcome, Picture


_ATTEMPTS = 3  # deaths of a worker on one picture or clip
_GOES_ON = "; --resume goes on from its finished segments"


class Ledger:
    """What the workers tell the driver: pictures in work, warnings, and why they failed."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._warnings: dict[str, None] = {}
        self._failure: str | None = None

    def begin(self, name: str) -> None:
        """Note that a worker begins a picture."""
        self._begun[name] = self._begun.get(name, 0) + 1

    def end(self, name: str) -> None:
        """Note that a picture is done, however it ended."""
        self._begun.pop(name, None)

    def begun(self, names: Sequence[str]) -> dict[str, int]:
        """How often each of the pictures was begun by a worker that did not end it."""
        return {name: self._begun[name] for name in names if name in self._begun}

    def warn(self, text: str) -> None:
        self._warnings[text] = None

    def warnings(self) -> list[str]:
        return list(self._warnings)

    def fail(self, text: str) -> None:
        """Note why the run ends; the first reason counts."""
        self._failure = self._failure or text

    def failure(self) -> str | None:
        """Why the run ends; None while no worker has failed."""
        return self._failure


class Worker:
    """One process of the cluster, with one Restorer; Ray Data calls it with batches.

    `folder`: the driver's working directory, to which relative paths refer.
    """

    def __init__(self, job: "Job", ledger: Any, folder: Path) -> None:
        from runtime.archive.local import ArchiveRestorer

        self._ray = load_ray()
        self._job, self._ledger = job, ledger
        self._failed: Exception | None = None

        def tell(message: Warning | str, *_: object, **__: object) -> None:
            ledger.warn.remote(str(message))

        warnings.showwarning = tell
        with suppress(OSError):  # absolute paths and URLs do without
            os.chdir(folder)
        try:
            if not storage.is_url(job.out) and not Path(job.out).is_dir():
                raise UsageError(
                    f"{job.out} does not exist here: --out must be storage that all nodes share"
                )
            self._restorer = ArchiveRestorer(job)
        except Exception as error:
            self._fail(error)
            raise

    def __call__(self, batch: Any) -> Iterator[dict[str, list[str]]]:
        """Restore the pictures of an Arrow table. Yields a row for each, its outcome as JSON."""
        from runtime.archive.tables import pictures_of

        if self._failed is not None:  # what it would wait for is gone
            raise self._failed
        try:
            for outcome in self._restore(pictures_of(batch)):
                yield {"outcome": [json.dumps(asdict(outcome))]}
        except Exception as error:  # the engine is gone, or nothing can be written
            self._failed = error
            self._fail(error)
            raise

    def _fail(self, error: Exception) -> None:
        """Tell the driver why the run ends."""
        said = f"{error_line(error)} (a worker on {socket.gethostname()})"
        self._ray.get(self._ledger.fail.remote(said))

    def _restore(self, pictures: "Sequence[Picture]") -> "Iterator[Outcome]":
        """First, and each by itself, those that a worker died on: so only the guilty one fails."""
        from runtime.archive.job import Outcome

        names = [picture.name for picture in pictures]
        begun = self._ray.get(self._ledger.begun.remote(names))
        for picture in pictures:
            if begun.get(picture.name, 0) >= _ATTEMPTS:
                output = self._job.output_of(picture.name, picture.in_table)
                what = "clip" if picture.is_clip else "picture"
                error = f"{picture.name}: the worker died on this {what} {_ATTEMPTS} times"
                if picture.is_clip and not storage.is_url(output):
                    error += _GOES_ON
                yield Outcome(picture.name, output, self._restorer.backend, error)
            elif picture.name in begun:
                if not storage.is_url(self._job.out):
                    remove_unfinished(Path(self._job.out))
                yield from self._do([picture], again=True)
        yield from self._do([picture for picture in pictures if picture.name not in begun])

    def _do(self, pictures: "Sequence[Picture]", again: bool = False) -> "Iterator[Outcome]":
        for outcome in self._restorer.restore(self._begin(pictures), again):
            yield outcome
            self._ledger.end.remote(outcome.input)

    def _begin(self, pictures: "Sequence[Picture]") -> "Iterator[Picture]":
        for picture in pictures:
            self._ray.get(self._ledger.begin.remote(picture.name))
            yield picture


def load_ray() -> Any:
    """Import Ray, and silence it, which must come first. Raises `ClusterError` without Ray."""
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
