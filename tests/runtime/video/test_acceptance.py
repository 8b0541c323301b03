"""Whole clips, of which the truth is known: what is kept of them, and who is followed."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import AttachmentStream
from numpy.typing import NDArray

from benchmarks.measure.clips import NOTE, Clip
from benchmarks.measure.scenes import ASTRONAUT, HOPPER
from benchmarks.measure.steadiness import jitter
from benchmarks.studies.video.flicker import followed
from runtime import Restorer, SpecificDictionary, VideoReport, restore_video
from runtime.faces.compositing import extract, reach
from tests.clips import decoded, packets, side_data
from tests.runtime.video.conftest import Clips

KINDS = ("constant", "variable", "rotated", "deep", "hdr", "tracks", "movie")
FACE = (slice(150, 400), slice(150, 360))  # of an aligned crop: what nothing else can cover
CLEAR = 160  # pixels between people of whom no crop covers another's face
FRAME = 0.04  # seconds


Result = tuple[Path, VideoReport]


def restored(restorer: Restorer, clip: Clip, folder: Path, **options: Any) -> Result:
    """Restore a clip into an empty folder, in which nothing else is left."""
    target = folder / clip.path.name
    report = restore_video(restorer, str(clip.path), str(target), **options)
    assert report.frames == len(clip.times)
    assert [path.name for path in folder.iterdir()] == [target.name]
    return target, report


@pytest.fixture(scope="module")
def negatives(
    clip: Clips, negative: Restorer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Result]:
    """The results of clips with the negatives of all faces, each made once."""

    @cache
    def of(kind: str) -> Result:
        return restored(negative, clip(kind), tmp_path_factory.mktemp(kind))

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_keeps_its_time(
    clip: Clips, negatives: Callable[[str], Result], kind: str
) -> None:
    one, (target, report) = clip(kind), negatives(kind)
    before, after = decoded(one.path), decoded(target)
    assert tuple(each.time for each in before) == one.times
    assert [each.time for each in after] == [each.time for each in before]
    assert [each.rotation for each in after] == [each.rotation for each in before]
    assert report.tracks[0].frames == len(after)
    # the face in the middle is the negative of its own, more than of those a few frames away
    middle = len(after) // 2
    (truth,) = one.present(middle)
    alike = {
        away: correlation(before[middle + away].rgb, after[middle].rgb, truth.transform)
        for away in (-3, 0, 3)
    }
    assert alike[0] < -0.8
    assert alike[0] < min(alike[-3], alike[3])


@pytest.mark.parametrize("kind", ["deep", "hdr", "rotated", "constant"])
def test_the_kind_of_picture_is_kept(
    clip: Clips, negatives: Callable[[str], Result], kind: str
) -> None:
    source = kind_of(clip(kind).path)
    assert kind_of(negatives(kind)[0]) == source
    if kind == "hdr":
        assert source["pixels"] == "yuv420p10le"
        assert source["tags"] == (1, 9, 16, 9)
        assert source["light"] == {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"}


@pytest.mark.parametrize("kind", ["constant", "tracks", "movie"])
def test_all_other_tracks_are_copied(
    clip: Clips, negatives: Callable[[str], Result], kind: str
) -> None:
    one, (target, _) = clip(kind), negatives(kind)
    for what, count in (("audio", one.recipe.sounds), ("subtitle", int(one.recipe.extras))):
        before, after = packets(one.path, what), packets(target, what)
        assert len(before) == count
        assert all(len(each) > 1 for each in before)
        assert after == before
    source, result = (about(path) for path in (one.path, target))
    assert result == source
    assert len(source["chapters"]) == 2 * one.recipe.extras
    assert source["attachments"] == [NOTE] * (kind == "tracks")
    lengths = [length(path) for path in (one.path, target)]
    assert abs(lengths[1] - lengths[0]) < FRAME


def test_pixels_away_from_faces_are_not_touched(
    clip: Clips, negative: Restorer, tmp_path: Path
) -> None:
    """As an encoder that loses nothing shows."""
    one = clip("constant")
    target, _ = restored(negative, one, tmp_path, crf=0)
    height = one.recipe.scene.size[1]
    for index, (before, after) in enumerate(zip(decoded(one.path), decoded(target), strict=True)):
        (truth,) = one.present(index)
        left, top, right, bottom = reach(truth.transform, before.rgb.shape)
        changed = before.values[:height] != after.values[:height]
        assert changed[top:bottom, left:right].mean() > 0.2
        # landmarks are found some pixels beside their true places
        around = slice(max(0, top - 24), bottom + 24), slice(max(0, left - 24), right + 24)
        changed[around] = False
        assert not changed.any()


def test_one_person_is_one_track(clip: Clips, echo: Restorer, tmp_path: Path) -> None:
    one = clip("constant")
    _, report = restored(echo, one, tmp_path)
    (track,) = report.tracks
    assert (track.number, track.frames) == (0, len(one.times))
    assert track.begin == 0
    assert track.end == pytest.approx(float(one.times[-1]))


def test_a_cut_ends_all_tracks(
    clip: Clips, echo: Restorer, both: list[SpecificDictionary], tmp_path: Path
) -> None:
    _, report = restored(echo, clip("cut"), tmp_path, people=both)
    first, second = report.tracks
    assert (first.name, second.name) == (ASTRONAUT, HOPPER)
    assert [first.begin, first.end] == pytest.approx([0, 1 - FRAME])
    assert [second.begin, second.end] == pytest.approx([1, 2 - FRAME])
    assert first.frames == second.frames == 25


def test_who_comes_back_is_the_same_person(
    clip: Clips, echo: Restorer, both: list[SpecificDictionary], tmp_path: Path
) -> None:
    one = clip("returns")
    _, report = restored(echo, one, tmp_path, people=both)
    assert {track.name for track in report.tracks} == {HOPPER}
    there = [index for index in range(len(one.times)) if one.present(index)]
    away = [float(one.times[n]) for n in range(len(one.times)) if n not in there]
    assert len(away) > 15
    middle = (away[0] + away[-1]) / 2
    # a track that bridged the absence would have faces where nobody is
    assert sum(track.begin < middle < track.end for track in report.tracks) == 0
    assert report.tracks[0].begin == 0
    assert report.tracks[-1].end == pytest.approx(float(one.times[-1]))
    assert sum(track.frames for track in report.tracks) >= 0.8 * len(there)


def test_people_who_cross_are_not_swapped(clip: Clips, negative: Restorer, tmp_path: Path) -> None:
    """One track at a time is shown as a negative, before the two cross and afterwards."""
    one = clip("crossing")
    began = set()
    for number in (0, 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        target, _ = restored(negative, one, folder, only=number)
        shown: dict[str, list[bool]] = {ASTRONAUT: [], HOPPER: []}
        for index, pair in enumerate(zip(decoded(one.path), decoded(target), strict=True)):
            people = one.present(index)
            if len(people) == 2 and abs(people[0].box[0] - people[1].box[0]) > CLEAR:
                for truth in people:
                    alike = correlation(pair[0].rgb, pair[1].rgb, truth.transform)
                    assert abs(alike) > 0.7, (number, index, truth.person)
                    shown[truth.person].append(alike < 0)
        assert len(shown[ASTRONAUT]) > 20
        if shown[ASTRONAUT][0]:
            assert set(shown[ASTRONAUT]) == {True}  # who is in front, and never lost
            assert set(shown[HOPPER]) == {False}
            began.add(ASTRONAUT)
        else:
            assert shown[HOPPER][0]
            assert shown[HOPPER][-1]  # who was behind comes out with the number she had
            assert set(shown[ASTRONAUT]) == {False}
            began.add(HOPPER)
    assert began == {ASTRONAUT, HOPPER}


def test_each_of_those_who_cross_is_named(
    clip: Clips, echo: Restorer, both: list[SpecificDictionary], tmp_path: Path
) -> None:
    one = clip("crossing")
    _, report = restored(echo, one, tmp_path, people=both)
    frames = {ASTRONAUT: 0, HOPPER: 0}
    for track in report.tracks:
        assert track.name is not None
        frames[track.name] += track.frames
    assert frames[ASTRONAUT] >= 0.95 * len(one.times)  # who is in front, and never hidden
    assert frames[HOPPER] > 0.6 * len(one.times)


@pytest.mark.parametrize("kind", ["constant", "variable", "worn"])
def test_landmarks_jitter_half_as_much(clip: Clips, echo: Restorer, kind: str) -> None:
    """Against those that are found in each frame by itself; and they do not lag behind."""
    one = clip(kind)
    raw, smooth = [], []
    for each in followed(echo, one.path, steady=True):
        (truth,) = one.present(each.frame.index)
        (face,) = each.faces
        found = echo.detect(each.frame.rgb(), "rgb")
        assert len(found) == 1
        raw.append(found[0].landmarks - truth.landmarks)
        smooth.append(face.face.landmarks - truth.landmarks)
    assert len(raw) == len(one.times)
    times = [float(time) for time in one.times]
    assert jitter(smooth, times) <= 0.5 * jitter(raw, times)
    assert distance(smooth) <= distance(raw) + 0.3


def kind_of(path: Path) -> dict[str, object]:
    """How the pictures of a clip are stored."""
    with av.open(str(path)) as container:
        video = container.streams.video[0].codec_context
        frame = next(container.decode(video=0))
        tags = (video.color_range, video.color_primaries, video.color_trc, video.colorspace)
        return {
            "codec": (video.name, video.codec_tag),
            "size": (video.width, video.height),
            "pixels": video.pix_fmt,
            "tags": tuple(map(int, tags)),
            "light": side_data(frame) & {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"},
        }


def about(path: Path) -> dict[str, list[Any]]:
    """The streams, chapters and attachments of a clip, and its title."""
    with av.open(str(path)) as container:
        return {
            "streams": [(each.type, each.language, each.disposition) for each in container.streams],
            "chapters": [
                (each["start"] * base, each["end"] * base, each["metadata"])
                for each in container.chapters()
                if (base := each["time_base"]) is not None
            ],
            "attachments": [
                each.data for each in container.streams if isinstance(each, AttachmentStream)
            ],
            "title": [container.metadata["title"]],
        }


def length(path: Path) -> float:
    """Seconds of a clip."""
    with av.open(str(path)) as container:
        assert container.duration is not None
        return container.duration / av.time_base


def correlation(
    before: NDArray[np.uint8], after: NDArray[np.uint8], matrix: NDArray[np.float64]
) -> float:
    """How alike a face is in two pictures: 1 if it is the same, -1 for its negative."""
    one, other = (extract(rgb, matrix)[FACE].astype(float).ravel() for rgb in (before, after))
    return float(np.corrcoef(one, other)[0, 1])


def distance(residuals: list[NDArray[np.float64]]) -> float:
    """Of landmarks to their true places, on average, in pixels."""
    return float(np.linalg.norm(np.stack(residuals), axis=2).mean())
