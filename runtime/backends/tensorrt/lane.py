"""One execution context of an engine, with a stream and buffers of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import DeviceSeconds, Rows
from runtime.bundle.engine_record import EngineRecord
from runtime.bundle.manifest import GraphSpec
from runtime.errors import DeviceError, DeviceMemoryError, EngineCallError
from runtime.machine.gpu import GpuContext
from runtime.machine.tensorrt_editions import Edition

Inputs = Mapping[str, NDArray[Any]]
"""A call's inputs in host memory, by name."""

Resident = Mapping[str, Sequence[tuple[Any, Rows]]]
"""A call's inputs in GPU memory, by name: the address of each part, and the rows copied there."""

_ADVICE = "lower --max-batch or --max-references of the engine, or free the GPU"


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialised engine, and what its execution contexts need.

    `engine` is TensorRT's ICudaEngine, `log` the listener that keeps its last error.
    """

    gpu: GpuContext
    edition: Edition
    log: Any
    engine: Any
    spec: GraphSpec
    record: EngineRecord


class Lane:
    """An execution context with its stream, and page-locked and GPU buffers of the largest size.

    Raises `DeviceMemoryError` where the GPU has no memory for them. The GPU context must be
    current in the thread that opens, runs or frees it; one thread at a time.
    """

    def __init__(self, loaded: LoadedEngine) -> None:
        gpu, spec, record = loaded.gpu, loaded.spec, loaded.record
        self._gpu, self._log = gpu, loaded.log
        self._output = spec.outputs[0]
        self._stream = gpu.driver.Stream()
        self._events = [gpu.driver.Event() for _ in range(4)]
        self._host: dict[str, NDArray[Any]] = {}
        self._memory: dict[str, Any] = {}
        sizes = {"faces": record.profile.max_batch, "references": record.profile.max_references}
        if record.graph == "memorizer":
            sizes["references"] = record.profile.max_batch
        try:
            with gpu.errors_as_ours(_ADVICE):
                for tensor in (*spec.inputs, *spec.outputs):
                    shape = [sizes[n] if isinstance(n, str) else n for n in tensor.shape]
                    nbytes = int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize
                    if tensor.name != "dictionary" or record.graph == "memorizer":
                        self._host[tensor.name] = gpu.driver.pagelocked_empty(nbytes, np.uint8)
                    self._memory[tensor.name] = gpu.driver.mem_alloc(nbytes)
            self.context = _context(loaded)
            if self.context is None:
                raise DeviceMemoryError(
                    f"{gpu.facts.name} has no memory for an execution context "
                    f"({loaded.log.last}); {_ADVICE}"
                )
        except BaseException:
            self.free()
            raise

    def run(self, inputs: Inputs, resident: Resident) -> tuple[NDArray[Any], DeviceSeconds]:
        """Make one engine call. Returns its output, and what it took on the GPU."""
        with self._gpu.errors_as_ours(_ADVICE):
            try:
                return self._run(inputs, resident)
            except BaseException:
                self._stream.synchronize()  # the buffers may not change while they are copied
                raise

    def _run(self, inputs: Inputs, resident: Resident) -> tuple[NDArray[Any], DeviceSeconds]:
        driver, context, stream = self._gpu.driver, self.context, self._stream
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
        """Free the GPU memory; the GPU context must be current in the thread."""
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
            self._gpu.driver.memcpy_dtod_async(start, memory, rows.nbytes, self._stream)
            start += rows.nbytes
        return self._memory[name]

    def _bind(self, name: str, shape: tuple[int, ...] | None, memory: Any) -> None:
        if shape is not None and not self.context.set_input_shape(name, shape):
            raise EngineCallError(f"the engine refuses {name} of shape {shape}: {self._log.last}")
        if not self.context.set_tensor_address(name, int(memory)):
            raise EngineCallError(f"the engine refuses the address of {name}: {self._log.last}")

    def _view(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The first bytes of the page-locked buffer as an array."""
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return self._host[name][:nbytes].view(dtype).reshape(shape)


def _context(loaded: LoadedEngine) -> Any:
    """An execution context; TensorRT for RTX captures and replays CUDA graphs by itself."""
    engine = loaded.engine
    if loaded.edition.name != "tensorrt_rtx":
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = loaded.edition.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)
