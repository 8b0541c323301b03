"""How steady a face is from frame to frame: jitter of its landmarks, and change of its crops."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime.images.arrays import Image


def jitter(residuals: Sequence[NDArray[np.float64]], times: Sequence[float]) -> float:
    """Root mean square of what landmarks do beside their path from frame to frame, in pixels.

    What counts is how far each frame's lie from the line between those of the frames before and
    after, over what independent errors of 1 pixel give: these have a jitter of 1, while a constant
    offset of a landmark network, and one that drifts steadily, give none.

    Args:
        residuals: (68, 2) each, found less true, of consecutive frames.
        times: seconds of the frames.
    """
    found, at = np.stack(residuals), np.asarray(times)
    before = ((at[2:] - at[1:-1]) / (at[2:] - at[:-2]))[:, None, None]
    away = found[1:-1] - before * found[:-2] - (1 - before) * found[2:]
    return float(np.sqrt((away**2 / (1 + before**2 + (1 - before) ** 2)).mean()))


@dataclass
class Change:
    """Mean absolute change between consecutive crops, in levels, summed up by key.

    A key is a track; `add` what is seen in each frame of it. A frame that is left out makes a gap,
    over which no change is counted.
    """

    total: float = 0.0
    pairs: int = 0
    _last: dict[object, tuple[int, Image]] = field(default_factory=dict)

    def add(self, key: object, index: int, crop: Image) -> None:
        """The crop of a frame, by the frame's number; all crops have one size."""
        before = self._last.get(key)
        if before is not None and before[0] == index - 1:
            self.total += float(np.abs(crop.astype(np.int16) - before[1]).mean())
            self.pairs += 1
        self._last[key] = (index, crop)

    @property
    def mean(self) -> float:
        """Of all pairs of consecutive frames."""
        return self.total / self.pairs
