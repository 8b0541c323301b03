"""What runs a bundle's graphs: the interface, and the choice of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.images.arrays import Image

Boxes = NDArray[np.int32]
Rows = NDArray[np.floating]


@dataclass(frozen=True)
class DeviceSeconds:
    """What one engine call took on the GPU, by its own clock."""

    copy_in: float
    engine: float
    copy_out: float


class Backend(Protocol):
    """Runs the two graphs; safe to call from many threads."""

    description: str
    """Engine, version and device, for people."""

    max_batch: int
    """Faces in one engine call, unless the caller says fewer."""

    max_references: int | None
    """Rows of all dictionaries in one engine call; None: no limit."""

    @property
    def last_restore(self) -> DeviceSeconds | None:
        """Of the `restore` that ended last, in whichever thread; None without a GPU's clock."""

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        """(B, 512, 512, 3) RGB, int32 (B, 4, 4), rows (K_i, D) of each person, (B, sum K_i)."""

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        """(K, 512, 512, 3) RGB and int32 (K, 4, 4) -> (K, D)."""

    def close(self) -> None:
        """Free what the backend holds."""
