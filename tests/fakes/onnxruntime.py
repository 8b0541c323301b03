"""ONNX Runtime with a CUDA provider that is the CPU's, and counts what crosses to its GPU."""

import weakref
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class FakeOnnxRuntime:
    """Stands in for the module `onnxruntime-gpu`.

    `sessions`: provider and its options of each session. `preloaded`: calls of `preload_dlls`.
    `copied`: bytes of arrays that were put on the GPU. `kept`: what was put there, and is not
    dropped yet. `before`: what is called before a session is opened on the GPU, or something is
    put, bound or run, to fail there.
    """

    __version__ = onnxruntime.__version__
    SessionOptions = onnxruntime.SessionOptions

    def __init__(self) -> None:
        self.sessions: list[tuple[str, dict[str, str]]] = []
        self.preloaded = 0
        self.copied = 0
        self.before: dict[str, Callable[[], object]] = {}
        self.kept: weakref.WeakSet[Any] = weakref.WeakSet()
        self.OrtValue = SimpleNamespace(ortvalue_from_numpy=self._put)

    def call(self, step: str) -> None:
        self.before.get(step, lambda: None)()

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU] if self.preloaded else [CPU]  # as a plug-in that lacks its libraries

    def preload_dlls(self) -> None:
        print("Failed to load libcudnn.so.9")  # as the real one does
        self.preloaded += 1

    def InferenceSession(  # noqa: N802
        self,
        model: Any,
        options: Any,
        providers: Sequence[tuple[str, dict[str, str]]],
        enable_fallback: int = 1,
    ) -> Any:
        ((provider, settings),) = providers
        if provider == CUDA:
            assert self.preloaded, "the CUDA libraries of pip would not be found"
            try:
                self.call("open")
            except RuntimeError as error:
                if not enable_fallback:
                    raise
                print(f"*************** EP Error ***************\n{error}")
                provider = CPU
        self.sessions.append((provider, settings))
        session = onnxruntime.InferenceSession(str(model), options, providers=[CPU])
        return _Session(session, provider, self)

    def _put(self, array: NDArray[Any], device: str, number: int) -> Any:
        assert (device, number) == ("cuda", 0)
        self.call("put")
        self.copied += array.nbytes
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array))
        self.kept.add(value)
        return value


class _Session:
    def __init__(self, session: Any, provider: str, fake: FakeOnnxRuntime) -> None:
        self._session, self._provider, self._fake = session, provider, fake

    def get_providers(self) -> list[str]:
        return [self._provider]

    def io_binding(self) -> Any:
        return _Binding(self._session.io_binding(), self._fake)

    def run_with_iobinding(self, binding: "_Binding") -> None:
        self._fake.call("run")
        self._session.run_with_iobinding(binding.real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class _Binding:
    def __init__(self, real: Any, fake: FakeOnnxRuntime) -> None:
        self.real, self._fake = real, fake

    def bind_cpu_input(self, name: str, array: NDArray[Any]) -> None:
        self._fake.call("bind")  # the array crosses here
        self.real.bind_cpu_input(name, array)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
