"""ONNX files run on the CPU while calibrating, face by face."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.faces import Face
from runtime.images.arrays import Image

Run = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]


def open_run(path: Path, outputs: list[str] | None = None, threads: int | None = None) -> Run:
    """A function from named inputs to the file's `outputs` (None: all)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(outputs, dict(inputs))


class Cases:
    """Faces as the restorer's inputs: in turn without a dictionary, with one, and a mixture.

    The rows of a case are those of the face's own reference and of the two faces before it; in the
    mixture, some of the rows belong to somebody else.
    """

    _MEMBERS = ((0, 0, 0), (1, 1, 1), (1, 0, 0))

    def __init__(self, memorizer: Path) -> None:
        self._memorize = open_run(memorizer)
        self._rows: list[NDArray[np.floating]] = []
        self._turn = 0

    def next(self, face: Face) -> dict[str, NDArray[Any]]:
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


def restore(run: Run, case: Mapping[str, NDArray[Any]], dtype: np.dtype) -> Image:
    """The restored face (512, 512, 3) of one case, by a graph whose dictionary is of `dtype`."""
    (image,) = run({**case, "dictionary": case["dictionary"].astype(dtype)})
    return np.asarray(image[0], np.uint8)
