"""Pictures for people: before and after, and the faces that were found."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.images.arrays import Image, side_by_side, to_rgb
from runtime.photo import Restored


def before_and_after(photo: NDArray[Any], result: Restored, remark: str | None) -> Image:
    """Photo and result side by side, 8-bit BGR, both of the result's size.

    `remark` goes into the caption of the result.
    """
    before, after = (
        to_rgb(image, "bgr", say_scaled=False)[:, :, ::-1] for image in (photo, result.image)
    )
    height, width = after.shape[:2]
    if before.shape != after.shape:
        large = cv2.resize(before, (width, height), interpolation=cv2.INTER_CUBIC)
        before = np.asarray(large, np.uint8)
    caption = f"after ({remark})" if remark else "after"
    return side_by_side({"before": before, caption: after})


def draw_faces(photo: NDArray[Any], result: Restored) -> Image:
    """The photo before restoration, 8-bit BGR, with each face's box, index, score and landmarks."""
    canvas = np.ascontiguousarray(to_rgb(photo, "bgr", say_scaled=False)[:, :, ::-1])
    for index, face in enumerate(result.faces):
        size = max(1, round(float(face.box[2] - face.box[0]) / 150))
        x1, y1, x2, y2 = (int(value) for value in face.box.round())
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (0, 200, 0), size)
        label = f"{index}: {face.score:.2f}"
        cv2.putText(canvas, label, (x1, y1 - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 200, 0), 1)
        for x, y in face.landmarks.round():
            cv2.circle(canvas, (int(x), int(y)), size, (0, 255, 255), -1)
    return canvas
