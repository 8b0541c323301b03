"""What a restored photograph is, and which of its faces are meant."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.alignment import TEMPLATE, five_points
from runtime.errors import UsageError
from runtime.faces import Face
from runtime.layout import IMAGE_SIZE

Only = Literal["largest", "center"] | int

_NEAR = 30.0  # pixels: mean distance of an FFHQ crop's five points from the template's


@dataclass(frozen=True)
class Restored:
    """A photo with restored faces.

    `image`: of the photo's dtype, channels and order, enlarged if that was asked for. `faces`: all
    that were found, best first, in pixels of the photo as given. `restored`: the indices of those
    that were restored. `timings`: seconds of detect, align, network and paste. `warnings`: what was
    left as it was, and why.
    """

    image: NDArray[Any]
    faces: tuple[Face, ...]
    restored: tuple[int, ...]
    timings: dict[str, float]
    warnings: tuple[str, ...]


def choose(faces: list[Face], only: Only | None, shape: tuple[int, ...]) -> list[int]:
    """Indices of the faces that `only` means: all, the largest, the most central, or the index."""
    if only is None or not faces:
        return list(range(len(faces)))
    if only == "largest":
        return [largest(faces)]
    if only == "center":
        middle = np.array([shape[1], shape[0]]) / 2
        distances = [np.linalg.norm((f.box[:2] + f.box[2:]) / 2 - middle) for f in faces]
        return [int(np.argmin(distances))]
    if isinstance(only, int) and 0 <= only < len(faces):
        return [only]
    raise UsageError(
        f'only must be "largest", "center" or a face\'s index under {len(faces)}, not {only!r}'
    )


def largest(faces: list[Face]) -> int:
    """Index of the face with the largest box."""
    return int(np.argmax([np.prod(face.box[2:] - face.box[:2]) for face in faces]))


def is_aligned(faces: list[Face], shape: tuple[int, ...]) -> bool:
    """Is this 512 x 512 picture of one face an aligned crop already?"""
    if shape[:2] != (IMAGE_SIZE, IMAGE_SIZE) or len(faces) != 1:
        return False
    distances = np.linalg.norm(five_points(faces[0].landmarks) - TEMPLATE, axis=1)
    return bool(distances.mean() < _NEAR)
