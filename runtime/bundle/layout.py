"""Fixed orders and sizes: the components, the scales, the columns of a specific dictionary.

The network looks at three components (left eye, right eye, mouth) at three scales of its feature
pyramid. A reference photograph becomes one row of numbers: for each scale and component a key
and a value, flattened and laid side by side in the order that `dictionary_layout` gives.
"""

import math
import re
from dataclasses import dataclass

IMAGE_SIZE = 512
"""Side of an aligned face crop, in pixels."""

COMPONENTS = ("left eye", "right eye", "nose", "mouth")
"""Order of the rows of a (4, 4) box array; "left" is the side with the smaller x."""

SCALES = (256, 128, 64)
"""Sides of the feature maps that have a dictionary, in the order of the dictionary's columns."""

PARTS = ("le", "re", "mo")
"""The components that have a dictionary, by the checkpoint's names, in column order."""

BOX_ROW = {"le": 0, "re": 1, "mo": 3}
"""Row of a part's box in a (4, 4) box array."""

CROP_SIZE = {
    (part, scale): largest * scale // 256
    for part, largest in (("le", 40), ("re", 40), ("mo", 55))
    for scale in SCALES
}
"""Side of the square that a component's features are resized to, by (part, scale)."""


_SEGMENT = re.compile(
    r"[0-9]{1,4}\.(?:le|re|mo)\.(?:key|value):([0-9]{1,5})x([0-9]{1,5})x([0-9]{1,5})"
)
_MOST_SEGMENTS = 64  # the network has 18
_MOST_COLUMNS = 1 << 26  # the published network's rows have 860,720 numbers


@dataclass(frozen=True)
class Segment:
    """The columns `start:stop` of a dictionary row: one key or value, (channels, size, size)."""

    part: str
    scale: int
    kind: str  # "key" or "value"
    channels: int
    size: int
    start: int

    @property
    def stop(self) -> int:
        """The column after the last."""
        return self.start + self.channels * self.size * self.size

    def __str__(self) -> str:
        return f"{self.scale}.{self.part}.{self.kind}:{self.channels}x{self.size}x{self.size}"


def channels_at(scale: int, width: int) -> int:
    """Feature channels at `scale` for a network of `width` channels at scale 256."""
    return width * (256 // scale)


def dictionary_layout(width: int = 64) -> tuple[Segment, ...]:
    """The columns of a row: scale 256, 128, 64; in each le, re, mo; in each key, value."""
    segments: list[Segment] = []
    start = 0
    for scale in SCALES:
        for part in PARTS:
            values = channels_at(scale, width)
            for kind, channels in (("key", values // 4), ("value", values)):
                segment = Segment(part, scale, kind, channels, CROP_SIZE[part, scale], start)
                segments.append(segment)
                start = segment.stop
    return tuple(segments)


def layout_text(segments: tuple[Segment, ...]) -> str:
    """The layout as one line of text, as manifests and dictionary files hold it."""
    return " ".join(map(str, segments))


def columns_of(text: str) -> int:
    """How many numbers a row has, by a layout's text. Raises ValueError if that is not a layout."""
    segments = text.split(" ")
    if len(segments) > _MOST_SEGMENTS:
        raise ValueError(f"not a dictionary layout: {len(segments)} parts")
    columns = 0
    for segment in segments:
        sizes = _SEGMENT.fullmatch(segment)
        if sizes is None:
            raise ValueError(f"not a dictionary layout: {segment[:60]!r}")
        columns += math.prod(map(int, sizes.groups()))
    if not 0 < columns <= _MOST_COLUMNS:
        raise ValueError(f"not a dictionary layout: a row of {columns} numbers")
    return columns
