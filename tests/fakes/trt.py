"""TensorRT's Python runtime, which runs an engine's ONNX graph in its place."""

import ctypes
import hashlib
import json
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum, IntEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest

from runtime.backends.tensorrt import backend
from runtime.backends.tensorrt.engine_files import read_records
from runtime.bundle.engine_record import FOLDER, EngineRecord
from runtime.bundle.manifest import GraphSpec
from runtime.bundle.opening import Bundle, open_bundle
from runtime.machine import cuda_graphs
from runtime.machine import gpu as cuda
from runtime.machine.gpu import Gpu
from runtime.machine.onnx_session import open_session
from runtime.machine.tensorrt_editions import Edition
from tests.fakes.driver import FakeDriver, FakeGraphs

_CAPTURING = "Cuda Runtime (operation not permitted when stream is capturing)"
VERSIONS = {"tensorrt": "10.13.3.9", "tensorrt_rtx": "1.7.1.116"}


class FakeTensorRt:
    """Stands in for an edition's module; knows the engines of some bundles by their bytes.

    `edition`: as in `EDITIONS`; full TensorRT knows no validity of engines, and captures no CUDA
    graphs by itself.
    `broken`: what becomes of each output, by the name of the graph.
    """

    class ILogger:
        class Severity(IntEnum):
            INTERNAL_ERROR, ERROR, WARNING = range(3)

    class EngineValidity(Enum):
        VALID, SUBOPTIMAL, INVALID = range(3)

    class EngineInvalidityDiagnostics(IntEnum):
        VERSION_MISMATCH, UNSUPPORTED_CC, OLD_CUDA_DRIVER, OLD_CUDA_RUNTIME = 1, 2, 4, 8
        INSUFFICIENT_GPU_MEMORY, MALFORMED_ENGINE, CUDA_ERROR = 16, 32, 64

    class CudaGraphStrategy(Enum):
        DISABLED, WHOLE_GRAPH_CAPTURE = range(2)

    class DynamicShapesKernelSpecializationStrategy(Enum):
        LAZY, EAGER, NONE = range(3)

    class ExecutionContextAllocationStrategy(Enum):
        STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)

    class LayerInformationFormat(Enum):
        JSON = 1

    def __init__(self, driver: FakeDriver, edition: str, *bundles: Bundle) -> None:
        self.driver, self.edition = driver, edition
        self.__version__ = VERSIONS[edition]
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()  # engines and contexts
        self.invalid = 0  # diagnostics that every engine gets
        self._logger: Any = None  # the first that it was given; it calls no other
        self.no_runtime = ""  # what is logged where there is no runtime to be had
        self.no_engine = ["Serialization assertion failed"]  # logged for an unknown engine
        self.others_capture = False  # another library, which keeps contexts from being made
        self.context_limit = 99  # execution contexts that fit into the memory
        self.contexts = 0
        self.no_call = list[str]()  # logged by a context that does not run, where there is any
        self.graphs = FakeGraphs(driver)
        self.opening: Callable[[], object] = lambda: None  # called where a context is created
        self.warm_ups = 0  # of new shapes, before TensorRT for RTX captures
        self.capturing: Callable[[], object] = lambda: None  # called where RTX captures
        self.orphans = 0  # runtime configurations that were destroyed after their engines
        self.compiled = 0  # shapes for which TensorRT for RTX had no kernels
        self.broken: dict[str, Any] = {}
        self.convolution_weights = "Half"
        self.known: dict[str, tuple[EngineRecord, GraphSpec, Path]] = {}
        for bundle in bundles:
            self.know(bundle)

    def know(self, bundle: Bundle) -> None:
        for record in read_records(bundle.path, self.edition):
            spec = getattr(bundle.manifest, record.graph)
            self.known[record.sha256] = (record, spec, bundle.path / spec.file)
            assert (bundle.path / FOLDER / record.file).exists()

    def Runtime(self, log: Any) -> "Runtime":  # noqa: N802
        self._logger = self._logger or weakref.ref(log)
        if self.no_runtime:
            self.say(self.no_runtime)
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return RtxRuntime(self, log) if self.edition == "tensorrt_rtx" else Runtime(self, log)

    def say(self, line: str) -> None:
        """Log an error."""
        logger = self._logger()
        assert logger is not None, "TensorRT calls a logger that is gone"
        logger.log(self.ILogger.Severity.ERROR, line)


class Runtime:
    def __init__(self, trt: FakeTensorRt, log: Any) -> None:
        self._trt, self._log = trt, log  # kept alive, as the binding does

    def deserialize_cuda_engine(self, content: bytes) -> "Engine | None":
        self._trt.driver.check()
        if not self._trt.driver.wait_for_all():
            self._trt.say(_CAPTURING)
            return None
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._trt.known:
            for line in self._trt.no_engine:
                self._trt.say(line)
            return None
        return Engine(self._trt, *self._trt.known[digest])


class RtxRuntime(Runtime):
    def get_engine_validity(self, content: bytes) -> tuple[Any, int]:
        validity = self._trt.EngineValidity
        return (validity.INVALID if self._trt.invalid else validity.VALID), self._trt.invalid


class RuntimeCache:
    """The shapes that were compiled, one a line."""

    def __init__(self) -> None:
        self.shapes: set[str] = set()

    def deserialize(self, content: bytes) -> bool:
        if not content.startswith(b"fake\n"):
            return False
        self.shapes = set(content.decode().splitlines()[1:])
        return True

    def serialize(self) -> bytes:
        return "\n".join(["fake", *sorted(self.shapes)]).encode()


class RuntimeConfig:
    """Must go before its engine."""

    cuda_graph_strategy: Any = None
    dynamic_shapes_kernel_specialization_strategy: Any = None
    cache: RuntimeCache | None = None

    def __init__(self, engine: "Engine") -> None:
        self._trt, self._engine = engine.trt, weakref.ref(engine)

    def __del__(self) -> None:
        self._trt.orphans += self._engine() is None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class Engine:
    device_memory_size_v2 = 1 << 20

    def __init__(
        self, trt: FakeTensorRt, record: EngineRecord, spec: GraphSpec, graph: Path
    ) -> None:
        self.trt, self.record, self.spec = trt, record, spec
        self.session = open_session(graph, threads=1)
        trt.alive.add(self)

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self)

    def create_execution_context(self, how: Any) -> "Context | None":
        if self.trt.edition == "tensorrt_rtx":
            assert how.cuda_graph_strategy == self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            eager = self.trt.DynamicShapesKernelSpecializationStrategy.EAGER
            assert how.dynamic_shapes_kernel_specialization_strategy == eager
        else:
            assert how == self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self.trt.opening()
        if not self.trt.driver.wait_for_all() or self.trt.others_capture:
            self.trt.say(_CAPTURING)
            return None
        if self.trt.contexts >= self.trt.context_limit:
            self.trt.say("Requested amount of GPU memory")
            return None
        self.trt.contexts += 1
        return Context(self, how.cache if isinstance(how, RuntimeConfig) else None)

    def create_engine_inspector(self) -> Any:
        layer = {
            "Name": "node_conv2d",
            "LayerType": "CaskConvolution",
            "ParameterType": "Convolution",
            "Weights": {"Type": self.trt.convolution_weights, "Count": 9},
            "Inputs": [{"Format/Datatype": "UInt8"}],
        }

        class Inspector:
            execution_context: Any = None

            def get_engine_information(self, _format: Any) -> str:
                assert self.execution_context is not None
                return json.dumps({"Layers": [layer, "a name alone"]})

        return Inspector()


class Context:
    """Refuses what TensorRT refuses, and two threads at once.

    `cache`: that of TensorRT for RTX, which captures a CUDA graph after some runs of new shapes;
    the full edition wants memory, and a run before a capture, after which nothing may change.
    """

    def __init__(self, engine: Engine, cache: RuntimeCache | None) -> None:
        self._engine, self._cache = engine, cache
        engine.trt.alive.add(self)
        self._has_memory = cache is not None
        self._ran = self._captured = False
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._warm_ups = 0  # runs of these shapes before the capture
        self._graph_of: dict[str, tuple[int, ...]] = {}  # these shapes
        self._addresses: dict[str, int] = {}
        self._owner: int | None = None
        profile = engine.record.profile
        self._most = {"faces": profile.max_batch, "references": profile.max_references}
        if engine.record.graph == "memorizer":
            self._most["references"] = profile.max_batch

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._engine.trt.driver.calls["set_input_shape"] += 1
        assert not self._captured, "this changes a captured context"
        (tensor,) = [t for t in self._engine.spec.inputs if t.name == name]
        for wanted, given in zip(tensor.shape, shape, strict=True):
            fits = 1 <= given <= self._most[wanted] if isinstance(wanted, str) else given == wanted
            if not fits:
                return False
        if self._shapes.get(name) != tuple(shape):
            self._warm_ups = 0
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        count = self._shapes["image"][0]
        return (count, *(int(n) for n in self._engine.spec.outputs[0].shape[1:]))

    def set_device_memory(self, address: int, size: int) -> None:
        assert self._engine.trt.driver.live[address].nbytes >= size
        self._has_memory = True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._engine.trt.driver.calls["set_tensor_address"] += 1
        assert not self._captured, "this changes a captured context"
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        trt = self._engine.trt
        trt.driver.check("execute_async_v3")
        assert self._has_memory
        for line in trt.no_call:
            trt.say(line)
        if trt.no_call:
            return False
        if self._cache is not None and self._shapes != self._graph_of:
            self._warm_ups += 1
            if self._warm_ups > trt.warm_ups and not self._capture(handle):
                return False
        self._captured = trt.driver.streams[handle].captured is not None
        assert self._ran or not self._captured, "a context must run before it is captured"
        assert self._owner in (None, threading.get_ident()), "two threads in one context"
        self._owner = None if self._captured else threading.get_ident()
        if self._cache is not None and str(self._shapes) not in self._cache.shapes:
            trt.compiled += 1
            self._cache.shapes.add(str(self._shapes))
        work = partial(self._execute, dict(self._shapes), dict(self._addresses))
        trt.driver.streams[handle].add(work)
        return True

    def _capture(self, handle: int) -> bool:
        driver = self._engine.trt.driver
        driver.begin_capture(driver.streams[handle], mode=2)
        self._engine.trt.capturing()
        code, _ = driver.end_capture(driver.streams[handle])
        self._graph_of = {} if code else dict(self._shapes)
        if code:
            self._engine.trt.say(_CAPTURING)
        return not code

    def _execute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        trt, spec = self._engine.trt, self._engine.spec
        inputs = {t.name: _at(addresses[t.name], shapes[t.name], t.dtype) for t in spec.inputs}
        (result,) = self._engine.session.run(None, inputs)
        result = trt.broken.get(self._engine.record.graph, lambda x: x)(result)
        out = _at(addresses[spec.outputs[0].name], result.shape, spec.outputs[0].dtype)
        out[...] = result
        self._owner, self._ran = None, True


def for_full_tensorrt(source: Path, out: Path, gpu: Gpu) -> Path:
    """A copy of a bundle, whose engines are recorded as full TensorRT's for this GPU."""
    shutil.copytree(source, out)
    built: dict[str, Any] = {"edition": "tensorrt", "version": VERSIONS["tensorrt"]}
    built |= {"capability": gpu.capability, "gpu": gpu.name, "driver": gpu.driver}
    for record in read_records(out):
        old = out / FOLDER / record.file
        tail = record.file.partition("-any-")[2]
        new = replace(record, file=f"tensorrt-10.13.3-{gpu.capability}-{tail}", **built)
        old.rename(old.with_name(new.file))
        old.with_name(f"{record.file}.json").unlink()
        old.with_name(f"{new.file}.json").write_text(new.to_json())
    return out


@contextmanager
def fake_machine(
    bundle: Path, gpu: Gpu, edition_name: str = "tensorrt_rtx"
) -> Iterator[FakeTensorRt]:
    """A machine with this GPU and one edition of TensorRT, which runs the bundle's engines.

    The user's cache folder is an empty one.
    """
    driver = FakeDriver()
    trt = FakeTensorRt(driver, edition_name, open_bundle(bundle))
    edition = Edition(edition_name, trt.__version__, trt)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as cache:
        patch.setattr(cuda, "gpus", lambda: (gpu,))
        patch.setattr(cuda, "_pycuda", lambda: driver)
        patch.setattr(backend, "load_edition", lambda _name: edition)
        patch.setattr(cuda_graphs, "driver_library", lambda: trt.graphs)
        patch.setattr(platformdirs, "user_cache_dir", lambda _name: cache)
        cuda._context.cache_clear()
        yield trt
    cuda._context.cache_clear()


def _at(address: int, shape: tuple[int, ...], dtype: str) -> Any:
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = (ctypes.c_uint8 * nbytes).from_address(address)
    return np.ctypeslib.as_array(buffer).view(dtype).reshape(shape)
