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
    """What runs the two graphs of a bundle: an object of your own may, if it has these members.

    Give it to `Restorer(bundle, engine=...)`. Many threads may call it at a time. B is the number
    of faces in a call, K the number of dictionary rows, and D the numbers in a row.
    """

    description: str
    """The engine, its version and device, for people; it becomes `Restorer.backend`."""

    max_batch: int
    """The most faces in one engine call; the caller of `Restorer` may choose fewer."""

    max_references: int | None
    """The most rows of all dictionaries together in one engine call; None means no limit."""

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        """Restore B aligned faces.

        Rows that do not belong to a face must not change it, whatever they hold. Where your engine
        cannot promise that, its `max_batch` must be 1.

        Args:
            image: uint8 (B, 512, 512, 3), RGB.
            boxes: int32 (B, 4, 4), x1, y1, x2, y2 in pixels of left eye, right eye, nose, mouth.
            people: the rows of each person's dictionary, (K_i, D), of the bundle's dictionary
                dtype. A person's array is the same object in each call, and may be kept.
            membership: float32 (B, sum of K_i), 1 where a row belongs to a face, otherwise 0. A
                face without any row is restored from the generic dictionary alone.

        Returns uint8 (B, 512, 512, 3), RGB.
        """

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        """Make a person's dictionary, (K, D), from K aligned faces; arguments as in `restore`."""

    def close(self) -> None:
        """Free what the engine holds; a later call should raise `ClosedError`."""


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
