"""Where faces are in each frame: followed, bridged, faded and without jitter."""

import math
from dataclasses import replace

import numpy as np
import pytest

from runtime.video.tracks.seen import REACH, Seen, Tracked
from runtime.video.tracks.tracks import Tracks
from tests.runtime.video.tracks.making import (
    Actor,
    Clip,
    Path,
    Points,
    errors,
    landmarks,
    matrix,
    steadily,
    still,
)


def numbers(results: list[Tracked]) -> list[list[int]]:
    return [[face.track for face in result.faces] for result in results]


def opacities(results: list[Tracked], track: int = 0) -> list[float]:
    return [sum(face.opacity for face in result.faces if face.track == track) for result in results]


def swaying(time: float) -> tuple[float, float]:
    return 640 + 128 * math.sin(math.pi * time), 300 + 40 * math.sin(1.6 * math.pi * time + 1)


def to_the_right(time: float) -> tuple[float, float]:
    return 200 + 250 * time, 300


def faster_and_faster(time: float) -> tuple[float, float]:
    return 200 + 120 * time * time, 300 + 40 * time


def test_each_frame_comes_back_once_in_order() -> None:
    clip = Clip((Actor(still()),), steadily(40))
    tracks, counts, found = Tracks(), [], []
    for index, time in enumerate(clip.times):
        faces = clip.faces(index) if clip.asks(tracks, index) else None
        results = tracks.push(Seen(index, time, faces, clip.thumbnail(index)))
        counts.append(len(results))
        found += results
    assert counts == [0] * REACH + [1] * (40 - REACH)
    found += tracks.finish()
    assert [result.index for result in found] == list(range(40))
    assert tracks.finish() == []


def test_a_face_is_where_it_is() -> None:
    clip = Clip((Actor(to_the_right),), steadily(50))
    results = clip.play(Tracks())
    assert numbers(results) == [[0]] * 50
    assert opacities(results) == [1] * 50
    for result in results:
        place = *to_the_right(clip.times[result.index]), 150.0
        face = result.faces[0].face
        assert face.landmarks == pytest.approx(landmarks(*place), abs=0.01)
        assert face.transform == pytest.approx(matrix(*place), abs=0.05)
        x, y, size = place
        box = (x - size / 2, y - 0.6 * size, x + size / 2, y + 0.6 * size)
        assert face.box == pytest.approx(box, abs=0.01)
        assert face.score == 0.9
        assert (face.name, face.distance, face.guess) == (None, None, None)


@pytest.mark.parametrize("path", [still(), swaying, to_the_right, faster_and_faster])
def test_jitter_is_at_most_half(path: Path) -> None:
    """Of landmarks with 1 px of noise, from frame to frame, and of the transform's places."""
    clip = Clip((Actor(path),), steadily(75), noise=1.0)
    steady = errors(clip.play(Tracks()), clip.actors[0], clip)
    raw = errors(clip.play(Tracks(steady=False)), clip.actors[0], clip)

    def jitter(found: Points) -> float:
        return float(np.sqrt((np.diff(found, axis=0) ** 2).mean()))

    assert jitter(raw) == pytest.approx(math.sqrt(2), abs=0.05)
    assert jitter(steady) < 0.4 * jitter(raw)
    inner = slice(REACH, -REACH)
    assert np.sqrt((steady[inner] ** 2).mean()) < 1.05


@pytest.mark.parametrize("path", [to_the_right, faster_and_faster])
def test_no_lag_and_no_overshoot(path: Path) -> None:
    """The mean of the landmarks, whose noise is small, against the true place, at both ends too."""
    clip = Clip((Actor(path),), steadily(75), noise=1.0)
    off = errors(clip.play(Tracks()), clip.actors[0], clip).mean(axis=1)
    assert np.abs(off.mean(axis=0)).max() < 0.1
    assert np.abs(off).max() < 0.8


def test_a_face_that_starts_and_stops() -> None:
    """At 250 px a second: the way is rounded off by no more than a frame's step, and not far."""

    def path(time: float) -> tuple[float, float]:
        return 200 + 250 * min(1.0, max(0.0, time - 1)), 300

    clip = Clip((Actor(path),), steadily(75))
    off = errors(clip.play(Tracks()), clip.actors[0], clip).mean(axis=1)[:, 0]
    assert np.abs(off).max() < 10
    assert np.abs(off[:10]).max() < 0.01
    assert np.abs(off[-10:]).max() < 0.01


@pytest.mark.parametrize("start", [0.96, 0.98, 1.0, 1.02, 1.04, 1.06])
@pytest.mark.parametrize("speed", [400, 900])
def test_a_sudden_start_and_stop_are_looked_at(speed: float, start: float) -> None:
    """From rest to a quarter of its size a frame, and back: it stays one track, and in its place.

    It may start and stop at a look, or anywhere between two of them.
    """

    def path(time: float) -> tuple[float, float]:
        return 200 + speed * min(0.8, max(0.0, time - start)), 300

    clip = Clip((Actor(path),), steadily(75), noise=0.5)
    results = clip.play(Tracks())
    assert numbers(results) == [[0]] * 75
    assert opacities(results) == [1] * 75
    off = errors(results, clip.actors[0], clip).mean(axis=1)
    assert np.abs(off).max() < 0.03 * 150


def test_looks_after_all_only_where_motion_changes() -> None:
    def looks(path: Path) -> list[int]:
        clip, tracks = Clip((Actor(path),), steadily(75), noise=0.5), Tracks()
        found, asked = [], [clip.asks(tracks, index) for index in range(75)]
        for index in range(75):
            after = next(each for each in range(index, 75) if asked[each])
            look = Seen(after, clip.times[after], clip.faces(after), clip.thumbnail(after))
            if asked[index] or tracks.wants_look_after_all(look):
                found.append(index)
            clip.push(tracks, index, clip.faces(index) if index in found else None)
        return found

    def starting(time: float) -> tuple[float, float]:
        return 200 + 900 * max(0.0, time - 1.22), 300

    third = [*range(0, 75, 3), 74]
    assert looks(still()) == third
    assert len(looks(swaying)) < 1.4 * len(third)
    assert looks(faster_and_faster) == third
    assert {31, 32} <= set(looks(starting)) - set(third) <= {31, 32, 34, 35}


def test_variable_frame_rate() -> None:
    """Frames from 15 to 120 a second: the times count, and not the numbers of the frames."""
    steps = np.random.default_rng(8).uniform(1 / 120, 1 / 15, 80)
    clip = Clip((Actor(faster_and_faster),), tuple(np.cumsum(steps).tolist()))
    results = clip.play(Tracks())
    assert numbers(results) == [[0]] * 80
    assert np.abs(errors(results, clip.actors[0], clip)).max() < 0.05


@pytest.mark.parametrize("rate", [1, 5, 10, 60])
def test_other_frame_rates(rate: int) -> None:
    clip = Clip((Actor(lambda time: (300 + 60 * math.sin(time), 300)),), steadily(60, rate))
    results = clip.play(Tracks())
    assert numbers(results) == [[0]] * 60
    assert np.abs(errors(results, clip.actors[0], clip)).max() < 1.0


@pytest.mark.parametrize(("first", "last"), [(30, 32), (31, 35), (31, 38)])
def test_a_missed_face_is_bridged(first: int, last: int) -> None:
    unseen = range(first, last + 1)
    clip = Clip((Actor(to_the_right, unseen=unseen),), steadily(75))
    results = clip.play(Tracks())
    assert numbers(results) == [[0]] * 75
    assert opacities(results) == [1] * 75
    assert np.abs(errors(results, clip.actors[0], clip)).max() < 0.05


@pytest.mark.parametrize(("away", "track"), [(15, 0), (45, 0), (55, 1)])
def test_a_face_that_stays_away_fades(away: int, track: int) -> None:
    """After two seconds it is another track."""
    clip = Clip((Actor(still(), unseen=range(30, 30 + away)),), steadily(50 + away))
    results = clip.play(Tracks(), always=True)
    assert numbers(results) == [[0]] * 30 + [[]] * away + [[track]] * 20
    falling = [share / 6 for share in range(5, 0, -1)]
    assert opacities(results)[:30] == pytest.approx([1] * 25 + falling)
    assert opacities(results, track)[30 + away :] == pytest.approx(falling[::-1] + [1] * 15)


def test_a_face_that_is_seen_once_is_hardly_shown() -> None:
    clip = Clip((Actor(still(), unseen=[*range(30), *range(31, 60)]),), steadily(60))
    results = clip.play(Tracks(), always=True)
    assert [index for index, shown in enumerate(numbers(results)) if shown] == [30]
    assert opacities(results)[30] == pytest.approx(1 / 6)


def test_a_cut_ends_all_tracks() -> None:
    """The same faces at the same places are new, begin and end without a fade, and do not mix."""
    there = Actor(lambda time: (300.0 if time < 1 else 320.0, 300.0))
    clip = Clip((there, Actor(still(700))), steadily(50), cuts=[25])
    results = clip.play(Tracks())
    assert [result.index for result in results if result.cut] == [25]
    before, after = numbers(results)[:25], numbers(results)[25:]
    assert before == [[0, 1]] * 25
    assert after == [[2, 3]] * 25
    assert all(face.opacity == 1 for result in results for face in result.faces)
    for result in results:
        middles = sorted(face.face.box[0] + 75 for face in result.faces)
        assert middles == pytest.approx([300 if result.index < 25 else 320, 700], abs=1e-3)


def test_who_leaves_just_before_a_cut_fades() -> None:
    clip = Clip((Actor(still(), unseen=range(20, 25)),), steadily(50), cuts=[25])
    shown = opacities(clip.play(Tracks(), always=True))
    assert shown[:25] == pytest.approx([1] * 15 + [5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6] + [0] * 5)
    assert opacities(clip.play(Tracks(), always=True), 1)[25:] == [1] * 25


def crossing(seconds: float, way: float) -> tuple[Path, Path]:
    """Two people who walk past each other in the middle of so many seconds."""

    def first(time: float) -> tuple[float, float]:
        return 640 + way * (time / seconds - 0.5), 300

    def second(time: float) -> tuple[float, float]:
        return 640 - way * (time / seconds - 0.5), 310

    return first, second


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("speed", [200, 450, 800])
@pytest.mark.parametrize("size", [150.0, 120.0])
def test_people_who_cross_keep_their_numbers(seed: int, speed: float, size: float) -> None:
    """By where they go alone, without vectors; the one behind is not found for a while."""
    seconds = 900 / speed
    first, second = crossing(seconds, 900)
    front, behind = Actor(first), Actor(second, size)
    clip = Clip((front, behind), steadily(round(25 * seconds)), noise=1.0, seed=seed)
    results = clip.play(Tracks())
    for actor in (front, behind):
        x, _ = actor.path(0.0) or (0, 0)
        track = next(f.track for f in results[0].faces if abs(f.face.box[0] + 75 - x) < 20)
        for result in [*results[:5], *results[-5:]]:
            x, y = actor.path(clip.times[result.index]) or (0, 0)
            (face,) = [each.face for each in result.faces if each.track == track]
            true = landmarks(x, y, actor.size).mean(axis=0)
            assert face.landmarks.mean(axis=0) == pytest.approx(true, abs=3)


@pytest.mark.parametrize("speed", [250, 600])
def test_who_is_behind_another_fades_out_and_in_again(speed: float) -> None:
    """Nobody's crop is pasted where somebody else was found, for 6 frames or for 16."""
    front = Actor(still(500))
    behind = Actor(lambda time: (500 + speed * (time - 1.2), 300))
    clip = Clip((front, behind), steadily(60))
    results = clip.play(Tracks(), always=True)
    assert {number for shown in numbers(results) for number in shown} == {0, 1}
    number = next(f.track for f in results[0].faces if f.face.box[0] < 400)
    shown = opacities(results, number)
    found = [len(clip.faces(index)) == 2 for index in range(60)]
    assert found.count(False) > 5
    assert all((share > 0) == seen for share, seen in zip(shown, found, strict=True))
    assert np.abs(np.diff(shown)).max() == pytest.approx(1 / 6)
    assert (shown[0], shown[-1]) == (1, 1)


def test_a_small_face_in_a_fast_pan() -> None:
    clip = Clip((Actor(lambda time: (100 + 400 * time, 200), 40.0),), steadily(60))
    assert numbers(clip.play(Tracks())) == [[0]] * 60


def test_neighbours_keep_their_order_and_their_numbers() -> None:
    """However the finder orders them."""
    actors = tuple(Actor(still(200.0 + 170 * index)) for index in range(5))
    clip = Clip(actors, steadily(45), noise=1.0)
    results = clip.play(Tracks())
    assert numbers(results) == [[0, 1, 2, 3, 4]] * 45
    first = [face.face.box[0] for face in results[0].faces]
    for result in results:
        assert [face.face.box[0] for face in result.faces] == pytest.approx(first, abs=5)


def test_not_steady_is_what_was_found() -> None:
    clip = Clip((Actor(swaying),), steadily(30), noise=1.0)
    tracks = Tracks(steady=False)
    assert all(clip.asks(tracks, index) for index in range(30))
    for result in clip.play(Tracks(steady=False)):
        (seen,) = clip.faces(result.index)
        assert np.array_equal(result.faces[0].face.landmarks, seen.landmarks)
        assert np.array_equal(result.faces[0].face.box, seen.box)


def test_a_clip_that_nobody_is_in() -> None:
    results = Clip((), steadily(40), cuts=[20]).play(Tracks())
    assert numbers(results) == [[]] * 40
    assert Tracks().finish() == []


def test_a_clip_of_few_frames() -> None:
    for count in (1, 2, 3):
        results = Clip((Actor(still()),), steadily(count)).play(Tracks())
        assert numbers(results) == [[0]] * count
        assert opacities(results) == [1] * count


def test_frames_may_not_be_left_out() -> None:
    clip, tracks = Clip((Actor(still()),), steadily(5)), Tracks()
    tracks.push(Seen(0, 0.0, clip.faces(0), clip.thumbnail(0)))
    with pytest.raises(ValueError, match=r"^frame 2 where 1 should be$"):
        tracks.push(Seen(2, 0.08, None, clip.thumbnail(2)))


def test_begins_of_numbers_and_times_do_not_matter() -> None:
    clip = Clip((Actor(swaying),), steadily(60), noise=1.0)
    tracks = Tracks()
    found = clip.play(tracks, 20)
    assert [result.index for result in found] == list(range(20, 60))
    shift = clip.times[20]
    actor = Actor(lambda time: swaying(time + shift))
    later = replace(clip, actors=(actor,), times=tuple(time - shift for time in clip.times))
    again = later.play(Tracks(), 20)
    for one, other in zip(found, again, strict=True):
        assert one.faces[0].face.landmarks == pytest.approx(other.faces[0].face.landmarks, abs=1e-6)
