"""Finding faces in photographs of any size with the two BlazeFace networks.

Bazarevsky et al., "BlazeFace", arXiv 1907.05047. The short-range network sees the whole photo, the
full-range one the photo and ever smaller overlapping tiles, so that small faces are found too.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.images.arrays import Image, by_cv2
from runtime.machine.onnx_session import open_session

MODELS = Path(__file__).with_name("models")

_MIN_SCORE = 0.4  # what is no face is found out by the landmark network
_TILE = 512  # side of the smallest tile in pixels: a face of 32 px is 12 px to the network
_STRIDE = 2 / 3  # of a tile; a face over a third of a tile is found a level above
_SAME = 0.3  # boxes that share more of their union are one face
_INSIDE = 0.7  # so are boxes of which one lies that much inside the other


@dataclass(frozen=True)
class Detection:
    """A face: box `x1 y1 x2 y2`, score in 0..1, and left eye, right eye, nose, mouth (4, 2).

    All in pixels of the photo; "left" is the smaller x of an upright face.
    """

    box: NDArray[np.float64]
    score: float
    keypoints: NDArray[np.float64]


class FaceDetector:
    """Finds faces with both networks, opened once; safe to call from many threads.

    `threads`: tiles of a photo that are searched at a time; None: one for each core.
    """

    def __init__(self, threads: int | None = None) -> None:
        # strides 8, 16, 16, 16 with two anchors a cell and layer
        short_anchors = np.concatenate([_grid(16, 2), _grid(8, 6)])
        self._short = _Network("blazeface_short_range.onnx", 128, short_anchors)
        self._full = _Network("blazeface_full_range.onnx", 192, _grid(48, 1))
        self._pool = ThreadPoolExecutor(threads or os.cpu_count())

    def detect(self, image: Image) -> list[Detection]:
        """Faces in an RGB photo (H, W, 3), best first."""
        whole = [self._pool.submit(network.run, image) for network in (self._short, self._full)]
        tiles = _tiles(image.shape[1], image.shape[0])
        in_tiles = self._pool.map(lambda tile: self._search(image, *tile), tiles)
        parts = [*(future.result() for future in whole), *in_tiles]
        return _merge([detection for part in parts for detection in part])

    def _search(self, image: Image, left: int, top: int, side: int) -> list[Detection]:
        """The faces of a tile; those over its border inside the photo are whole in another."""
        start = np.array([left, top])
        end, size = start + side, np.array(image.shape[1::-1])
        found = []
        for face in self._full.run(image[top : top + side, left : left + side]):
            box = face.box + np.tile(start, 2)
            cut = ((box[:2] < start) & (start > 0)) | ((box[2:] > end) & (end < size))
            if not cut.any():
                found.append(Detection(box, face.score, face.keypoints + start))
        return found


class _Network:
    """One BlazeFace: 16 numbers and a score for each anchor, in pixels of its square input."""

    def __init__(self, file: str, side: int, anchors: NDArray[np.float64]) -> None:
        self._session = open_session(MODELS / file, threads=1)
        self._side, self._anchors = side, anchors * side

    def run(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        scale = self._side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas = np.zeros((1, self._side, self._side, 3), np.float32)
        canvas[0, : size[1], : size[0]] = by_cv2(
            lambda pixels: cv2.resize(pixels, size, interpolation=method), image
        )
        regressors, logits = self._session.run(None, {"input": canvas / 127.5 - 1})
        scores = 1 / (1 + np.exp(-logits[0, :, 0].astype(np.float64).clip(-80, 80)))
        found = []
        for index in np.flatnonzero(scores >= _MIN_SCORE):
            points = regressors[0, index].reshape(8, 2).astype(np.float64)
            points[0] += self._anchors[index]
            points[2:] += self._anchors[index]
            points /= scale
            half = np.abs(points[1]) / 2
            box = np.concatenate([points[0] - half, points[0] + half])
            found.append(Detection(box, float(scores[index]), points[2:6]))
        return found


def _grid(cells: int, repeat: int) -> NDArray[np.float64]:
    """Anchor centres of a layer, in units of the input's side."""
    centres = (np.arange(cells) + 0.5) / cells
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    return grid.repeat(repeat, axis=0)


def _tiles(width: int, height: int) -> list[tuple[int, int, int]]:
    """Left, top and side of the tiles of all levels below the whole photo."""
    tiles = []
    side = max(width, height) / 2
    while side > _TILE / 2:
        tile = round(side)
        rows, columns = (_starts(length, tile) for length in (height, width))
        tiles += [(left, top, tile) for top in rows for left in columns]
        side /= 2
    return tiles


def _starts(length: int, tile: int) -> list[int]:
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / (tile * _STRIDE))) + 1
    return [round(start) for start in np.linspace(0, length - tile, count)]


def _merge(found: list[Detection]) -> list[Detection]:
    """One detection a face: the mean of those that agree with the best, weighted by score."""
    left = sorted(found, key=lambda d: -d.score)
    merged = []
    while left:
        best = left[0]
        shares = [_overlap(best.box, other.box) for other in left]
        same = list(compress(left, (iou > _SAME for iou, _ in shares)))
        weights = [d.score for d in same]
        box = np.average([d.box for d in same], axis=0, weights=weights)
        keypoints = np.average([d.keypoints for d in same], axis=0, weights=weights)
        merged.append(Detection(box, best.score, keypoints))
        apart = [iou <= _SAME and inside <= _INSIDE for iou, inside in shares]
        left = list(compress(left, apart))
    return merged


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Intersection over union, and over the smaller box."""
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(size.clip(min=0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (a, b)]
    return shared / (sum(areas) - shared), shared / min(areas)
