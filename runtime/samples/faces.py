"""The built-in faces, which exports, engines and benchmarks are tested with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.faces.landmark_files import read_landmarks
from runtime.faces.landmarks import component_boxes
from runtime.images.arrays import Image, to_rgb
from runtime.images.files import read_image

SAMPLES = Path(__file__).parent
PHOTOS = SAMPLES / "photos"
"""The folder of the whole photographs that the faces are from."""

CASES = {
    "generic": ([0], [[0, 0, 0]]),
    "specific": ([1], [[1, 1, 1]]),
    "mixed": ([0, 1, 2], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]),
}
"""Test cases: indices of `sample_faces`, and which of their three rows each of them may read."""


@dataclass(frozen=True)
class Sample:
    """An aligned built-in face.

    `image`: uint8 (512, 512, 3) BGR; `landmarks`: float64 (68, 2) x, y in its pixels;
    `boxes`: int32 (4, 4), one component a row.
    """

    path: Path
    image: Image
    landmarks: NDArray[np.float64]
    boxes: NDArray[np.int32]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def rgb(self) -> Image:
        """The picture as the network takes it, uint8 (512, 512, 3) RGB."""
        return to_rgb(self.image, "bgr")


def samples() -> tuple[Sample, ...]:
    """Two people, read anew at each call: the astronaut, then Grace Hopper."""
    found = []
    for name in ("astronaut.png", "grace_hopper.png"):
        path = SAMPLES / name
        landmarks = read_landmarks(path.with_name(f"{name}.txt"))
        image = np.asarray(read_image(path), np.uint8)
        found.append(Sample(path, image, landmarks, component_boxes(landmarks)))
    return tuple(found)


def mirrored(image: Image, boxes: NDArray[np.int32]) -> tuple[Image, NDArray[np.int32]]:
    """An aligned face (512, 512, 3) and its (4, 4) boxes, mirrored: the eyes change places."""
    x1, y1, x2, y2 = boxes[[1, 0, 2, 3]].T
    turned = np.stack([IMAGE_SIZE - x2, y1, IMAGE_SIZE - x1, y2], axis=1).astype(np.int32)
    return np.ascontiguousarray(image[:, ::-1]), turned


def sample_faces() -> tuple[Image, NDArray[np.int32]]:
    """Two people, and the first one mirrored: uint8 (3, 512, 512, 3) RGB, int32 (3, 4, 4)."""
    faces = [(sample.rgb, sample.boxes) for sample in samples()]
    images, boxes = zip(*faces, mirrored(*faces[0]), strict=True)
    return np.stack(images), np.stack(boxes)
