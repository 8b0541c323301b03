"""The child process that builds one engine, started by `export.tensorrt.compile`.

TensorRT cannot be stopped safely in the middle of a build, so it builds in a process of its own,
which holds nothing and may be killed at any moment. The job is one line of JSON on stdin; when
stdin closes after it, the parent is gone and so is this process. Answers are lines of JSON on
stdout: `{"done": 0.4}` several times a second, then `{"receipt": ...}` once the engine is written,
or `{"error": ..., "kind": ...}`. Whatever the libraries print goes to stderr.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from export.tensorrt.progress import Phases
from export.tensorrt.receipt import receipt
from runtime.bundle.engine_record import Receipt
from runtime.errors import DeviceError, DeviceMemoryError, DmdnetError, EngineError
from runtime.machine.tensorrt_editions import Edition, load_edition
from runtime.storage.local import write_atomically

_BEAT = 0.2  # seconds between two reports of progress


@dataclass(frozen=True)
class Job:
    """One engine to build, as plain values that are sent as JSON.

    `source`: the ONNX file. `sizes`: the smallest, best and largest shape of each input.
    `workspace`: GiB. `timing_cache`: a file that is read if it exists, and extended. `out`: the
    engine's file.
    """

    source: str
    edition: str
    sizes: Mapping[str, Sequence[Sequence[int]]]
    workspace: float | None
    timing_cache: str | None
    out: str


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and kills this process
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    phases = Phases()
    threading.Thread(target=_beat, args=(answers, phases), daemon=True).start()
    try:
        answer: dict[str, object] = {"receipt": asdict(_build(job, phases))}
    except DmdnetError as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    except MemoryError:
        answer = {"error": f"{job.source}: out of memory", "kind": DeviceMemoryError.__name__}
    _send(answers, answer)


def _build(job: Job, phases: Phases) -> Receipt:
    """Build the engine and write it. Raises `DeviceError`, or `ExportError` for its precision."""
    edition = load_edition(job.edition)
    trt, polygraphy = edition.module, _polygraphy(edition)
    with _as_ours(edition, f"{job.source}: {edition} cannot read it"):
        parsed = polygraphy.network_from_onnx_path(job.source, strongly_typed=True)
    builder, network, _ = parsed
    best = {name: shapes[1] for name, shapes in job.sizes.items()}
    checked = receipt(Path(job.source), trt, network, best)
    profile = polygraphy.Profile()
    for name, (least, middle, most) in job.sizes.items():
        profile.add(name, tuple(least), tuple(middle), tuple(most))
    limits, cache = None, job.timing_cache
    if job.workspace is not None:
        limits = {trt.MemoryPoolType.WORKSPACE: int(job.workspace * 2**30)}
    with _as_ours(edition, f"{job.source}: {edition} cannot build an engine"):
        config = polygraphy.create_config(
            builder,
            network,
            profiles=[profile],
            memory_pool_limits=limits,
            load_timing_cache=cache if cache is not None and Path(cache).exists() else None,
            progress_monitor=_monitor(trt, phases),
        )
        engine = polygraphy.engine_bytes_from_network(parsed, config, save_timing_cache=cache)
    write_atomically(Path(job.out), engine)
    return checked


def _polygraphy(edition: Edition) -> Any:
    """Polygraphy's loaders, bound to the edition."""
    import polygraphy.config

    polygraphy.config.USE_TENSORRT_RTX = edition.name == "tensorrt_rtx"
    from polygraphy.backend import trt
    from polygraphy.logger import G_LOGGER

    G_LOGGER.module_severity = G_LOGGER.ERROR
    return trt


@contextmanager
def _as_ours(edition: Edition, what: str) -> Iterator[None]:
    """Polygraphy's exceptions as `EngineError`, or `DeviceError` where TensorRT does not start."""
    from polygraphy.exception import PolygraphyException

    try:
        yield
    except TypeError as error:  # the binding's words where TensorRT makes no builder
        if "nullptr" not in str(error):
            raise
        raise DeviceError(f"{edition} cannot start") from None
    except PolygraphyException as error:
        raise EngineError(f"{what}: {' '.join(str(error).split())}") from None


def _monitor(trt: Any, phases: Phases) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            phases.begin(name, steps)

        def step_complete(self, name: str, step: int) -> bool:
            phases.step(name, step)
            return True

        def phase_finish(self, name: str) -> None:
            phases.end(name)

    return Monitor()


_sending = threading.Lock()


def _send(answers: TextIO, answer: dict[str, object]) -> None:
    with _sending:
        answers.write(json.dumps(answer) + "\n")


def _beat(answers: TextIO, phases: Phases) -> None:
    while True:
        _send(answers, {"done": phases.fraction})
        time.sleep(_BEAT)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
