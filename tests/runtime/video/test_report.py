"""The log of a clip's tracks: whose they were, for how long, and what is said of a change."""

import json
from collections.abc import Sequence

import numpy as np

from runtime import SpecificDictionary
from runtime.faces.finder import Face
from runtime.video.report import Log, VideoTrack
from runtime.video.tracks.seen import TrackedFace
from tests.fakes.bundle import COLUMNS, LAYOUT, WEIGHTS


def seen(track: int, name: str | None, distance: float | None = None) -> TrackedFace:
    points = np.zeros((68, 2))
    face = Face(np.zeros(4), 1.0, points, np.eye(2, 3), name=name, distance=distance)
    return TrackedFace(track, face, None, 1.0)


def logged(names: Sequence[str | None], restored: int, log: Log | None = None) -> Log:
    """Track 0 with a name in each frame, ten a second, of which the first ones are restored."""
    log = log or Log()
    for index, name in enumerate(names):
        distance = 0.3 if name == "alice" else 0.6
        log.add(index / 10, [seen(0, name, distance)], [0] if index < restored else [])
    return log


def test_a_track_has_the_name_of_most_restored_frames() -> None:
    log = logged(["alice"] * 5 + ["bob"] * 3 + [None] * 9, 8)
    assert log.tracks(None) == (VideoTrack(0, 0.0, 1.6, 8, "alice", 0.3, None),)
    assert log.changes() == (
        "track 0 is alice in most frames, but was restored as alice from 0.00 s, bob from 0.50 s, "
        "nobody from 0.80 s",
    )


def test_a_track_that_is_not_restored_has_the_name_of_most_frames() -> None:
    log = logged(["alice"] * 2 + [None] * 3, 0)
    assert log.tracks(None) == (VideoTrack(0, 0.0, 0.4, 0, None, 0.6, None),)
    assert log.changes() == ()


def test_a_name_that_stays_is_no_change() -> None:
    log = logged(["alice"] * 4, 4)
    assert log.changes() == ()
    assert log.tracks(None)[0].name == "alice"


def test_a_log_goes_on_from_its_state() -> None:
    names = ["alice"] * 5 + ["bob"] * 7
    whole, first = logged(names, 12), logged(names[:7], 7)
    later = Log(json.loads(json.dumps(first.state())))
    for index in range(7, 12):
        later.add(index / 10, [seen(0, "bob", 0.6)], [0])
    assert later.tracks(None) == whole.tracks(None)
    assert later.tracks(None)[0].name == "bob"
    assert later.changes() == whole.changes()
    assert first.tracks(None)[0].name == "alice"  # it is not changed by what comes later


def test_a_person_who_was_given_by_hand() -> None:
    rows = np.zeros((1, COLUMNS), np.float32)
    carol = SpecificDictionary(rows, LAYOUT, WEIGHTS, "carol")
    log = logged(["alice"] * 3, 3)
    log.add(0.3, [seen(1, "bob", 0.4)], [])
    assert log.tracks(carol) == (
        VideoTrack(0, 0.0, 0.2, 3, "carol", None, None),
        VideoTrack(1, 0.3, 0.3, 0, "bob", 0.4, None),
    )
