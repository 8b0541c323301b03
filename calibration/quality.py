"""Score restored faces against reference faces by PSNR and SSIM: whole, and each component.

Eyes and mouth are small, but they are what people look at, so each has a score of its own. PSNR is
OpenCV's, and SSIM scikit-image's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import BOX_ROW, IMAGE_SIZE, PARTS
from runtime.bundle.manifest import Quality
from runtime.images.arrays import Image
from runtime.text import shown

REGIONS = ("whole", *PARTS)
NAMES = {"whole": "whole", "le": "left eye", "re": "right eye", "mo": "mouth"}
EQUAL_DB = 100.0  # counted for pictures without any difference
COMPONENT_ALLOWANCE_DB = 3.0  # a component may be worse than the whole by this
_WINDOW = 7  # side of SSIM's window


@dataclass(frozen=True)
class Score:
    """The score of one face: PSNR in dB and SSIM of each region."""

    face: str
    psnr_db: Mapping[str, float]
    ssim: Mapping[str, float]


def score(face: str, got: Image, wanted: Image, boxes: NDArray[np.int32]) -> Score:
    """Compare two restorations of a face, uint8 (512, 512, 3), with its (4, 4) boxes."""
    from skimage.metrics import structural_similarity

    ssim = {}
    for region in REGIONS:
        pair = (region_of(image, boxes, region) for image in (got, wanted))
        ssim[region] = float(structural_similarity(*pair, win_size=_WINDOW, channel_axis=2))
    return Score(face, psnr(got, wanted, boxes), ssim)


def psnr(got: Image, wanted: Image, boxes: NDArray[np.int32]) -> dict[str, float]:
    """PSNR in dB of each region, as in `score`."""
    found = {}
    for region in REGIONS:
        one, other = (region_of(face, boxes, region).copy() for face in (wanted, got))
        found[region] = min(EQUAL_DB, cv2.PSNR(one, other))  # of equal pictures, OpenCV says 361
    return found


def region_of(image: Image, boxes: NDArray[np.int32], region: str) -> Image:
    """Cut a region out of a face; it is widened to SSIM's window if it is smaller."""
    if region == "whole":
        return image
    x1, y1, x2, y2 = boxes[BOX_ROW[region]]
    (x1, x2), (y1, y2) = _at_least(x1, x2), _at_least(y1, y2)
    return image[y1:y2, x1:x2]


def summary(scores: list[Score]) -> tuple[Quality, ...]:
    """Mean and worst of each region."""
    rows = []
    for region in REGIONS:
        decibels = [score.psnr_db[region] for score in scores]
        ssim = [score.ssim[region] for score in scores]
        mean, mean_ssim = float(np.mean(decibels)), float(np.mean(ssim))
        worst = int(np.argmin(decibels))
        face = scores[worst].face
        rows.append(Quality(region, mean, decibels[worst], mean_ssim, min(ssim), face))
    return tuple(rows)


def least_psnr(region: str, min_psnr_db: float) -> float:
    """The mean PSNR in dB that a region needs; a component may be 3 dB under `min_psnr_db`."""
    return min_psnr_db - (COMPONENT_ALLOWANCE_DB if region != "whole" else 0)


def shortfalls(quality: tuple[Quality, ...], min_psnr_db: float) -> list[str]:
    """Messages on the regions that miss the gate, as NaN does; empty if all pass."""
    least = {row.region: least_psnr(row.region, min_psnr_db) for row in quality}
    return [
        f"{NAMES[row.region]} {row.mean_psnr_db:.1f} dB, under {least[row.region]:g}"
        for row in quality
        if not row.mean_psnr_db >= least[row.region]
    ]


def table(quality: tuple[Quality, ...]) -> str:
    """The summary as lines of text."""
    lines = ["region      PSNR dB mean  worst   SSIM mean   worst  worst face"]
    lines += [
        f"{NAMES[row.region]:10} {row.mean_psnr_db:13.1f} {row.worst_psnr_db:6.1f} "
        f"{row.mean_ssim:11.4f} {row.worst_ssim:7.4f}  {shown(row.worst_face)}"
        for row in quality
    ]
    return "\n".join(lines)


def _at_least(start: int, stop: int) -> tuple[int, int]:
    start = int(np.clip(start, 0, IMAGE_SIZE - _WINDOW))
    return start, max(int(min(stop, IMAGE_SIZE)), start + _WINDOW)
