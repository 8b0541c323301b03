"""ONNX Runtime, on the CPU or through its CUDA provider."""

import threading
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Boxes, Rows
from runtime.bundle.manifest import GraphSpec
from runtime.bundle.opening import Bundle
from runtime.errors import (
    BundleError,
    ClosedError,
    DeviceError,
    DmdnetWarning,
    EngineCallError,
)
from runtime.images.arrays import Image
from runtime.machine.onnx_session import (
    PROVIDERS,
    load_onnxruntime,
    offered_providers,
    open_session,
)
from runtime.text import squeezed

# On a CPU a batch saves no time (README, figures) and costs hundreds of MB a face
_MAX_BATCH = {"cuda": 8, "cpu": 1}
_TYPES = {
    "uint8": "tensor(uint8)",
    "int32": "tensor(int32)",
    "float16": "tensor(float16)",
    "float32": "tensor(float)",
}


class OnnxRuntimeBackend:
    """Runs a bundle in ONNX Runtime: a session for each graph, the memorizer's opened on first use.

    `device`: "cuda" or "cpu". `threads`: CPU threads of a call; None: one for each core. Raises
    `DeviceError` where the device is not available or the bundle is not made for it, `BundleError`
    for a graph that cannot be opened.
    """

    last_restore = None  # ONNX Runtime keeps the GPU's clock to itself

    def __init__(self, bundle: Bundle, device: str, threads: int | None) -> None:
        self._bundle, self._threads = bundle, threads
        self._lock = threading.Lock()
        self._memorizer: Any = None
        self._device = device
        self._refuse(device)
        self._restorer = self._open("restorer", bundle.manifest.restorer)
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
        inputs: dict[str, NDArray[Any]] = {
            "image": image,
            "boxes": boxes,
            "dictionary": people[0] if len(people) == 1 else np.concatenate(people),
            "membership": membership,
        }
        return cast(Image, self._run(self._restorer, inputs))

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        with self._lock:
            if self._memorizer is None and self._restorer is not None:
                self._memorizer = self._open("memorizer", self._bundle.manifest.memorizer)
            memorizer = self._memorizer
        return cast(Rows, self._run(memorizer, {"image": image, "boxes": boxes}))

    def close(self) -> None:
        self._restorer = None  # at once, whoever opens the memorizer just now
        with self._lock:
            self._memorizer = None

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
        offered = offered_providers()
        if PROVIDERS[device] not in offered:
            raise DeviceError(
                f"this ONNX Runtime offers no {PROVIDERS[device]}; it offers "
                f"{', '.join(offered)}; install dmdnet-runtime[gpu] in place of [cpu]"
            )

    def _open(self, graph: str, spec: GraphSpec) -> Any:
        wanted = PROVIDERS[self._device]
        with self._bundle.unaltered(graph) as path:
            try:
                session = open_session(path, device=self._device, threads=self._threads)
            except Exception as error:  # the binding raises many classes, none public
                if self._device == "cpu":
                    raise BundleError(f"{path}: ONNX Runtime cannot open it: {error}") from None
                raise DeviceError(f"{wanted} could not start: {error}") from None
        for tensors, found in (
            (spec.inputs, session.get_inputs()),
            (spec.outputs, session.get_outputs()),
        ):
            expected = [(t.name, _TYPES[t.dtype], list(t.shape)) for t in tensors]
            if [(t.name, t.type, t.shape) for t in found] != expected:
                raise BundleError(
                    f"{path}: its inputs or outputs are not those in the manifest; export again"
                )
        # ONNX Runtime leaves out a provider that fails and goes on without it
        if session.get_providers()[0] != wanted:
            raise DeviceError(
                f"{wanted} could not start (its libraries or the GPU are missing); ONNX Runtime "
                f"would have used {session.get_providers()[0]}"
            )
        return session

    def _run(self, session: Any, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """Run with I/O binding: inputs go to the device once, the result comes back once."""
        if session is None:
            raise ClosedError
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        binding.bind_output(session.get_outputs()[0].name, "cpu")
        try:
            session.run_with_iobinding(binding)
            return cast(NDArray[Any], binding.copy_outputs_to_cpu()[0])
        except Exception as error:  # as in `_open`
            text = squeezed(str(error)) or type(error).__name__
            # after any other failure of CUDA, all later calls of the process fail, too
            lost = "CUDA failure" in text and "out of memory" not in text
            kind = DeviceError if lost else EngineCallError
            raise kind(f"ONNX Runtime failed at this engine call: {text}") from error
