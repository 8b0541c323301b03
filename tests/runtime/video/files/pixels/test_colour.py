"""Changes of shown pixels as changes of the planes, and HDR's tones there and back."""

import numpy as np
import pytest

from runtime.errors import VideoError
from runtime.video.files.pixels.colour import Coding, Colours, coding_of

BT709 = Colours(1, 1, 1, 1)
PQ, HLG = Colours(1, 9, 16, 9), Colours(1, 9, 18, 9)
GREYS = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
RNG = np.random.default_rng(0)


def coding(colours: Colours, depth: int = 8, full: bool = False) -> Coding:
    return coding_of(colours, False, full, depth, 1080)


@pytest.mark.parametrize(
    ("depth", "full", "white"),
    [(8, False, 219), (8, True, 255), (10, False, 876), (12, True, 4095)],
)
def test_black_to_white_is_the_whole_range_of_luma(depth: int, full: bool, white: int) -> None:
    black, light = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    change = coding(BT709, depth, full).change(black, light)
    np.testing.assert_allclose(change[0, 0], [white, 0, 0], atol=1e-3)


def test_colours_change_as_bt709_says() -> None:
    black = np.zeros((1, 3, 3), np.uint8)
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    expected = [[46.56, -25.66, 112], [156.63, -86.34, -101.73], [15.81, 112, -10.27]]
    np.testing.assert_allclose(coding(BT709).change(black, colours)[0], expected, atol=0.01)


def test_planes_of_green_blue_and_red() -> None:
    plain = coding_of(Colours(2, 1, 13, 0), True, False, 8, 1080)
    change = plain.change(np.zeros((1, 1, 3), np.uint8), np.array([[[10, 20, 30]]], np.uint8))
    np.testing.assert_allclose(change[0, 0], [20, 30, 10], atol=1e-4)


@pytest.mark.parametrize("colours", [BT709, PQ, HLG])
def test_what_is_equal_does_not_change(colours: Colours) -> None:
    image = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    other = image.copy()
    other[5:9, 7:12] = RNG.integers(0, 256, (4, 5, 3))
    change = coding(colours, 10).change(image, other)
    change[5:9, 7:12] = 0
    assert not change.any()


def pq(light: float) -> float:
    """The signal of so many cd/m2, of 16 bits, by the formula of SMPTE ST 2084."""
    power = (light / 10_000) ** 0.1593017578125
    signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return float(65535 * signal)


def test_tones_of_pq() -> None:
    """203 cd/m2 are almost white; what is darker keeps its light, as sRGB has it."""
    signal = np.array([[[pq(light)] * 3 for light in (0, 2.03, 20.3, 101.5, 203, 1000, 10_000)]])
    tones = coding(PQ, 10).shown(signal.astype(np.uint16))[0, :, 1]
    np.testing.assert_allclose(tones, [0, 25, 89, 188, 238, 253, 255], atol=1.5)


def test_tones_of_hlg() -> None:
    """75 % is 203 cd/m2, by ITU-R BT.2408."""
    signal = np.full((1, 1, 3), round(0.75 * 65535), np.uint16)
    white = np.full((1, 1, 3), pq(203), np.uint16)
    shown, same = coding(HLG, 10).shown(signal), coding(PQ, 10).shown(white)
    np.testing.assert_allclose(shown[0, 0].astype(int), same[0, 0], atol=1)


@pytest.mark.parametrize("colours", [PQ, HLG])
def test_a_change_of_hdr_is_what_it_is_as_a_signal(colours: Colours) -> None:
    """From one shown grey to another, the luma moves as the signals that are shown so."""
    made = coding(colours, 10)
    steps = np.arange(0, 65536, 16).astype(np.uint16)
    tones = made.shown(steps[None, :, None].repeat(3, axis=2))[0, :, 1].astype(int)
    assert (np.diff(tones) >= 0).all()
    dark, light = 60, 180
    signals = [np.median(steps[tones == tone]) / 65535 for tone in (dark, light)]
    change = made.change(np.full((1, 1, 3), dark, np.uint8), np.full((1, 1, 3), light, np.uint8))
    assert change[0, 0, 0] == pytest.approx(876 * (signals[1] - signals[0]), abs=3)
    np.testing.assert_allclose(change[0, 0, 1:], 0, atol=0.5)


@pytest.mark.parametrize("colours", [PQ, HLG])
def test_a_highlight_of_hdr_is_raised_within_bounds(colours: Colours) -> None:
    """The tone 255 stands for up to 10,000 cd/m2, and 250 for 482."""
    made = coding(colours, 10)
    white = np.full((1, 1, 3), 237, np.uint8)
    most, bound = made.change(white, white + 18), made.change(white, white + 13)
    np.testing.assert_array_equal(most, bound)
    bright = np.full((1, 1, 3), 252, np.uint8)
    assert not made.change(bright, bright + 3).any()
    assert made.change(bright, white)[0, 0, 0] < -bound[0, 0, 0]
    if colours is PQ:
        expected = 876 / 65535 * (pq(482) - pq(200))
        assert most[0, 0, 0] == pytest.approx(expected, abs=2)


def test_bt2020_is_shown_as_bt709() -> None:
    """A red of BT.709 inside BT.2020 is a pure one again."""
    light = np.array([0.6274, 0.0691, 0.0164]) * 50
    signal = np.array([[[pq(each) for each in light]]]).astype(np.uint16)
    red, green, blue = coding(PQ, 10).shown(signal)[0, 0]
    assert red > 130
    assert max(green, blue) <= 8


def test_untagged_clips_are_taken_as_players_take_them() -> None:
    unsaid = Colours(0, 2, 2, 2)
    assert coding_of(unsaid, False, False, 8, 480).matrix == 6
    assert coding_of(unsaid, False, False, 8, 720).matrix == 1
    assert coding_of(Colours(0, 9, 16, 2), False, False, 10, 2160).matrix == 9


def test_an_unknown_matrix_is_refused() -> None:
    with pytest.raises(VideoError, match=r"colour matrix 14 of ITU-T H\.273 is not supported"):
        coding_of(Colours(1, 9, 16, 14), False, False, 10, 2160)
