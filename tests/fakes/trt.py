"""TensorRT's Python runtime, which runs an engine's ONNX graph in its place."""

import ctypes
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.backends.tensorrt import backend
from runtime.backends.tensorrt.engine_files import read_records
from runtime.bundle.engine_record import FOLDER, EngineRecord
from runtime.bundle.manifest import GraphSpec
from runtime.bundle.opening import Bundle, open_bundle
from runtime.machine import gpu as cuda
from runtime.machine.gpu import Gpu
from runtime.machine.onnx_session import open_session
from runtime.machine.tensorrt_editions import Edition
from tests.fakes.driver import FakeDriver


class FakeTensorRt:
    """Stands in for the module `tensorrt_rtx`; knows the engines of some bundles by their bytes.

    `broken`: what becomes of each output, by the name of the graph.
    """

    __version__ = "1.7.1.116"

    class ILogger:
        class Severity(IntEnum):
            INTERNAL_ERROR, ERROR, WARNING = range(3)

    class EngineValidity(Enum):
        VALID, SUBOPTIMAL, INVALID = range(3)

    class EngineInvalidityDiagnostics(IntEnum):
        VERSION_MISMATCH, UNSUPPORTED_CC, MALFORMED_ENGINE = 1, 2, 32

    class CudaGraphStrategy(Enum):
        DISABLED, WHOLE_GRAPH_CAPTURE = range(2)

    class LayerInformationFormat(Enum):
        JSON = 1

    def __init__(self, driver: FakeDriver, *bundles: Bundle) -> None:
        self.driver = driver
        self.invalid = 0  # diagnostics that every engine gets
        self.context_limit = 99  # execution contexts that fit into the memory
        self.contexts = 0
        self.broken: dict[str, Any] = {}
        self.convolution_input = "Half"
        self.known: dict[str, tuple[EngineRecord, GraphSpec, Path]] = {}
        for bundle in bundles:
            self.know(bundle)

    def know(self, bundle: Bundle) -> None:
        for record in read_records(bundle.path):
            spec = getattr(bundle.manifest, record.graph)
            self.known[record.sha256] = (record, spec, bundle.path / spec.file)
            assert (bundle.path / FOLDER / record.file).exists()

    def Runtime(self, log: Any) -> "Runtime":  # noqa: N802
        return Runtime(self, log)


class Runtime:
    def __init__(self, trt: FakeTensorRt, log: Any) -> None:
        self._trt, self._log = trt, log

    def get_engine_validity(self, content: bytes) -> tuple[Any, int]:
        validity = self._trt.EngineValidity
        return (validity.INVALID if self._trt.invalid else validity.VALID), self._trt.invalid

    def deserialize_cuda_engine(self, content: bytes) -> "Engine | None":
        self._trt.driver.check()
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._trt.known:
            self._log.log(self._trt.ILogger.Severity.ERROR, "Serialization assertion failed")
            return None
        return Engine(self._trt, self._log, *self._trt.known[digest])


class Engine:
    def __init__(
        self, trt: FakeTensorRt, log: Any, record: EngineRecord, spec: GraphSpec, graph: Path
    ) -> None:
        self.trt, self.log, self.record, self.spec = trt, log, record, spec
        self.session = open_session(graph, threads=1)

    def create_runtime_config(self) -> Any:
        return type("RuntimeConfig", (), {})()

    def create_execution_context(self, config: Any) -> "Context | None":
        assert config.cuda_graph_strategy == self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self.trt.contexts >= self.trt.context_limit:
            self.log.log(self.trt.ILogger.Severity.ERROR, "Requested amount of GPU memory")
            return None
        self.trt.contexts += 1
        return Context(self)

    def create_engine_inspector(self) -> Any:
        layer = {
            "Name": "node_conv2d",
            "LayerType": "CaskConvolution",
            "ParameterType": "Convolution",
            "Inputs": [{"Format/Datatype": self.trt.convolution_input}],
        }

        class Inspector:
            execution_context: Any = None

            def get_engine_information(self, _format: Any) -> str:
                assert self.execution_context is not None
                return json.dumps({"Layers": [layer, "a name alone"]})

        return Inspector()


class Context:
    """Refuses what TensorRT refuses, and two threads at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._owner: int | None = None
        profile = engine.record.profile
        self._most = {"faces": profile.max_batch, "references": profile.max_references}
        if engine.record.graph == "memorizer":
            self._most["references"] = profile.max_batch

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._owner in (None, threading.get_ident()), "two threads in one context"
        self._owner = threading.get_ident()
        (tensor,) = [t for t in self._engine.spec.inputs if t.name == name]
        for wanted, given in zip(tensor.shape, shape, strict=True):
            fits = 1 <= given <= self._most[wanted] if isinstance(wanted, str) else given == wanted
            if not fits:
                return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        count = self._shapes["image"][0]
        return (count, *(int(n) for n in self._engine.spec.outputs[0].shape[1:]))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        trt, spec = self._engine.trt, self._engine.spec
        trt.driver.check()
        shapes, addresses = dict(self._shapes), dict(self._addresses)

        def run() -> None:
            inputs = {t.name: _at(addresses[t.name], shapes[t.name], t.dtype) for t in spec.inputs}
            (result,) = self._engine.session.run(None, inputs)
            result = trt.broken.get(self._engine.record.graph, lambda x: x)(result)
            out = _at(addresses[spec.outputs[0].name], result.shape, spec.outputs[0].dtype)
            out[...] = result
            self._owner = None

        trt.driver.streams[handle].add(run)
        return True


@contextmanager
def fake_machine(bundle: Path, gpu: Gpu) -> Iterator[FakeTensorRt]:
    """A machine with this GPU and TensorRT for RTX, which runs the bundle's engines."""
    driver = FakeDriver()
    trt = FakeTensorRt(driver, open_bundle(bundle))
    edition = Edition("tensorrt_rtx", trt.__version__, trt)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "gpus", lambda: (gpu,))
        patch.setattr(cuda, "_pycuda", lambda: driver)
        patch.setattr(backend, "load_edition", lambda _name: edition)
        cuda._context.cache_clear()
        yield trt
    cuda._context.cache_clear()


def _at(address: int, shape: tuple[int, ...], dtype: str) -> Any:
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = (ctypes.c_uint8 * nbytes).from_address(address)
    return np.ctypeslib.as_array(buffer).view(dtype).reshape(shape)
