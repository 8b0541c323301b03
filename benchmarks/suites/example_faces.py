"""Pictures for the suites: a degraded face to look at, and a photo with many faces."""

import base64
from collections.abc import Iterable

import cv2
import numpy as np

from benchmarks.report.results import Picture
from benchmarks.suites.setting import Setting
from calibration.degradation import degrade
from runtime.images.arrays import Image
from runtime.samples.faces import sample_faces, samples

TWELVE = tuple(np.linspace(48, 400, 12).tolist())
"""Widths of the faces of a photo of twelve, in pixels."""

_FACE = 300  # width of the face in a sample crop, in pixels


def before_and_after(setting: Setting) -> tuple[Picture, ...]:
    """A sample face with the usual number of references, as each runner restores it."""
    faces, boxes = sample_faces()
    before = degrade(faces[0], np.random.default_rng(0))
    usual = setting.cases.next(1, setting.usual)
    case = type(usual)(before[None], boxes[:1], usual.rows, usual.membership)
    after = {
        runner.subject.name: _png(runner.restore(case)[0]) for runner in setting.without_variants
    }
    return (Picture("astronaut", _png(before), after),)


def twelve_megapixels(widths: Iterable[float]) -> Image:
    """A photo of up to twelve faces of the given widths in a grid: uint8 (3000, 4000, 3) BGR."""
    canvas = background(np.random.default_rng(1), (40, 30), (4000, 3000))
    crops = [sample.image for sample in samples()]
    for index, face in enumerate(widths):
        crop = crops[index % 2]
        at = index % 4 * 1000 + 20, index // 4 * 1000 + 20
        lay(crop, canvas, len(crop) * face / _FACE, at)
    return canvas


def background(rng: np.random.Generator, spots: tuple[int, int], size: tuple[int, int]) -> Image:
    """A smooth picture, uint8 (height, width, 3), interpolated from a grid of random colours.

    `spots`: the grid's size; both sizes are (width, height).
    """
    coarse = rng.integers(60, 200, (*spots[::-1], 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def lay(crop: Image, photo: Image, side: float, at: tuple[int, int]) -> None:
    """Write a square crop into `photo`, `side` pixels wide, its upper left corner at (x, y)."""
    (x, y), scale = at, side / len(crop)
    small = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    photo[y : y + len(small), x : x + len(small)] = small


def _png(image: Image) -> str:
    encoded = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))[1]
    return base64.b64encode(encoded.tobytes()).decode()
