"""Engines for the studies: one that notes its calls, and one whose work is easy to see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.suites.ceiling import NullEngine
from runtime.backends.base import Boxes, Engine, Rows
from runtime.images.arrays import Image


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of one call of an engine."""

    image: Image
    boxes: Boxes
    people: Sequence[Rows]
    membership: NDArray[np.float32]


class NotingEngine:
    """Does what another engine does, and keeps its calls while `notes` is not None."""

    def __init__(self, engine: Engine) -> None:
        self.description, self.max_batch = engine.description, engine.max_batch
        self.max_references = engine.max_references
        self.notes: list[Call] | None = None
        self._engine = engine

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        if self.notes is not None:
            self.notes.append(Call(image.copy(), boxes.copy(), people, membership))
        return self._engine.restore(image, boxes, people, membership)

    def repeat(self, calls: Sequence[Call]) -> None:
        """Make calls again, one after the other, and nothing else."""
        for call in calls:
            self._engine.restore(call.image, call.boxes, call.people, call.membership)

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        return self._engine.memorize(image, boxes)

    def close(self) -> None:
        self._engine.close()


class NegativeEngine(NullEngine):
    """Gives the negative of each face, so that it is seen where, and when, a face was pasted."""

    description = "negative"

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        return 255 - image
