"""The network that finds faces: YuNet, which sees a whole picture of any size.

Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20,
2023. OpenCV's own `FaceDetectorYN` reads the same file, but takes twice the time of ONNX Runtime,
and keeps the size of the last picture, so that each thread would need one of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.faces.alignment import Points
from runtime.images.arrays import Image
from runtime.machine.onnx_session import open_session

MODELS = Path(__file__).with_name("models")

_STRIDES = (8, 16, 32)  # pixels for a cell of each of its grids; sides are multiples of the last
_OUTPUTS = ("cls", "obj", "bbox", "kps")
_MOST = 1000  # faces of a picture, and a twentieth of what may be one
_SAME = 0.3  # boxes that share more of their union are one face
_INSIDE = 0.7  # so are boxes of which one lies that much inside the other


@dataclass(frozen=True)
class Candidates:
    """What may be faces of a picture, in its pixels.

    `boxes` (N, 4) are x1, y1, x2, y2, `scores` (N,) from 0 to 1, and `points` (N, 5, 2) those of
    `alignment.TEMPLATE`.
    """

    boxes: Points
    scores: Points
    points: Points

    @property
    def middles(self) -> Points:
        """(N, 2): of the boxes."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @property
    def sides(self) -> Points:
        """(N,): the longer side of each box."""
        return np.asarray((self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1))

    def taken(self, which: NDArray[np.generic] | slice) -> "Candidates":
        """Those that indices, a mask or a slice choose."""
        return Candidates(self.boxes[which], self.scores[which], self.points[which])

    def moved(self, scale: Points, shift: tuple[int, int]) -> "Candidates":
        """In pixels of a picture in which x, y become scale * (x, y) + shift."""
        boxes = self.boxes * np.tile(scale, 2) + np.tile(shift, 2)
        return Candidates(boxes, self.scores, self.points * scale + shift)


class YuNet:
    """The network, opened once; safe to call from many threads. `threads`: CPU threads of a run."""

    def __init__(self, threads: int | None = None) -> None:
        self._session = open_session(MODELS / "face_detection_yunet_2026may.onnx", threads=threads)
        self._names = [f"{name}_{stride}" for stride in _STRIDES for name in _OUTPUTS]

    def run(self, picture: Image, least: float) -> Candidates:
        """Everything in an RGB picture (H, W, 3) that scores `least` or more; not merged yet."""
        height, width = (length + -length % _STRIDES[-1] for length in picture.shape[:2])
        blob = np.zeros((1, 3, height, width), np.float32)
        for channel, values in zip((2, 1, 0), cv2.split(picture), strict=True):  # RGB to BGR
            blob[0, channel, : picture.shape[0], : picture.shape[1]] = values
        outputs = self._session.run(self._names, {"input": blob})
        found = []
        for index, stride in enumerate(_STRIDES):
            cls, obj, bbox, kps = (each[0] for each in outputs[4 * index : 4 * index + 4])
            scores = np.sqrt(cls[:, 0].astype(np.float64) * obj[:, 0])
            cells = np.flatnonzero(scores >= least)
            corner = np.stack(np.divmod(cells, width // stride), axis=1)[:, ::-1]
            middle = corner + bbox[cells, :2]
            half = np.exp(bbox[cells, 2:].astype(np.float64)) / 2
            boxes = np.hstack([middle - half, middle + half]) * stride
            points = (kps[cells].reshape(-1, 5, 2) + corner[:, None]) * stride
            found.append(Candidates(boxes, scores[cells], points))
        return joined(found)


def joined(found: Sequence[Candidates]) -> Candidates:
    """All candidates of one picture in one list."""
    return Candidates(
        np.concatenate([each.boxes for each in found]),
        np.concatenate([each.scores for each in found]),
        np.concatenate([each.points for each in found]),
    )


def apart(boxes: Points, scores: Points) -> NDArray[np.intp]:
    """The indices of one box (x1, y1, x2, y2) a face, the most certain one; best first.

    There are 1000 at most, so that no picture takes for ever.
    """
    left = np.argsort(-scores, kind="stable")[: 20 * _MOST]
    kept: list[np.intp] = []
    while left.size and len(kept) < _MOST:
        best, left = left[0], left[1:]
        kept.append(best)
        union, smaller = _shares(boxes[best], boxes[left])
        left = left[(union <= _SAME) & (smaller <= _INSIDE)]
    return np.array(kept, np.intp)


def _shares(box: Points, others: Points) -> tuple[Points, Points]:
    """What `box` shares with each other one, of their union and of the smaller of the two."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = size.clip(min=0).prod(axis=1)
    one, other = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    return shared / (one + other - shared), shared / np.minimum(one, other)
