"""Pixel formats by FFmpeg's names: their depth, and which are near to one another."""

import re
from collections.abc import Iterator

TWINS = {
    "gbrp": ("rgb24", "bgr0"),
    "yuv420p": ("nv12",),
    "yuv422p": ("nv16",),
    "yuv420p10le": ("p010le",),
    "yuv422p10le": ("p210le",),
    "yuvj420p": ("yuv420p", "nv12"),
    "yuvj422p": ("yuv422p", "nv16"),
    "yuvj444p": ("yuv444p",),
}
"""The same values in fewer planes, as NVENC and others know 10 bits only, or by another name.

Of a format with a j, whose values have the full range, the others need a stream that says so.
"""

_FORMAT = re.compile(r"(yuvj?4\d\dp|yuva4\d\dp|gbra?p|gray)(\d*)(?:le)?")
_PLANAR = {twin: planar for planar, twins in TWINS.items() for twin in twins if "j" not in planar}


def is_rgb(pixel_format: str) -> bool:
    return pixel_format.startswith(("gbr", "rgb", "bgr"))


def depth_of(pixel_format: str) -> int:
    """Bits of a value, of those formats that clips are worked on in, and their twins."""
    made = _FORMAT.fullmatch(_PLANAR.get(pixel_format, pixel_format))
    return int(made[2] or 8) if made else 8


def nearest(own: str) -> Iterator[str]:
    """Formats for an encoder that may not know a clip's own, the best first.

    Each is followed by its twins, which have the same values.
    """
    for name in dict.fromkeys(_nearest(own)):
        yield name
        yield from TWINS.get(name, ())


def _nearest(own: str) -> Iterator[str]:
    """Depth first, then colour, is kept."""
    yield own
    made = _FORMAT.fullmatch(own)
    kind, depth = made[1] if made else "yuv420p", depth_of(own)
    for bits in (12, 10, 8) if kind.startswith("yuva") else ():  # with its transparency
        if bits < depth:
            yield f"{kind}{'' if bits == 8 else f'{bits}le'}"
    full = kind.startswith("yuvj")
    least = {"yuv422p": 1, "yuvj422p": 1, "yuv420p": 2, "yuvj420p": 2}.get(kind, 0)
    for bits in (16, 12, 10, 8):
        if bits > depth:
            continue
        for chroma in ("444", "422", "420")[least:]:
            name = f"yuv{'j' if full else ''}{chroma}p{'' if bits == 8 else f'{bits}le'}"
            if name != own:
                yield name
    for chroma in ("422", "444"):  # of odd sizes
        yield f"yuv{'j' if full else ''}{chroma}p{'' if depth == 8 else f'{depth}le'}"
    for chroma in ("422", "444"):  # ProRes and others know no less
        yield f"yuv{chroma}p10le"
