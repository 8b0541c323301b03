"""Pixel formats: what is nearest, and that twins hold the same values."""

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from runtime.video.files.pixels.formats import TWINS, depth_of, nearest
from tests.runtime.video.files.clips import values

PAIRS = [
    (own, twin, full)
    for own, twins in TWINS.items()
    for twin in twins
    for full in ([True] if "j" in own else [False, True])
    if own != "gbrp"
]


def test_depth_is_that_of_a_value() -> None:
    names = ("yuv420p", "yuva444p12le", "gbrp10le", "gray", "p010le", "p210le", "nv12", "bgr0")
    assert [depth_of(name) for name in names] == [8, 12, 10, 8, 10, 10, 8, 8]


def test_a_format_is_followed_by_its_twins() -> None:
    found = list(nearest("yuv420p10le"))
    assert found[:2] == ["yuv420p10le", "p010le"]
    depths = [depth_of(name) for name in found[:-4]]  # behind them is what ProRes needs
    assert depths == sorted(depths, reverse=True)
    assert list(nearest("gbrp"))[:3] == ["gbrp", "rgb24", "bgr0"]


@pytest.mark.parametrize(("own", "twin", "full"), PAIRS)
def test_twins_have_the_same_values(own: str, twin: str, full: bool) -> None:
    frame, side = av.VideoFrame(642, 482, own), 2 if full else 1
    depth = depth_of(own)
    for plane in frame.planes:
        dtype = np.uint8 if depth == 8 else np.uint16
        shape = (plane.height, plane.line_size // dtype().itemsize)
        plane.update(np.random.default_rng(0).integers(0, 1 << depth, shape, dtype).tobytes())
    made = VideoReformatter().reformat(
        frame, format=twin, src_color_range=side, dst_color_range=side, threads=1
    )
    back = VideoReformatter().reformat(
        made, format=own, src_color_range=side, dst_color_range=side, threads=1
    )
    assert made.format.name == twin
    for before, after in zip(values(frame), values(back), strict=True):
        assert (before == after).all()
