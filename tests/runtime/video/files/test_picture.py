"""A frame as the network sees it, and changes that leave all else what it was."""

from fractions import Fraction

import av
import numpy as np
import pytest

from runtime.errors import VideoError
from runtime.images.arrays import Image
from runtime.video.files.picture import Layout, VideoPicture, working_format
from runtime.video.files.pixels.colour import Colours
from tests.runtime.video.files.clips import HEIGHT, WIDTH, ramp, shown, values

BT709, BT601 = Colours(1, 1, 1, 1), Colours(1, 6, 6, 6)
HDR = Colours(1, 9, 16, 9)
FORMATS = (
    "yuv420p",
    "yuv422p",
    "yuv444p",
    "yuvj420p",
    "gbrp",
    "gray",
    "yuv420p10le",
    "yuv444p12le",
)


def picture(name: str, colours: Colours = BT709) -> VideoPicture:
    frame = av.VideoFrame.from_ndarray(ramp(3), "rgb24").reformat(
        format=name, dst_colorspace="itu709" if colours is BT709 else "itu601"
    )
    layout = Layout(frame, colours)
    return VideoPicture(3, 40, Fraction(1, 25), Fraction(0), 1, layout.unpacked(frame), layout)


def brighter(part: Image, by: int) -> Image:
    return np.asarray(np.clip(part.astype(int) + by, 0, 255), np.uint8)


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_shown_as_rgb(name: str) -> None:
    found = shown(picture(name))
    expected = ramp(3).astype(float)
    if name == "gray":
        # FFmpeg makes it so, whatever the matrix
        expected = (expected @ [0.299, 0.587, 0.114])[:, :, None].repeat(3, axis=2)
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found - expected).mean() < 2.5


def test_the_matrix_counts() -> None:
    """A clip of BT.601 is not shown as one of BT.709, which would make skin greenish."""
    assert np.abs(shown(picture("yuv444p", BT601)) - ramp(3).astype(float)).mean() < 2.5


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("corner", [(16, 8), (17, 9)])
def test_only_what_differs_changes(name: str, corner: tuple[int, int]) -> None:
    made = picture(name)
    x, y = corner
    before = shown(made)[y : y + 21, x : x + 31]
    after = before.copy()
    after[5:15, 7:20] = brighter(before[5:15, 7:20], 20)
    old = values(made.frame)
    made.change(before, after, corner)
    for place, (plane, earlier) in enumerate(zip(values(made.frame), old, strict=True)):
        across, down = WIDTH // plane.shape[1], HEIGHT // plane.shape[0]
        touched = np.zeros(plane.shape, bool)
        rows = slice((y + 5) // down, -(-(y + 15) // down))
        touched[rows, (x + 7) // across : -(-(x + 20) // across)] = True
        assert (plane[~touched] == earlier[~touched]).all()
        if place == 0:
            assert (plane[touched] > earlier[touched]).all()
    assert (made.layout.shown(made.frame)[y + 6 : y + 14, x + 8 : x + 19].mean()) == pytest.approx(
        after[6:14, 8:19].mean(), abs=2
    )


def test_a_change_keeps_what_8_bits_do_not_show() -> None:
    """Of 10 bits, the two that the network does not see stay below the change."""
    made = picture("yuv444p10le")
    old = values(made.frame)[0].astype(int)
    before = shown(made)
    made.change(before, brighter(before, 40), (0, 0))
    change = values(made.frame)[0] - old
    assert set(np.unique(change)) <= {137, 138}  # 40 of 255 of 876 steps


def test_a_colour_change_moves_chroma_by_its_mean() -> None:
    made = picture("yuv420p")
    old = [plane.astype(int) for plane in values(made.frame)]
    before = shown(made)[20:22, 30:32]
    after = before.copy()
    after[0, 0, 2] += 80  # one of the four pixels that share a value of chroma
    made.change(before, after, (30, 20))
    luma, blue, red = (new - was for new, was in zip(values(made.frame), old, strict=True))
    assert luma[20, 30] == round(80 * 0.0722 * 219 / 255)
    assert blue[10, 15] == round(80 * 0.5 * 224 / 255 / 4)
    assert abs(red[10, 15]) <= 1
    assert np.count_nonzero(luma) == np.count_nonzero(blue) == 1


def test_pictures_of_odd_size_change_up_to_their_edges() -> None:
    frame = av.VideoFrame.from_ndarray(ramp(0)[:63, :95].copy(), "rgb24").reformat(format="yuv420p")
    made = VideoPicture(0, 0, Fraction(1), Fraction(0), 1, frame, Layout(frame, BT709))
    old = values(frame)
    before = shown(made)
    made.change(before, brighter(before, 20), (0, 0))
    assert before.shape == (63, 95, 3)
    assert (values(made.frame)[0] - old[0].astype(int) == round(20 * 219 / 255)).all()


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv411p"])
@pytest.mark.parametrize("corner", [(0, 0), (32, 20)])
def test_chroma_of_odd_size_changes_up_to_its_edges(name: str, corner: tuple[int, int]) -> None:
    """There, a value stands for fewer pixels, and changes by the mean of those."""
    frame = av.VideoFrame.from_ndarray(ramp(0)[:63, :95].copy(), "rgb24").reformat(format=name)
    made = VideoPicture(0, 0, Fraction(1), Fraction(0), 1, frame, Layout(frame, BT709))
    old = values(frame)[1].astype(int)
    x, y = corner
    before = shown(made)[y:, x:]
    after = before.copy()
    after[:, :, 2] += 60
    made.change(before, after, corner)
    change = values(made.frame)[1] - old
    across, down = -(-95 // old.shape[1]), -(-63 // old.shape[0])
    inside = change[y // down :, x // across :]
    assert (inside == round(60 * 0.5 * 224 / 255)).all()
    assert np.count_nonzero(change) == inside.size


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuv440p"])
@pytest.mark.parametrize("colours", [HDR, Colours(1, 9, 18, 9)])
def test_hdr_of_odd_width_has_its_colours(name: str, colours: Colours) -> None:
    """FFmpeg's scaler makes it magenta by some of its ways."""
    found = []
    for width in (WIDTH, 93):
        frame = av.VideoFrame.from_ndarray(ramp(0)[:, :width].copy(), "rgb24")
        frame = frame.reformat(
            format=name, src_color_range=2, dst_color_range=1, dst_colorspace="bt2020", threads=1
        )
        found.append(Layout(frame, colours).shown(frame).astype(float))
    whole, part = found
    assert np.abs(part - whole[:, :93]).mean() < 2


def test_hdr_is_shown_and_changed_in_its_own_tones() -> None:
    made = picture("yuv420p10le", HDR)
    old = values(made.frame)[0].astype(int)
    before = shown(made)[8:40, 8:40]
    made.change(before, brighter(before, 10), (8, 8))
    change = values(made.frame)[0] - old
    assert (change[:8] == 0).all()
    assert (change[9:39, 9:39] > 0).all()
    found = shown(made)[10:38, 10:38].astype(int)
    np.testing.assert_allclose(found.mean(), brighter(before, 10)[2:30, 2:30].mean(), atol=2)


def test_a_raised_highlight_of_hdr_keeps_its_hue() -> None:
    """The brightest tones are so much light that they would turn a pink white."""
    frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
    frame = frame.reformat(format="yuv444p10le", dst_colorspace="bt2020", dst_color_range=1)
    made = VideoPicture(0, 0, Fraction(1), Fraction(0), 1, frame, Layout(frame, HDR))
    skin = np.full((16, 16, 3), (239, 131, 158), np.uint8)
    made.change(shown(made), skin, (0, 0))
    np.testing.assert_allclose(shown(made)[8, 8].astype(int), skin[8, 8], atol=3)
    made.change(skin, brighter(skin, 16), (0, 0))
    np.testing.assert_allclose(shown(made)[8, 8].astype(int), (250, 147, 174), atol=3)


def test_packed_formats_are_unpacked() -> None:
    assert working_format("nv12") == "yuv420p"
    made = picture("nv12")
    assert made.frame.format.name == "yuv420p"
    assert np.abs(shown(made) - ramp(3).astype(float)).mean() < 1.5


@pytest.mark.parametrize("name", ["pal8", "rgb565le", "yuv420p10be", "gbrpf32le", "bayer_rggb8"])
def test_odd_formats_are_refused(name: str) -> None:
    with pytest.raises(VideoError, match=f"format {name} are not supported; convert the clip"):
        working_format(name)
