"""A run that goes on where another one ended gives what that would have given, bit for bit."""

import json
import math

import numpy as np
import pytest

from runtime.video.tracks.seen import REACH, Tracked
from runtime.video.tracks.tracks import Tracks
from tests.runtime.people.making import known_person
from tests.runtime.video.tracks.making import Actor, Clip, Path, steadily, still

PEOPLE = [known_person(number, name) for number, name in enumerate(("alice", "bob", "carol"))]


def wandering(noise: np.random.Generator) -> Path:
    """To and fro around a place, and now and then away."""
    x, y, wide, fast, shift, leaves = noise.uniform(
        (200, 200, 20, 0.2, 0, 1), (1000, 500, 200, 1.5, 6, 4)
    )

    def path(time: float) -> tuple[float, float] | None:
        if leaves < time < leaves + 0.8:
            return None
        angle = 2 * math.pi * fast * time + shift
        return x + wide * math.sin(angle), y + 0.3 * wide * math.cos(1.3 * angle)

    return path


def random_clip(seed: int) -> Clip:
    noise = np.random.default_rng(seed)
    actors = tuple(
        Actor(
            wandering(noise),
            size=float(noise.uniform(80, 200)),
            vector=np.eye(128)[number],
            unseen=noise.choice(90, 20).tolist(),
            spread=0.5,
        )
        for number in range(3)
    )
    times = tuple(np.cumsum(noise.uniform(0.01, 0.07, 90)).tolist())
    return Clip(actors, times, cuts=noise.choice(90, 2).tolist(), noise=1.5, seed=seed)


def numbers(results: list[Tracked]) -> list[object]:
    """All that is in results, as plain values: equal where every bit is."""
    found: list[object] = []
    for result in results:
        found.append((result.index, result.cut))
        for each in result.faces:
            face = each.face
            found.append((each.track, each.person, each.opacity, face.score))
            found.append((face.box.tobytes(), face.landmarks.tobytes(), face.transform.tobytes()))
            found.append((face.name, face.distance, face.runner_up, face.runner_up_distance))
            found.append((face.threshold, face.guess, face.likeness))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_it_goes_on_at_any_frame(seed: int) -> None:
    clip = random_clip(seed)
    tracks = Tracks(PEOPLE)
    whole = clip.play(tracks)
    assert [result.index for result in whole] == list(range(90))
    assert any(face.person is not None for result in whole for face in result.faces)
    for before in (0, 1, 89, *np.random.default_rng(seed).choice(range(2, 89), 4).tolist()):
        state = json.loads(json.dumps(tracks.state(before), allow_nan=False))
        again = clip.play(Tracks(PEOPLE, state=state), before)
        assert numbers(again) == numbers(whole[before:])


def test_it_goes_on_where_one_face_becomes_another() -> None:
    """Before, between and after the looks that show it."""
    first = Actor(lambda time: (300, 300) if time < 1.2 else None, vector=np.eye(128)[0])
    second = Actor(lambda time: (300, 300) if time >= 1.2 else None, vector=np.eye(128)[1])
    clip, tracks = Clip((first, second), steadily(75), noise=1.0), Tracks(PEOPLE)
    whole = clip.play(tracks)
    assert {face.track for result in whole for face in result.faces} == {0, 1}
    for before in range(27, 63, 2):
        state = json.loads(json.dumps(tracks.state(before), allow_nan=False))
        again = clip.play(Tracks(PEOPLE, state=state), before)
        assert numbers(again) == numbers(whole[before:])


def test_it_goes_on_again_and_again() -> None:
    """As a run does that is broken off each time after a few frames."""
    clip = random_clip(9)
    whole, tracks, parts = clip.play(Tracks(PEOPLE)), Tracks(PEOPLE), list[Tracked]()
    for begin in range(0, 90, 18):
        # two more, as frames may be held until the next look
        results = clip.play(tracks, begin, min(90, begin + 18 + REACH + 2))
        parts += [result for result in results if result.index < begin + 18]
        if begin + 18 < 90:
            tracks = Tracks(PEOPLE, state=json.loads(json.dumps(tracks.state(begin + 18))))
    parts += tracks.finish()
    assert numbers(parts) == numbers(whole)


def test_the_state_before_frames_that_are_to_come_or_long_gone() -> None:
    clip = Clip((Actor(still()),), steadily(540))
    tracks = Tracks()
    assert tracks.state(7)["before"] == 7, "before the first frame, whatever its number"
    clip.play(tracks, stop=540)
    assert tracks.state(540)["before"] == 540
    assert tracks.state(28)["before"] == 28
    for before in (27, 541):
        with pytest.raises(ValueError, match=rf"before frame {before} is not kept any more$"):
            tracks.state(before)


def test_a_state_is_small() -> None:
    """A segment of 10 s has one of them: with two faces at most 200 kB."""
    clip = Clip((Actor(still(200)), Actor(still(700))), steadily(100), noise=1.0)
    tracks = Tracks()
    clip.play(tracks)
    assert len(json.dumps(tracks.state(60))) < 200_000


def test_what_is_no_state() -> None:
    good = Tracks().state(0)
    assert Tracks(state=good).finish() == []
    for bad in ({}, {**good, "before": "x"}, {**good, "state": {"tracks": [{}]}}):
        with pytest.raises(ValueError, match=r"."):
            Tracks(state=bad)
