"""The execution contexts of a lane, and the CUDA graphs that are captured from them."""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from runtime.backends.tensorrt.log import is_full
from runtime.backends.tensorrt.runtime_cache import RuntimeCache
from runtime.bundle.engine_record import EngineRecord
from runtime.bundle.manifest import GraphSpec
from runtime.errors import DeviceError, DeviceMemoryError, DmdnetWarning, EngineCallError
from runtime.machine.cuda_graphs import CudaGraph
from runtime.machine.gpu import GpuContext
from runtime.machine.tensorrt_editions import Edition

ADVICE = "lower --max-batch or --max-references of the engine, or free the GPU"

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of a call's inputs, by name."""

_NOTHING = nullcontext()
_TRIES = 3  # of a capture, which another library's wait for the whole GPU may end
_QUIET = 4  # runs of new shapes, until TensorRT for RTX should have captured its own graph
_GRAPHS = 8  # of each lane; a graph keeps a context, of little memory beside the activations


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialised engine, and what its execution contexts need.

    `engine`: TensorRT's ICudaEngine. `log`: the listener that keeps TensorRT's last errors.
    `cache`: the runtime cache, which only TensorRT for RTX has.
    """

    gpu: GpuContext
    edition: Edition
    log: Any
    engine: Any
    spec: GraphSpec
    record: EngineRecord
    cache: RuntimeCache | None = None


class Contexts:
    """Runs an engine on one stream, with inputs and outputs at the `addresses` of their names.

    TensorRT for RTX captures CUDA graphs by itself. For full TensorRT, shapes that come again get
    a context of their own, since a graph holds as long as its context is not changed, and from
    the third call on a graph; all contexts share one memory for activations. The first shapes
    keep their graphs: to replace them would cost more than they save where shapes change often.
    The GPU context must be current.
    """

    def __init__(self, loaded: LoadedEngine, addresses: Mapping[str, int], handle: int) -> None:
        self._loaded, self._addresses, self._handle = loaded, addresses, handle
        self._most = 0 if loaded.cache else _GRAPHS
        # TensorRT for RTX captures after some runs of new shapes, within its call
        self._quiet: AbstractContextManager[Any] = loaded.gpu.alone if loaded.cache else _NOTHING
        self._memory: Any = None  # for the activations of all contexts
        self.any_shape: Any = None
        self._now: _Shaped | None = None  # what `any_shape` is set to
        self._seen: set[tuple[tuple[int, ...], ...]] = set()
        self._own: dict[tuple[tuple[int, ...], ...], _Shaped] = {}
        if not loaded.cache:
            with loaded.gpu.errors_as_ours(ADVICE):
                self._memory = loaded.gpu.driver.mem_alloc(loaded.engine.device_memory_size_v2)
        try:
            self.any_shape = self._context()
        except BaseException:
            self.free()
            raise

    def prepare(self, shapes: Shapes) -> "_Shaped":
        """What runs a call of these shapes. Raises `EngineCallError` if the engine refuses them."""
        key = tuple(shapes.values())
        if key in self._own:
            self._own[key].capture(self._handle, self._loaded.gpu)
            return self._own[key]
        again = key in self._seen and len(self._own) < self._most
        if again and not self._loaded.gpu.alone.locked():  # else a later call, which need not wait
            try:
                self._own[key] = _Shaped(self._context(), shapes, self._loaded.log)
                return self._own[key]
            except DeviceMemoryError as error:
                self._most = len(self._own)
                _warn(error)
            except EngineCallError:
                pass  # a later call of these shapes tries again
        if self._now is None or self._now.shapes != shapes:
            self._now = None
            self._now = _Shaped(self.any_shape, shapes, self._loaded.log, self._quiet)
            self._seen.add(key)
        return self._now

    def free(self) -> None:
        for shaped in self._own.values():
            shaped.free()
        self._own, self.any_shape, self._now = {}, None, None
        if self._memory is not None:
            self._memory.free()
            self._memory = None

    def _no_context(self) -> EngineCallError:
        """The error for a context that TensorRT did not make; memory is the usual reason."""
        said, name = self._loaded.log.last, self._loaded.gpu.facts.name
        if "capturing" in said:  # of a CUDA graph, by somebody else in this process; it ends soon
            return EngineCallError(f"{name} gives no execution context just now: {said}")
        return DeviceMemoryError(
            f"{name} has no memory for an execution context ({said}); {ADVICE}"
        )

    def _context(self) -> Any:
        """A new context whose inputs and outputs are at their addresses."""
        loaded, trt = self._loaded, self._loaded.edition.module
        how = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with loaded.gpu.alone:
            context = loaded.engine.create_execution_context(
                loaded.cache.config if loaded.cache else how
            )
        if context is None:
            raise self._no_context()
        if self._memory is not None:
            context.set_device_memory(int(self._memory), loaded.engine.device_memory_size_v2)
        for name, address in self._addresses.items():
            if not context.set_tensor_address(name, address):
                raise EngineCallError(
                    f"the engine refuses the address of {name}: {loaded.log.last}"
                )
        return context


class _Shaped:
    """A context that is set to a call's shapes; `quiet` is held in its first runs."""

    def __init__(
        self, context: Any, shapes: Shapes, log: Any, quiet: AbstractContextManager[Any] = _NOTHING
    ) -> None:
        self.shapes = dict(shapes)
        self._context, self._log, self._quiet = context, log, quiet
        self._graph: CudaGraph | None = None
        self._tries, self._runs = _TRIES, 0
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise EngineCallError(f"the engine refuses {name} of shape {shape}: {log.last}")

    def output_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._context.get_tensor_shape(name))

    def capture(self, handle: int, gpu: GpuContext) -> None:
        """Capture the graph, if it is not; the context must have run once, TensorRT says.

        A later call tries it where something is being opened just now, or the capture fails.
        """
        if self._graph is not None or not (self._runs and self._tries) or gpu.alone.locked():
            return
        work = partial(self._context.execute_async_v3, handle)
        try:
            with gpu.alone:
                self._graph = CudaGraph(handle, work)
        except DeviceError as error:
            self._tries -= 1
            if not self._tries:
                _warn(error)

    def enqueue(self, handle: int) -> None:
        """Put the engine's work on the stream. Raises `DeviceError`."""
        if self._graph is not None:
            self._graph.launch(handle)
            return
        before = self._log.count
        with self._quiet if self._runs < _QUIET else _NOTHING:
            succeeded = self._context.execute_async_v3(handle)
        if not succeeded:
            for line in self._log.since(before):
                if is_full(line):
                    raise DeviceMemoryError(f"the engine failed: {line}; {ADVICE}")
            raise DeviceError(f"the engine failed: {self._log.last}")
        self._runs += 1

    def free(self) -> None:
        if self._graph is not None:
            self._graph.free()


def _warn(error: DeviceError) -> None:
    warnings.warn(
        f"TensorRT runs some calls without a CUDA graph, which is slower: {error}",
        DmdnetWarning,
        stacklevel=2,
    )
