"""What runs a bundle's graphs: the interface, and the choice of one."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.images import Image

Boxes = NDArray[np.int32]
Rows = NDArray[np.floating]


class Backend(Protocol):
    """Runs the two graphs; safe to call from many threads."""

    description: str
    """Engine, version and device, for people."""

    max_batch: int
    """Faces in one engine call, unless the caller says otherwise."""

    def restore(
        self, image: Image, boxes: Boxes, dictionary: Rows, membership: NDArray[np.float32]
    ) -> Image:
        """(B, 512, 512, 3) RGB, int32 (B, 4, 4), (K, D), float32 (B, K) -> (B, 512, 512, 3) RGB."""

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        """(K, 512, 512, 3) RGB and int32 (K, 4, 4) -> (K, D)."""

    def close(self) -> None:
        """Free what the backend holds."""


def open_backend(bundle: Bundle, device: str, threads: int | None) -> Backend:
    """The backend for `device`: "auto", "cpu" or "cuda". Raises `DeviceError`."""
    from runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, device, threads)
