"""The generated clips for tests, and what is in a file."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.clips import RECIPES, Clip, write_clip
from tests.conftest import Once


def written(once: Once, name: str) -> Clip:
    """The clip of a recipe, written once for all tests."""
    recipe = RECIPES[name]
    path = once(f"clip-{name}{recipe.suffix}", lambda path: write_clip(path, recipe))
    return Clip(path, recipe, recipe.times)


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded frame: its seconds, its values as stored, and its turn, counter-clockwise."""

    time: Fraction
    values: NDArray[Any]
    rgb: NDArray[np.uint8]
    rotation: int


def decoded(path: Path) -> list[Decoded]:
    """All frames; `rgb` is upright, and right for BT.709 only."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.pts is not None
            assert frame.time_base is not None
            rgb = frame.to_ndarray(format="rgb24", src_colorspace="ITU709").astype(np.uint8)
            upright = np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))
            seconds = frame.pts * frame.time_base
            found.append(Decoded(seconds, frame.to_ndarray(), upright, frame.rotation))
    return found


def side_data(frame: av.VideoFrame) -> set[str]:
    """The kinds of data beside a frame's values, by FFmpeg's names."""
    found: Any = frame.side_data
    return {each.type.name for each in found}


Packets = list[tuple[Fraction, Fraction, bytes]]
"""Seconds, length in seconds, and bytes of each packet."""


def packets(path: Path, kind: str) -> list[Packets]:
    """The packets of each stream of a kind: "audio", "subtitle" or "data"."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        found: dict[int, Packets] = {stream.index: [] for stream in streams}
        for packet in container.demux(streams) if streams else ():
            if packet.pts is not None:
                base, length = packet.time_base, packet.duration or 0
                one = (packet.pts * base, length * base, bytes(packet))
                found[packet.stream_index].append(one)
    return list(found.values())
