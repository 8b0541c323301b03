"""A photograph from its faces to the result: which are meant, cut out, and put back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.errors import InvalidLandmarksError, NoFaceError, UsageError
from runtime.faces.alignment import TEMPLATE, Points, five_points
from runtime.faces.compositing import enlarge, put_back, replace
from runtime.faces.finder import Crop, Face, FaceFinder, cut
from runtime.faces.landmarks import component_boxes
from runtime.images.arrays import Color, Image, to_rgb

Only = Literal["largest", "center"] | int

_NEAR = 30.0  # pixels: mean distance of an FFHQ crop's five points from the template's


@dataclass(frozen=True)
class Restored:
    """A photo with restored faces.

    `image`: of the photo's dtype, channels and order, enlarged if that was asked for. `faces`: all
    that were found, best first, in pixels of the photo as given. `restored`: the indices of those
    that were restored. `timings`: seconds of detect, align, boxes, network and paste. `warnings`:
    what was left as it was, and why.
    """

    image: NDArray[Any]
    faces: tuple[Face, ...]
    restored: tuple[int, ...]
    timings: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A photo whose faces are found and cut out, before the network.

    `image`: the photo, enlarged, to paste into; a copy. `crops` and the (2, 3) `matrices`
    photo -> crop: of the faces `indices`. `aligned`: the photo is the crop.
    """

    image: NDArray[Any]
    color: Color
    aligned: bool
    faces: tuple[Face, ...]
    indices: tuple[int, ...]
    crops: tuple[Crop, ...]
    matrices: tuple[Points, ...]
    notes: tuple[str, ...]
    clock: "Clock"

    def finish(self, restored: Sequence[Image], network_s: float, notes: list[str]) -> Restored:
        """Put the restored crops back; `network_s`: the seconds that they took."""
        self.clock.restart()
        # the best face is pasted last, and so lies over its neighbours
        for face, matrix in reversed(list(zip(restored, self.matrices, strict=True))):
            if self.aligned:
                replace(self.image, face, self.color)
            else:
                put_back(self.image, face, matrix, self.color)
        self.clock.seconds["network"] = network_s
        self.clock.stop("paste")
        said = (*self.notes, *notes)
        return Restored(self.image, self.faces, self.indices, self.clock.seconds, said)


def plan(
    photo: NDArray[np.generic],
    finder: FaceFinder,
    only: Only | None,
    upscale: int,
    require_face: bool,
    color: Color,
) -> Plan:
    """Find the faces of a photo and cut out those that are meant; see `Restorer.restore`."""
    clock = Clock()
    rgb = to_rgb(photo, color, say_scaled=False)
    faces = finder.find(rgb)
    clock.stop("detect")
    if not faces and require_face:
        raise NoFaceError("no face was found in the photo")
    notes = [] if faces else ["no face was found: the photo is as it was"]

    image = enlarge(np.ascontiguousarray(photo), upscale)
    aligned = upscale == 1 and is_aligned(faces, photo.shape)
    large = rgb if upscale == 1 else to_rgb(image, color, say_scaled=False)
    clock.stop("align")
    clock.stop("boxes")
    crops, matrices, indices = [], [], []
    for index in choose(faces, only, photo.shape):
        landmarks = (faces[index].landmarks + 0.5) * upscale - 0.5
        crop, points, matrix = cut(large, landmarks, aligned)
        clock.stop("align")
        try:
            boxes = component_boxes(points)
        except InvalidLandmarksError as error:
            notes.append(f"face {index} is as it was: {error}")
            continue
        clock.stop("boxes")
        crops.append(Crop(crop, boxes))
        matrices.append(matrix)
        indices.append(index)
    return Plan(
        image,
        color,
        aligned,
        tuple(faces),
        tuple(indices),
        tuple(crops),
        tuple(matrices),
        tuple(notes),
        clock,
    )


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


@dataclass
class Clock:
    """Seconds of each stage, summed where it comes again."""

    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def restart(self) -> None:
        self.start = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.start
        self.start = now
