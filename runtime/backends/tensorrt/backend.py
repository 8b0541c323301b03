"""TensorRT engines of either edition, run through PyCUDA."""

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Boxes, DeviceSeconds, Rows
from runtime.backends.tensorrt.engine_files import Wanted, find_engine
from runtime.backends.tensorrt.resident import ResidentRows
from runtime.bundle.engine_record import FOLDER, EngineRecord
from runtime.bundle.manifest import GraphSpec
from runtime.bundle.opening import Bundle
from runtime.errors import (
    BundleError,
    DeviceError,
    DeviceMemoryError,
    DmdnetWarning,
    EngineError,
    UsageError,
)
from runtime.images.arrays import Image
from runtime.machine.gpu import Device, first_gpu, open_device
from runtime.machine.tensorrt_editions import Edition, load_edition

_LANES = 2  # while one copies or waits for the host, the other computes
_ADVICE = "lower --max-batch or --max-references of the engine, or free the GPU"


class TensorRtBackend:
    """The bundle's engines for this machine; the memorizer's is opened when it is first needed.

    `edition`: "tensorrt" or "tensorrt_rtx". `verify`: check the engines' hashes.
    `dictionary_cache`: MiB of the GPU for dictionaries that no call is using.
    Raises `DeviceError` (`EngineError` for the engine files).
    """

    def __init__(
        self, bundle: Bundle, edition: str, *, verify: bool = True, dictionary_cache: int = 512
    ) -> None:
        self._bundle, self._verify = bundle, verify
        first_gpu()  # the cheapest reason to refuse comes first
        self._edition = load_edition(edition)
        self._device = open_device()
        self._log = _listener(self._edition)
        self._runtime = self._edition.module.Runtime(self._log)
        self._lock = threading.Lock()
        self._closed = False
        self._memorizer: _Engine | None = None
        self._restorer = self._open("restorer", bundle.manifest.restorer)
        self._dictionaries = ResidentRows(self._device, dictionary_cache << 20)
        profile = self._restorer.record.profile
        self.max_batch = profile.max_batch
        self.max_references: int | None = profile.max_references
        self.description = f"{self._edition}, {self._device.gpu.name}, {bundle.manifest.precision}"

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
        inputs: dict[str, NDArray[Any]] = {
            "image": image,
            "boxes": boxes,
            "membership": membership,
        }
        with self._device, self._dictionaries.hold([(rows,) for rows in people]) as memories:
            parts = list(zip(memories, people, strict=True))
            return cast(Image, self._restorer.run(inputs, {"dictionary": parts}))

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        with self._lock:
            if self._memorizer is None and not self._closed:
                self._memorizer = self._open("memorizer", self._bundle.manifest.memorizer)
            engine = self._memorizer
        if engine is None:
            raise BundleError("this Restorer is closed")
        with self._device:
            return cast(Rows, engine.run({"image": image, "boxes": boxes}, {}))

    def information(self, graph: str) -> str:
        """What the finished engine of an opened graph runs, as the inspector's JSON."""
        engine = self._restorer if graph == "restorer" else self._memorizer
        assert engine is not None
        with self._device:
            return engine.information()

    @property
    def last_restore(self) -> DeviceSeconds | None:
        """Of the `restore` that ended last, in whichever thread; None before the first."""
        return self._restorer.last

    def close(self) -> None:
        with self._lock:
            self._closed = True
            engines = [self._restorer, *([self._memorizer] if self._memorizer else [])]
        with self._device:
            for engine in engines:
                engine.close()
            self._dictionaries.close()

    def _open(self, graph: str, spec: GraphSpec) -> "_Engine":
        bundle = self._bundle
        wanted = Wanted(
            graph,
            bundle.manifest.graph_sha256(graph),
            bundle.manifest.precision,
            self._edition,
            self._device.gpu,
        )
        record = find_engine(bundle.path, wanted, self._verify)
        path = bundle.path / FOLDER / record.file
        with self._device:
            content = path.read_bytes()
            self._refuse_gpu(content)
            engine = self._runtime.deserialize_cuda_engine(content)
            if engine is None:
                raise EngineError(
                    f"{path}: {self._edition} cannot load it: {self._log.last}; "
                    "build it again with dmd-build-engine --rebuild"
                )
            return _Engine(_Loaded(self._device, self._edition, self._log, engine, spec, record))

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
        gpu = self._device.gpu
        if found & diagnostics.UNSUPPORTED_CC.value:
            raise DeviceError(
                f"{self._edition} does not run on compute capability {gpu.capability} ({gpu.name})"
            )
        raise EngineError(
            f"{self._edition} cannot load the engine on {gpu.name}: "
            f"{', '.join(named) or self._log.last}; build it again with dmd-build-engine --rebuild"
        )


@dataclass(frozen=True)
class _Loaded:
    """A deserialised engine, and what its execution contexts need."""

    device: Device
    edition: Edition
    log: Any
    engine: Any
    spec: GraphSpec
    record: EngineRecord


class _Engine:
    """A loaded engine and its lanes: execution contexts with a stream and buffers of their own."""

    def __init__(self, loaded: _Loaded) -> None:
        self.record = loaded.record
        self.last: DeviceSeconds | None = None
        self._loaded = loaded
        self._changed = threading.Condition()
        self._idle = [_Lane(loaded)]
        self._lanes, self._most = 1, _LANES
        self._closed = False

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        resident: Mapping[str, Sequence[tuple[Any, Rows]]],
    ) -> NDArray[Any]:
        """One engine call; `resident`: inputs that are on the device, in parts. Device current."""
        with self._lane() as lane:
            result, self.last = lane.run(inputs, resident)
            return result

    def information(self) -> str:
        trt = self._loaded.edition.module
        with self._lane() as lane:
            inspector = self._loaded.engine.create_engine_inspector()
            inspector.execution_context = lane.context  # with its shapes, formats are known
            text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
            inspector.execution_context = None
            return str(text)

    def close(self) -> None:
        """Free the idle lanes; those at work are freed when they come back. Device current."""
        with self._changed:
            self._closed = True
            while self._idle:
                self._idle.pop().free()
            self._changed.notify_all()

    @contextmanager
    def _lane(self) -> Iterator["_Lane"]:
        lane = self._take()
        try:
            yield lane
        finally:
            with self._changed:
                if self._closed:
                    lane.free()
                else:
                    self._idle.append(lane)
                self._changed.notify()

    def _take(self) -> "_Lane":
        with self._changed:
            while True:
                if self._closed:
                    raise BundleError("this Restorer is closed")
                if self._idle:
                    return self._idle.pop()
                if self._lanes < self._most:
                    try:
                        lane = _Lane(self._loaded)
                    except DeviceMemoryError as error:
                        self._most = self._lanes
                        warnings.warn(
                            f"threads take turns on {self._lanes} execution context: {error}",
                            DmdnetWarning,
                            stacklevel=2,
                        )
                        continue
                    self._lanes += 1
                    return lane
                self._changed.wait()


class _Lane:
    """An execution context, its stream, and page-locked and device buffers of the largest size."""

    def __init__(self, loaded: _Loaded) -> None:
        device, spec, record = loaded.device, loaded.spec, loaded.record
        self._device, self._log = device, loaded.log
        self._output = spec.outputs[0]
        self._stream = device.driver.Stream()
        self._events = [device.driver.Event() for _ in range(4)]
        self._host: dict[str, NDArray[Any]] = {}
        self._memory: dict[str, Any] = {}
        sizes = {"faces": record.profile.max_batch, "references": record.profile.max_references}
        if record.graph == "memorizer":
            sizes["references"] = record.profile.max_batch
        try:
            with device.out_of_memory_as(_ADVICE):
                for tensor in (*spec.inputs, *spec.outputs):
                    shape = [sizes[n] if isinstance(n, str) else n for n in tensor.shape]
                    nbytes = int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize
                    if tensor.name != "dictionary" or record.graph == "memorizer":
                        self._host[tensor.name] = device.driver.pagelocked_empty(nbytes, np.uint8)
                    self._memory[tensor.name] = device.driver.mem_alloc(nbytes)
            self.context = _context(loaded)
            if self.context is None:
                raise DeviceMemoryError(
                    f"{device.gpu.name} has no memory for an execution context "
                    f"({loaded.log.last}); {_ADVICE}"
                )
        except BaseException:
            self.free()
            raise

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        resident: Mapping[str, Sequence[tuple[Any, Rows]]],
    ) -> tuple[NDArray[Any], DeviceSeconds]:
        with self._device.out_of_memory_as(_ADVICE):
            try:
                return self._run(inputs, resident)
            except BaseException:
                self._stream.synchronize()  # the buffers may not change while they are copied
                raise

    def _run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        resident: Mapping[str, Sequence[tuple[Any, Rows]]],
    ) -> tuple[NDArray[Any], DeviceSeconds]:
        driver, context, stream = self._device.driver, self.context, self._stream
        begin, copied, done, end = self._events
        begin.record(stream)
        for name, array in inputs.items():
            host = self._view(name, array.shape, array.dtype)
            np.copyto(host, array)
            driver.memcpy_htod_async(self._memory[name], host, stream)
            self._bind(name, array.shape, self._memory[name])
        for name, parts in resident.items():
            shape = (sum(len(rows) for _, rows in parts), parts[0][1].shape[1])
            self._bind(name, shape, self._joined(name, parts))
        output = self._output
        self._bind(output.name, None, self._memory[output.name])
        shape = tuple(context.get_tensor_shape(output.name))
        copied.record(stream)
        if not context.execute_async_v3(stream.handle):
            raise DeviceError(f"the engine failed: {self._log.last}")
        done.record(stream)
        host = self._view(output.name, shape, np.dtype(output.dtype))
        driver.memcpy_dtoh_async(host, self._memory[output.name], stream)
        end.record(stream)
        stream.synchronize()
        steps = ((begin, copied), (copied, done), (done, end))
        seconds = (late.time_since(early) / 1000 for early, late in steps)
        return host.copy(), DeviceSeconds(*seconds)

    def free(self) -> None:
        """Device current."""
        self.context = self._stream = None
        self._events = []
        for memory in self._memory.values():
            memory.free()
        self._memory, self._host = {}, {}

    def _joined(self, name: str, parts: Sequence[tuple[Any, Rows]]) -> Any:
        """One person's rows where they are; several people's one below the other."""
        if len(parts) == 1:
            return parts[0][0]
        start = int(self._memory[name])
        for memory, rows in parts:
            self._device.driver.memcpy_dtod_async(start, memory, rows.nbytes, self._stream)
            start += rows.nbytes
        return self._memory[name]

    def _bind(self, name: str, shape: tuple[int, ...] | None, memory: Any) -> None:
        if shape is not None and not self.context.set_input_shape(name, shape):
            raise DeviceError(f"the engine refuses {name} of shape {shape}: {self._log.last}")
        if not self.context.set_tensor_address(name, int(memory)):
            raise DeviceError(f"the engine refuses the address of {name}: {self._log.last}")

    def _view(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The first bytes of the page-locked buffer as an array."""
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return self._host[name][:nbytes].view(dtype).reshape(shape)


def _context(loaded: _Loaded) -> Any:
    """An execution context; TensorRT for RTX captures and replays CUDA graphs by itself."""
    engine = loaded.engine
    if loaded.edition.name != "tensorrt_rtx":
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = loaded.edition.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


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
