"""Where a clip cuts to another scene, by small grey pictures of its frames."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from runtime.images.arrays import Image

Thumbnail = NDArray[np.uint8]

_WIDTH, _HEIGHT = 64, 36  # pixels of a thumbnail, whatever the frame's shape
_SHIFT = 3  # pixels of it, a twentieth of the picture: so far a camera moves from frame to frame

_CUT = 20.0
"""Grey levels from which on a change is a cut. 306 cuts between portraits of one framing gave 24 to
70, pans by a twentieth of the picture and less 11 at most, zooms by 5 % 19, a strong flash 32."""

_TIMES = 3.0  # times the changes of late: where everything moves, only a larger one is a cut
_SHARE = 0.3  # of the last change in those of late


def thumbnail_of(frame: Image) -> Thumbnail:
    """A small grey picture (36, 64) of an RGB frame (H, W, 3), for cuts and motion."""
    height, width = frame.shape[:2]
    step = max(1, min(height // (4 * _HEIGHT), width // (4 * _WIDTH)))  # a large frame costs time
    few = np.ascontiguousarray(frame[::step, ::step])
    small = cv2.resize(few, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    # else half a pixel's motion would change fine detail
    return np.asarray(cv2.blur(grey, (3, 3)), np.uint8)


@dataclass(frozen=True, eq=False)
class Watch:
    """What the search for cuts knows of the frames so far.

    `last`: the thumbnail of the last one; `usual`: how much frames changed of late.
    """

    last: Thumbnail | None = None
    usual: float = 0.0

    def after(self, thumbnail: Thumbnail) -> tuple[bool, "Watch"]:
        """Whether the next frame begins another scene, and what is known after it."""
        if self.last is None:
            return False, Watch(thumbnail)
        found = change(self.last, thumbnail)
        cut = found > max(_CUT, _TIMES * self.usual)
        # a cut counts among the changes, too: otherwise flashing light would be nothing but cuts
        return cut, Watch(thumbnail, self.usual + _SHARE * (found - self.usual))


def change(before: Thumbnail, after: Thumbnail) -> float:
    """By how much two thumbnails differ, in grey levels: the root of the mean square.

    What a camera that moves a little would make of the picture is no difference, nor is light that
    becomes brighter or darker.
    """
    inner = (slice(_SHIFT, -_SHIFT),) * 2
    middle = after[inner].astype(np.float64)
    first = before.astype(np.float64)
    as_it_is = _differences(first[inner][None, None], middle)[0, 0]
    if as_it_is <= _CUT / _TIMES:  # no cut, nor does it change what is one: the rest costs time
        return float(as_it_is)
    return float(_differences(sliding_window_view(first, middle.shape), middle).min())


def _differences(windows: NDArray[np.float64], picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much a picture (H, W) differs from each window (Y, X, H, W), light apart: (Y, X).

    Sums of whole numbers are exact, so that each run finds the same.
    """
    count = picture.size
    mean, means = picture.sum() / count, np.einsum("yxhw->yx", windows) / count
    spread = (picture * picture).sum() / count - mean**2
    spreads = np.einsum("yxhw,yxhw->yx", windows, windows) / count - means**2
    products = np.einsum("yxhw,hw->yx", windows, picture) / count
    together = np.maximum(0, products - mean * means)
    alike = together**2 / np.maximum(1, spread * spreads)  # a flat picture is like no other
    return np.asarray(np.sqrt(np.maximum(spread, spreads) * np.maximum(0, 1 - alike)))


def moved(before: Thumbnail, after: Thumbnail) -> float:
    """The mean absolute difference of two thumbnails, in grey levels."""
    return float(np.abs(before.astype(np.float64) - after).mean())
