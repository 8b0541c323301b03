"""Run ONNX graphs on the CPU for calibration, one face at a time."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.faces import FacePair
from runtime.images.arrays import Image
from runtime.machine.onnx_session import open_session

Run = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]


def open_run(path: Path, outputs: list[str] | None = None, threads: int | None = None) -> Run:
    """Open an ONNX file; the result takes inputs by name and returns `outputs` (None: all)."""
    session = open_session(path, threads=threads)
    return lambda inputs: session.run(outputs, dict(inputs))


class RestorerInputs:
    """Makes restorer inputs from faces: in turn without a dictionary, with one, and a mixture.

    The dictionary's rows are those of the face's own reference and of the two faces before it; in
    the mixture, some of the rows belong to somebody else.
    """

    _MEMBERS = ((0, 0, 0), (1, 1, 1), (1, 0, 0))

    def __init__(self, memorizer: Path) -> None:
        self._memorize = open_run(memorizer)
        self._rows: list[NDArray[np.floating]] = []
        self._turn = 0

    def next(self, face: FacePair) -> dict[str, NDArray[Any]]:
        """The inputs of one face, for the float32 graph."""
        (row,) = self._memorize({"image": face.reference[None], "boxes": face.boxes[None]})
        self._rows = [row.astype(np.float32), *self._rows[:2]]
        members = self._MEMBERS[self._turn % 3][: len(self._rows)]
        self._turn += 1
        return {
            "image": face.image[None],
            "boxes": face.boxes[None],
            "dictionary": np.concatenate(self._rows),
            "membership": np.array([members], np.float32),
        }


def restore(run: Run, inputs: Mapping[str, NDArray[Any]], dtype: np.dtype) -> Image:
    """Restore one face with a graph whose dictionary has `dtype`; uint8 (512, 512, 3) RGB."""
    (image,) = run({**inputs, "dictionary": inputs["dictionary"].astype(dtype)})
    return np.asarray(image[0], np.uint8)
