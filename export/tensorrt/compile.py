"""Build one engine from one ONNX graph, in a child process that can be stopped at any moment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from export.tensorrt.builder import Job
from export.tensorrt.options import BuildOptions
from export.tensorrt.progress import shown
from runtime import errors
from runtime.backends.tensorrt.log import is_full
from runtime.bundle.engine_record import Profile, Receipt
from runtime.bundle.manifest import GraphSpec
from runtime.errors import DeviceError, DeviceMemoryError, EngineError
from runtime.machine.tensorrt_editions import Edition
from runtime.storage.local import write_atomically

_BUILDER = "export.tensorrt.builder"
_LOG_LINES, _LOG_WIDTH, _LOG_BYTES = 3, 300, 4000  # of the child's log, in an error


def compile_engine(
    source: Path,
    spec: GraphSpec,
    edition: Edition,
    options: BuildOptions,
    out: Path,
    report: Callable[[str], None] = print,
) -> Receipt:
    """Build the engine of the ONNX file `source`, whose inputs `spec` describes, as the file `out`.

    Raises `EngineError`, with the end of TensorRT's log, if the graph cannot be read or built or
    the builder crashes; `DeviceMemoryError` if memory, the GPU's or the host's, runs out;
    `DeviceError` if TensorRT does not start here; `ExportError` if TensorRT does not keep the
    graph's precisions.
    """
    cache, staged = options.timing_cache, None
    if cache is not None and edition.name == "tensorrt_rtx":
        report(f"{edition} has no timing cache, so {cache} is not used")
        cache = None
    if cache is not None:  # a copy: the builder may be killed while it writes
        staged = out.with_name(f"{out.name}.timing")
        if cache.exists():
            shutil.copyfile(cache, staged)
    job = Job(
        str(source),
        edition.name,
        _sizes(spec, options.profile),
        options.workspace,
        str(staged) if staged is not None else None,
        str(out),
    )
    with (
        shown(f"{source.stem} engine", report) as show,
        tempfile.TemporaryFile() as log,
        _builder(job, log) as process,
    ):
        answer = _last_answer(process, show)
        code = process.wait()
        if "receipt" not in answer:
            raise _failure(answer, code, f"{source}: {edition}", _end(log))
    if cache is not None and staged is not None:
        write_atomically(cache, staged.read_bytes())
        staged.unlink()
    return Receipt(**answer["receipt"])


@contextmanager
def _builder(job: Job, log: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """The child process, at work on the job; killed afterwards, whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-P", "-m", _BUILDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)},
        start_new_session=True,  # Ctrl-C in a terminal goes to this process alone
    )
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError):  # a child that is gone already is told by its exit code
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]


def _last_answer(process: subprocess.Popen[str], show: Callable[[float], None]) -> dict[str, Any]:
    """Show progress until the child says how it ended; empty if it ends without a word."""
    assert process.stdout is not None
    for line in process.stdout:
        if not line.endswith("\n"):
            break  # it died in the middle of a line
        answer: dict[str, Any] = json.loads(line)
        if "done" not in answer:
            return answer
        show(answer["done"])
    return {}


def _failure(answer: dict[str, Any], code: int, what: str, log: str) -> errors.DmdnetError:
    if "error" in answer:
        kind: type[errors.DmdnetError] = getattr(errors, answer["kind"])
        if not issubclass(kind, DeviceError):
            return kind(answer["error"])
        return (DeviceMemoryError if is_full(log) else kind)(answer["error"] + log)
    name = signal.Signals(-code).name if code < 0 else ""
    if name == "SIGKILL":
        how = "was killed, most likely because memory ran out,"
    elif name:
        how = f"crashed ({name})"
    else:
        how = f"ended with exit code {code}"
    kind = DeviceMemoryError if name == "SIGKILL" or is_full(log) else EngineError
    return kind(f"{what} {how} while it built the engine{log}")


def _end(log: IO[bytes]) -> str:
    """The last lines of the log, as the end of a message."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_BYTES))
    lines = [line.strip()[:_LOG_WIDTH] for line in log.read().decode(errors="replace").splitlines()]
    # Polygraphy's warnings, and its "[!]", which is the error's own text again, say nothing more
    last = [line for line in lines if line and not line.startswith(("[W]", "[!]"))][-_LOG_LINES:]
    return f"; the end of its log: {' | '.join(last)}" if last else ""


def _sizes(spec: GraphSpec, profile: Profile) -> dict[str, Any]:
    """Each input's smallest, best and largest shape."""
    faces = (1, profile.opt_batch, profile.max_batch)
    references = (1, profile.opt_references, profile.max_references)
    if not any("faces" in tensor.shape for tensor in spec.inputs):
        references = faces  # the memorizer's batch
    free = {"faces": faces, "references": references}
    return {
        tensor.name: tuple(
            tuple(free[n][which] if isinstance(n, str) else n for n in tensor.shape)
            for which in range(3)
        )
        for tensor in spec.inputs
    }
