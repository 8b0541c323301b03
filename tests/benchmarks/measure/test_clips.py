"""Generated clips: that they have what their recipes say."""

from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import AttachmentStream

from benchmarks.measure.clips import (
    CUES,
    LUMA_709,
    NOTE,
    RECIPES,
    Clip,
    perceptual,
    planes,
)
from benchmarks.measure.scenes import picture
from runtime.faces.finder import FaceFinder
from tests.clips import decoded, packets, side_data, written
from tests.conftest import Once

Clips = Callable[[str], Clip]


@pytest.fixture
def clip(once: Once) -> Clips:
    return lambda name: written(once, name)


@pytest.mark.parametrize("name", ["constant", "variable", "rotated", "tracks"])
def test_frames_are_the_pictures_at_their_times(clip: Clips, name: str) -> None:
    one = clip(name)
    found = decoded(one.path)
    assert tuple(each.time for each in found) == one.times
    for index in (0, len(found) // 2, len(found) - 1):
        drawn = picture(one.recipe.scene, float(one.times[index]), index)
        assert found[index].rgb.shape == drawn.shape
        assert np.abs(found[index].rgb.astype(int) - drawn).mean() < 4


def test_times_of_a_variable_rate(clip: Clips) -> None:
    one = clip("variable")
    gaps = np.diff([float(time) for time in one.times])
    assert set(np.rint(1000 * gaps).astype(int)) == {17, 33, 40, 50, 100}
    assert one.times[0] == 0
    constant = clip("constant").times
    assert constant == tuple(Fraction(n, 25) for n in range(40))


def test_the_finder_finds_the_truth(clip: Clips) -> None:
    """In the rotated clip, too: so it is upright where players turn it as it asks."""
    finder = FaceFinder(1)
    for name, count in (("constant", 1), ("rotated", 1), ("crossing", 2)):
        one = clip(name)
        (first, *_), people = decoded(one.path), one.present(0)
        found = finder.find(first.rgb)
        assert len(found) == len(people) == count
        for truth in people:
            away = min(np.linalg.norm(f.landmarks - truth.landmarks, axis=1).mean() for f in found)
            assert away < 0.04 * np.ptp(truth.landmarks, axis=0).max()


def test_stored_turned(clip: Clips) -> None:
    with av.open(str(clip("rotated").path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (480, 272, -90)


@pytest.mark.parametrize(
    ("name", "tags", "pixels"),
    [
        ("constant", (1, 1, 1, 1), "yuv420p"),
        ("deep", (1, 1, 1, 1), "yuv420p10le"),
        ("hdr", (1, 9, 16, 9), "yuv420p10le"),
    ],
)
def test_colour(clip: Clips, name: str, tags: tuple[int, ...], pixels: str) -> None:
    """Range, primaries, transfer and matrix; and ten bits that are more than eight."""
    with av.open(str(clip(name).path)) as container:
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == pixels
        found = (context.color_range, context.color_primaries)
        assert tuple(map(int, (*found, context.color_trc, context.colorspace))) == tags
        frame = next(container.decode(video=0))
        assert ("MASTERING_DISPLAY_METADATA" in side_data(frame)) == (name == "hdr")
        if name != "constant":
            low = np.bincount(frame.to_ndarray().ravel() % 4, minlength=4)
            assert low.min() > 0.1 * low.sum()


def test_values() -> None:
    """White and red of BT.709 in 8 and 10 bits, and white of HDR: 58 % of PQ (BT.2408)."""
    white, red = np.ones((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.float32)
    red[..., 0] = 1
    assert planes(white, LUMA_709, 8).ravel().tolist() == [235] * 4 + [128, 128]
    assert planes(white, LUMA_709, 10).ravel().tolist() == [940] * 4 + [512, 512]
    assert planes(red, LUMA_709, 8).ravel().tolist() == [63] * 4 + [102, 240]
    assert perceptual(white) == pytest.approx(np.full((2, 2, 3), 0.5807), abs=0.001)


@pytest.mark.parametrize("name", ["tracks", "movie"])
def test_all_kinds_of_tracks(clip: Clips, name: str) -> None:
    one = clip(name)
    sounds = packets(one.path, "audio")
    assert len(sounds) == 2
    assert sounds[0] != sounds[1]
    for sound in sounds:
        assert float(sound[-1][0] + sound[-1][1]) == pytest.approx(1.6, abs=0.05)
    (cues,) = packets(one.path, "subtitle")
    said = [(time, length, words) for time, length, words in cues if len(words) > 2]
    assert [(int(1000 * time), int(1000 * length)) for time, length, _ in said] == [
        (begin, length) for begin, length, _ in CUES
    ]
    assert all(cue[2].encode() in words for cue, (_, _, words) in zip(CUES, said, strict=True))
    with av.open(str(one.path)) as container:
        assert [each["metadata"]["title"] for each in container.chapters()] == ["First", "Second"]
        assert container.metadata["title"]
        notes = [each.data for each in container.streams if isinstance(each, AttachmentStream)]
        assert notes == ([NOTE] if name == "tracks" else [])


def test_recipes_cover_what_may_go_wrong() -> None:
    assert {recipe.suffix for recipe in RECIPES.values()} == {".mp4", ".mkv"}
    for name in ("variable", "deep", "hdr", "rotation", "extras"):
        assert any(getattr(recipe, name) for recipe in RECIPES.values())
