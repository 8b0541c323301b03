"""TensorRT engines of either edition, run through PyCUDA."""

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Boxes, DeviceSeconds, Rows
from runtime.backends.tensorrt.contexts import LoadedEngine
from runtime.backends.tensorrt.engine_files import Wanted, find_engine
from runtime.backends.tensorrt.log import is_full, listener
from runtime.backends.tensorrt.resident import ResidentRows
from runtime.backends.tensorrt.runtime_cache import RuntimeCache
from runtime.backends.tensorrt.shared_engine import SharedEngine
from runtime.bundle.engine_record import FOLDER
from runtime.bundle.manifest import GraphSpec
from runtime.bundle.opening import Bundle
from runtime.errors import (
    ClosedError,
    DeviceError,
    DeviceMemoryError,
    EngineCallError,
    EngineError,
    UsageError,
)
from runtime.images.arrays import Image
from runtime.machine.gpu import GpuContext, first_gpu, open_gpu
from runtime.machine.tensorrt_editions import load_edition, refuse_capability

_REBUILD = "build it again with dmd-build-engine --rebuild"
# Words in TensorRT's log (8 to 10, as quoted in public reports) for an engine of another version or
# GPU, or a malformed one
_REBUILD_WORDS = ("serialization assertion", "version tag", "magic tag", "plan file")


class TensorRtBackend:
    """Runs a bundle's TensorRT engines for this machine; the memorizer's is opened on first use.

    `edition`: "tensorrt" or "tensorrt_rtx". `verify`: check the engines' hashes.
    `dictionary_cache`: MiB of GPU memory for dictionaries that no call is using.
    Raises `DeviceError`, or its subclass `EngineError` for the engine files.
    """

    def __init__(
        self, bundle: Bundle, edition: str, *, verify: bool = True, dictionary_cache: int = 512
    ) -> None:
        self._bundle, self._verify = bundle, verify
        refuse_capability(edition, first_gpu())  # the cheapest reason to refuse comes first
        self._edition = load_edition(edition)
        self._gpu = open_gpu()
        self._log = listener(self._edition)
        self._runtime = self._start()
        self._lock = threading.Lock()
        self._dictionaries = ResidentRows(self._gpu, dictionary_cache << 20)
        self._engines: dict[str, SharedEngine] = {}
        # runs also where nobody calls `close`, in whichever thread the backend is then dropped
        self._finalizer = weakref.finalize(
            self, _free, self._gpu, self._engines, self._dictionaries
        )
        try:
            self._restorer = self._open("restorer", bundle.manifest.restorer)
        except BaseException:
            self._finalizer()  # else it would run only when the error is forgotten
            raise
        profile = self._restorer.record.profile
        self.max_batch = profile.max_batch
        self.max_references: int | None = profile.max_references
        self.description = f"{self._edition}, {self._gpu.facts.name}, {bundle.manifest.precision}"

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        references = sum(len(rows) for rows in people)
        profile = self._restorer.record.profile
        if len(image) > profile.max_batch or references > profile.max_references:
            raise UsageError(
                f"{len(image)} faces and {references} references in one call; the engine takes "
                f"{profile.max_batch} and {profile.max_references}"
            )
        inputs: dict[str, NDArray[Any]] = {"image": image, "boxes": boxes, "membership": membership}
        with _current(self._gpu), self._dictionaries.hold([(rows,) for rows in people]) as memories:
            parts = list(zip(memories, people, strict=True))
            return cast(Image, self._restorer.run(inputs, {"dictionary": parts}))

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        if len(image) > self.max_batch:  # of both engines, which are built with one profile
            raise UsageError(f"{len(image)} faces in one call; the engine takes {self.max_batch}")
        with self._lock:
            if not self._finalizer.alive:
                raise ClosedError
            if "memorizer" not in self._engines:
                self._open("memorizer", self._bundle.manifest.memorizer)
            engine = self._engines["memorizer"]
        with _current(self._gpu):
            return cast(Rows, engine.run({"image": image, "boxes": boxes}, {}))

    def information(self, graph: str) -> str:
        """The layers of an opened graph's engine, as JSON of TensorRT's engine inspector."""
        with _current(self._gpu):
            return self._engines[graph].information()

    @property
    def last_restore(self) -> DeviceSeconds | None:
        """GPU time of the `restore` that ended last, in whichever thread; None before the first."""
        return self._restorer.last

    def close(self) -> None:
        with self._lock:
            self._finalizer()

    def _open(self, graph: str, spec: GraphSpec) -> SharedEngine:
        with _current(self._gpu):
            opened = self._engines[graph] = self._load(graph, spec)
        return opened

    def _load(self, graph: str, spec: GraphSpec) -> SharedEngine:
        bundle, manifest = self._bundle, self._bundle.manifest
        sha256, precision = manifest.graph_sha256(graph), manifest.precision
        wanted = Wanted(graph, sha256, precision, self._edition, self._gpu.facts)
        record, content = find_engine(bundle.path, wanted, self._verify)
        path = bundle.path / FOLDER / record.file
        self._refuse_gpu(content)
        before = self._log.count
        with self._gpu.alone:
            engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise _unloaded(f"{path}: {self._edition} cannot load it", self._log.since(before))
        cache = None
        if self._edition.name == "tensorrt_rtx":
            cache = RuntimeCache(self._edition, engine, record.sha256)
        return SharedEngine(
            LoadedEngine(self._gpu, self._edition, self._log, engine, spec, record, cache)
        )

    def _start(self) -> Any:
        """TensorRT's runtime; the binding has no better word for what its library refuses."""
        try:
            return self._edition.module.Runtime(self._log)
        except TypeError:  # "factory function returned nullptr"
            raise DeviceError(f"{self._edition} cannot start: {self._log.last}") from None

    def _refuse_gpu(self, content: bytes) -> None:
        """TensorRT for RTX can tell beforehand whether it runs on this GPU."""
        trt = self._edition.module
        if self._edition.name != "tensorrt_rtx":
            return
        validity, found = self._runtime.get_engine_validity(content)
        if validity != trt.EngineValidity.INVALID:
            return
        diagnostics = trt.EngineInvalidityDiagnostics
        named = [name for name, bit in diagnostics.__members__.items() if found & bit.value]
        gpu = self._gpu.facts
        if found & diagnostics.UNSUPPORTED_CC.value:
            raise DeviceError(
                f"{self._edition} does not run on compute capability {gpu.capability} ({gpu.name})"
            )
        what = f"{self._edition} cannot load the engine on {gpu.name}"
        why = ", ".join(named) or self._log.last
        if found & diagnostics.INSUFFICIENT_GPU_MEMORY.value:
            raise DeviceMemoryError(f"{what}: {why}; free the GPU")
        if named and set(named) <= {"VERSION_MISMATCH", "MALFORMED_ENGINE"}:
            raise EngineError(f"{what}: {why}; {_REBUILD}")
        raise DeviceError(f"{what}: {why}")  # the driver's, which a new engine does not mend


@contextmanager
def _current(gpu: GpuContext) -> Iterator[None]:
    """Make the GPU's context current in the thread, and PyCUDA's errors ours."""
    with gpu, gpu.errors_as_ours("free the GPU"):
        yield


def _free(gpu: GpuContext, engines: dict[str, SharedEngine], dictionaries: ResidentRows) -> None:
    """Give back all GPU memory, but for that of calls which are still running: at their end."""
    with _current(gpu), ExitStack() as all_of_them:  # also where one of them raises
        all_of_them.callback(dictionaries.close)
        for engine in engines.values():
            all_of_them.callback(engine.close)


def _unloaded(what: str, logged: list[str]) -> DeviceError:
    """The error for an engine that TensorRT did not load; what it logged says why.

    The first line that we know decides, since others may follow from it: of foreign bytes on a
    machine without a driver, TensorRT logs the bytes first, and then the driver, too.
    """
    for line in logged:
        if is_full(line):
            return DeviceMemoryError(f"{what}: {line}; free the GPU")
        if any(words in line.lower() for words in _REBUILD_WORDS):
            return EngineError(f"{what}: {line}; {_REBUILD}")
        if "capturing" in line:  # of a CUDA graph, in this process; it ends soon
            return EngineCallError(f"{what} just now: {line}")
    return DeviceError(f"{what}: {logged[-1] if logged else 'no reason given'}")
