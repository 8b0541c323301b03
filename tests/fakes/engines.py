"""Engines of a test's own, for `Restorer(bundle, engine=...)`."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Boxes, Rows
from runtime.images.arrays import Image


class FakeEngine:
    """Does to the faces what the test says; memorises nothing but zeros of width `columns`."""

    description = "a fake engine"
    max_references: int | None = None

    def __init__(
        self, work: Callable[[Image], Image], columns: int = 1, max_batch: int = 1
    ) -> None:
        self.max_batch = max_batch
        self.calls: list[int] = []  # faces of each call of `restore`
        self.closed = False
        self._work, self._columns = work, columns

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        assert membership.shape == (len(image), sum(map(len, people)))
        self.calls.append(len(image))
        return self._work(image)

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        return np.zeros((len(image), self._columns), np.float32)

    def close(self) -> None:
        self.closed = True
