"""What runs a bundle's two graphs: the interface that backends and engines of an app's own have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.images.arrays import Image

Boxes = NDArray[np.int32]
Rows = NDArray[np.floating]


@dataclass(frozen=True)
class DeviceSeconds:
    """What one engine call took on the GPU, by its own clock."""

    copy_in: float
    engine: float
    copy_out: float


class Engine(Protocol):
    """Runs the two graphs of a bundle; it must be safe to call from many threads.

    The backends follow it, and so does an engine of your own for `Restorer(bundle, engine=...)`.
    B is the number of faces in a call, K that of dictionary rows, D the numbers of a row.
    """

    description: str
    """Engine, version and device, for people; it becomes `Restorer.backend`."""

    max_batch: int
    """Faces in one engine call at most, unless the caller says fewer."""

    max_references: int | None
    """Rows of all dictionaries in one engine call at most; None: no limit."""

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        """Restore faces.

        `image`: uint8 (B, 512, 512, 3), RGB. `boxes`: int32 (B, 4, 4), in pixels, of left eye,
        right eye, nose and mouth, `x1 y1 x2 y2` each. `people`: each person's rows (K_i, D), of the
        bundle's dictionary dtype; the same person's array is the same object at each call.
        `membership` (B, sum of K_i): 1 where a row belongs to the face, else 0; a face without any
        row is restored from the generic dictionary alone. Rows that do not belong to a face must
        not change it, whatever they hold; where yours cannot promise that, `max_batch` must be 1.
        Returns uint8 (B, 512, 512, 3), RGB.
        """

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        """Rows (K, D) of a person's dictionary from K aligned faces, shaped as for `restore`."""

    def close(self) -> None:
        """Free what the engine holds; a later call raises `ClosedError`."""


class Backend(Engine, Protocol):
    """An engine of ours, which can also tell what a call took on the GPU."""

    @property
    def last_restore(self) -> DeviceSeconds | None:
        """Of the `restore` that ended last, in whichever thread; None without a GPU's clock."""


def check_engine(engine: Engine) -> None:
    """Raise `UsageError` unless an app's own engine has all that `Engine` names."""
    for name in ("description", "max_batch", "max_references", "restore", "memorize", "close"):
        if not hasattr(engine, name):
            raise UsageError(f"engine: {type(engine).__name__} has no {name}; see runtime.Engine")
