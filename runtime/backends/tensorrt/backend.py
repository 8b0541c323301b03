"""TensorRT engines of either edition, run through PyCUDA."""

import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Boxes, DeviceSeconds, Rows
from runtime.backends.tensorrt.engine_files import Wanted, find_engine
from runtime.backends.tensorrt.lane import LoadedEngine
from runtime.backends.tensorrt.resident import ResidentRows
from runtime.backends.tensorrt.shared_engine import SharedEngine
from runtime.bundle.engine_record import FOLDER
from runtime.bundle.manifest import GraphSpec
from runtime.bundle.opening import Bundle
from runtime.errors import ClosedError, DeviceError, EngineError, UsageError
from runtime.images.arrays import Image
from runtime.machine.gpu import first_gpu, open_gpu
from runtime.machine.tensorrt_editions import Edition, load_edition


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
        first_gpu()  # the cheapest reason to refuse comes first
        self._edition = load_edition(edition)
        self._gpu = open_gpu()
        self._log = _listener(self._edition)
        self._runtime = self._edition.module.Runtime(self._log)
        self._lock = threading.Lock()
        self._closed = False
        self._memorizer: SharedEngine | None = None
        self._restorer = self._open("restorer", bundle.manifest.restorer)
        self._dictionaries = ResidentRows(self._gpu, dictionary_cache << 20)
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
        with self._gpu, self._dictionaries.hold([(rows,) for rows in people]) as memories:
            parts = list(zip(memories, people, strict=True))
            return cast(Image, self._restorer.run(inputs, {"dictionary": parts}))

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        with self._lock:
            if self._memorizer is None and not self._closed:
                self._memorizer = self._open("memorizer", self._bundle.manifest.memorizer)
            engine = self._memorizer
        if engine is None:
            raise ClosedError
        with self._gpu:
            return cast(Rows, engine.run({"image": image, "boxes": boxes}, {}))

    def information(self, graph: str) -> str:
        """The layers of an opened graph's engine, as JSON of TensorRT's engine inspector."""
        engine = self._restorer if graph == "restorer" else self._memorizer
        assert engine is not None
        with self._gpu:
            return engine.information()

    @property
    def last_restore(self) -> DeviceSeconds | None:
        """GPU time of the `restore` that ended last, in whichever thread; None before the first."""
        return self._restorer.last

    def close(self) -> None:
        with self._lock:
            self._closed = True
            engines = [self._restorer, *([self._memorizer] if self._memorizer else [])]
        with self._gpu:
            for engine in engines:
                engine.close()
            self._dictionaries.close()

    def _open(self, graph: str, spec: GraphSpec) -> SharedEngine:
        bundle, manifest = self._bundle, self._bundle.manifest
        sha256, precision = manifest.graph_sha256(graph), manifest.precision
        wanted = Wanted(graph, sha256, precision, self._edition, self._gpu.facts)
        record, content = find_engine(bundle.path, wanted, self._verify)
        path = bundle.path / FOLDER / record.file
        with self._gpu:
            self._refuse_gpu(content)
            engine = self._runtime.deserialize_cuda_engine(content)
            if engine is None:
                raise EngineError(
                    f"{path}: {self._edition} cannot load it: {self._log.last}; "
                    "build it again with dmd-build-engine --rebuild"
                )
            loaded = LoadedEngine(self._gpu, self._edition, self._log, engine, spec, record)
            return SharedEngine(loaded)

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
        raise EngineError(
            f"{self._edition} cannot load the engine on {gpu.name}: "
            f"{', '.join(named) or self._log.last}; build it again with dmd-build-engine --rebuild"
        )


def _listener(edition: Edition) -> Any:
    """A logger that keeps TensorRT's last error for our own messages, and prints nothing."""
    severity = edition.module.ILogger.Severity
    errors = (severity.INTERNAL_ERROR, severity.ERROR)

    class Listener(edition.module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.last = "no reason given"

        def log(self, level: Any, message: str) -> None:
            if level in errors:
                self.last = " ".join(message.split())

    return Listener()
