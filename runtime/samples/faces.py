"""Built-in faces as the graphs' inputs: what every export and every engine is judged on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.faces.landmark_files import read_landmarks
from runtime.faces.landmarks import component_boxes
from runtime.images.arrays import Image, to_rgb
from runtime.images.files import read_image

SAMPLES = Path(__file__).parent

CASES = {
    "generic": ([0], [[0, 0, 0]]),
    "specific": ([1], [[1, 1, 1]]),
    "mixed": ([0, 1, 2], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]),
}
"""Faces of `sample_faces`, and who may read which of the three rows made from them."""


def sample_faces() -> tuple[Image, NDArray[np.int32]]:
    """Two people, and the first one mirrored: uint8 (3, 512, 512, 3) RGB, int32 (3, 4, 4)."""
    images, boxes = [], []
    for name in ("astronaut.png", "grace_hopper.png"):
        images.append(to_rgb(read_image(SAMPLES / name), "bgr"))
        boxes.append(component_boxes(read_landmarks(SAMPLES / f"{name}.txt")))
    images.append(np.ascontiguousarray(images[0][:, ::-1]))
    x1, y1, x2, y2 = boxes[0][[1, 0, 2, 3]].T
    boxes.append(np.stack([512 - x2, y1, 512 - x1, y2], axis=1).astype(np.int32))
    return np.stack(images), np.stack(boxes)
