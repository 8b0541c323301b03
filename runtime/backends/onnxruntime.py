"""ONNX Runtime, on the CPU or through its CUDA provider."""

import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Boxes, Rows
from runtime.backends.dictionary_cache import KeptRows
from runtime.bundle.manifest import GraphSpec
from runtime.bundle.opening import Bundle
from runtime.errors import (
    BundleError,
    ClosedError,
    DeviceError,
    DeviceMemoryError,
    DmdnetError,
    DmdnetWarning,
    EngineCallError,
)
from runtime.images.arrays import Image
from runtime.machine.onnx_session import (
    PROVIDERS,
    load_onnxruntime,
    offered_providers,
    on_device,
    open_session,
    run_bound,
)
from runtime.text import squeezed

# On a CPU a batch saves no time (docs/triton.md) and costs hundreds of MB a face
_MAX_BATCH = {"cuda": 8, "cpu": 1}
_TYPES = {
    "uint8": "tensor(uint8)",
    "int32": "tensor(int32)",
    "float16": "tensor(float16)",
    "float32": "tensor(float)",
}
_ADVICE = "lower max_batch or dictionary_cache, use fewer references, or free the memory"
# Words of CUDA, of ONNX Runtime's arena, and of cuBLAS and cuDNN
_FULL = ("out of memory", "Failed to allocate memory", "ALLOC_FAILED")
_LOST = ("CUDA failure", "EXECUTION_FAILED")


class OnnxRuntimeBackend:
    """Runs a bundle in ONNX Runtime: a session for each graph, the memorizer's opened on first use.

    `device`: "cuda" or "cpu". `threads`: CPU threads of a call; None: one for each core.
    `dictionary_cache`: MiB of GPU memory for dictionaries that no call is using. Raises
    `DeviceError` where the device is not available or the bundle is not made for it, `BundleError`
    for a graph that cannot be opened.
    """

    last_restore = None  # ONNX Runtime keeps the GPU's clock to itself

    def __init__(
        self, bundle: Bundle, device: str, threads: int | None, *, dictionary_cache: int = 512
    ) -> None:
        self._bundle, self._threads = bundle, threads
        self._lock = threading.Lock()
        self._memorizer: Any = None
        self._device = device
        self._refuse(device)
        self._restorer = self._open("restorer", bundle.manifest.restorer)
        self._kept = _OnGpu(dictionary_cache << 20) if device == "cuda" else None
        self.max_batch = _MAX_BATCH[device]
        self.max_references: int | None = None
        self.description = (
            f"ONNX Runtime {load_onnxruntime().__version__}, {PROVIDERS[device]}, "
            f"{bundle.manifest.precision}"
        )
        if device == "cpu" and bundle.manifest.precision == "fp16":
            warnings.warn(
                "a float16 bundle is slower on a CPU than a float32 one: it is made for GPUs",
                DmdnetWarning,
                stacklevel=2,
            )

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        inputs: dict[str, Any] = {"image": image, "boxes": boxes, "membership": membership}
        with _errors_as_ours(self._device):
            if self._kept is None:
                return cast(Image, _run(self._restorer, inputs | {"dictionary": _joined(people)}))
            return self._restore_on_gpu(self._kept, inputs, people)

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        with self._lock:
            if self._memorizer is None and self._restorer is not None:
                self._memorizer = self._open("memorizer", self._bundle.manifest.memorizer)
        with _errors_as_ours(self._device):
            return cast(Rows, _run(self._memorizer, {"image": image, "boxes": boxes}))

    def close(self) -> None:
        self._restorer = None  # at once, whoever opens the memorizer just now
        with self._lock:
            self._memorizer = None
        if self._kept is not None:
            self._kept.close()

    def _refuse(self, device: str) -> None:
        """Refuse a missing provider, and an INT8 graph for another device, where it is slow."""
        quantization = self._bundle.manifest.quantization
        if quantization is not None and quantization.target != "cpu":
            raise DeviceError(
                f"this INT8 bundle is made for {quantization.target}, and ONNX Runtime would run "
                "it slower than float32; export one with `dmd-export --int8 --target cpu`"
            )
        if quantization is not None and device == "cuda":
            raise DeviceError(
                "this INT8 bundle is made for CPUs; for a GPU export with --fp16, or with --int8 "
                "--target tensorrt"
            )
        if device == "cuda" and PROVIDERS[device] not in (offered := offered_providers()):
            raise DeviceError(
                f"this ONNX Runtime offers no {PROVIDERS[device]}; it offers "
                f"{', '.join(offered)}; install dmdnet-runtime[gpu] in place of [cpu]"
            )

    def _open(self, graph: str, spec: GraphSpec) -> Any:
        with self._bundle.unaltered(graph) as path:
            try:
                session = open_session(path, device=self._device, threads=self._threads)
            except DeviceError:
                raise
            except Exception as error:  # the binding raises many classes, none public
                text = _text_of(error)
                if self._device == "cpu":
                    raise BundleError(f"{path}: ONNX Runtime cannot open it: {text}") from None
                says = f"{PROVIDERS[self._device]} could not start: {text}"
                if _is_full(text):
                    raise DeviceMemoryError(f"{says}; {_ADVICE}") from None
                raise DeviceError(says) from None
        for tensors, found in (
            (spec.inputs, session.get_inputs()),
            (spec.outputs, session.get_outputs()),
        ):
            expected = [(t.name, _TYPES[t.dtype], list(t.shape)) for t in tensors]
            if [(t.name, t.type, t.shape) for t in found] != expected:
                raise BundleError(
                    f"{path}: its inputs or outputs are not those in the manifest; export again"
                )
        return session

    def _restore_on_gpu(
        self, kept: "_OnGpu", inputs: dict[str, Any], people: Sequence[Rows]
    ) -> Image:
        if self._restorer is None:  # before anything is copied
            raise ClosedError
        with kept.hold([tuple(people)]) as memories:  # a name would keep it for longer
            return cast(Image, _run(self._restorer, inputs | {"dictionary": memories.pop()}))


def _run(session: Any | None, inputs: dict[str, Any]) -> NDArray[Any]:
    if session is None:
        raise ClosedError
    return run_bound(session, inputs)


class _OnGpu(KeptRows[Any]):
    """Keeps dictionaries as `OrtValue`s on the GPU.

    The memory of one that is dropped stays in ONNX Runtime's arena, for the next ones.
    """

    def _put(self, people: tuple[Rows, ...]) -> Any:
        rows = np.ascontiguousarray(_joined(people))
        try:
            return on_device(rows, "cuda")
        except Exception as error:  # the binding raises many classes, none public
            if not _is_full(str(error)):
                raise
        self._make_room()
        return on_device(rows, "cuda")

    def _free(self, memory: Any) -> None:
        pass


def _joined(people: Sequence[Rows]) -> Rows:
    return people[0] if len(people) == 1 else np.concatenate(people)


@contextmanager
def _errors_as_ours(device: str) -> Iterator[None]:
    """Turn ONNX Runtime's errors into ours.

    Any error forgets the variables of the calls that ended with it: who keeps it keeps nothing on
    the GPU.
    """
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, DmdnetError) or not isinstance(error, Exception):
            raise
        text = _text_of(error)
        says = f"ONNX Runtime failed at this engine call: {text}"
        if device == "cuda" and _is_full(text):
            raise DeviceMemoryError(f"{says}; {_ADVICE}") from None
        # after any other failure of CUDA, all later calls of the process fail, too
        lost = device == "cuda" and any(words in text for words in _LOST)
        raise (DeviceError if lost else EngineCallError)(says) from None


def _text_of(error: Exception) -> str:
    return squeezed(str(error)) or type(error).__name__


def _is_full(text: str) -> bool:
    return any(words in text for words in _FULL)
