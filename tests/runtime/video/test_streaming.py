"""Frames in, frames out: order, who is restored, how far it reads ahead, and how it ends."""

import asyncio
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import (
    DictionaryError,
    EngineCallError,
    InvalidImageError,
    InvalidLandmarksError,
    Restorer,
    SpecificDictionary,
    UsageError,
    stream,
)
from runtime.images.arrays import Image
from runtime.samples.faces import samples
from tests.conftest import ROOT, Once, levels
from tests.fakes.bundle import COLUMNS, LAYOUT, WEIGHTS, write_bundle
from tests.fakes.engines import FakeEngine
from tests.runtime.video.making import HEIGHT, WIDTH, moving_face

_MOST_AHEAD = 45  # frames, as docs/video.md says: tracks look 15 ahead, and some 25 are in work
pytestmark = pytest.mark.usefixtures("no_thread_is_left")

Frames = list[NDArray[np.uint8]]


@pytest.fixture
def bundle(once: Once) -> Path:
    """Made at once; what runs the network is a test's own."""
    return once("echo", lambda path: write_bundle(path))


@pytest.fixture
def inverting(bundle: Path) -> Iterator[Restorer]:
    engine = FakeEngine(lambda image: 255 - image, COLUMNS)
    with Restorer(bundle, engine=engine, threads=1) as restorer:
        yield restorer


@pytest.fixture(scope="module")
def clip() -> Frames:
    """A face that moves two pixels a frame, to the right."""
    return moving_face(24)


def changed(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((before != after).reshape(*before.shape[:2], -1).any(axis=2))


def person(value: float = 0.5) -> SpecificDictionary:
    return SpecificDictionary(np.full((1, COLUMNS), value, np.float32), LAYOUT, WEIGHTS)


def test_every_frame_comes_back_in_order_and_only_its_face_is_changed(
    inverting: Restorer, clip: Frames
) -> None:
    results = list(stream(inverting, clip))
    assert len(results) == len(clip)
    middles = []
    for frame, result in zip(clip, results, strict=True):
        assert result.shape == frame.shape
        assert result.dtype == np.uint8
        where = changed(frame, result)
        assert not where[:8].any()  # the face's crop does not reach there
        middles.append(np.nonzero(where)[1].mean())
    steps = np.diff(middles)
    assert abs(np.mean(steps) - 2) < 0.3  # it moves with the face
    assert steps.min() > 0


def test_frames_without_faces_come_back_as_they_were(inverting: Restorer) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 60, (HEIGHT, WIDTH, 4), np.uint8) for _ in range(4)]
    results = list(stream(inverting, frames, color="rgb"))
    assert [levels(one, other) for one, other in zip(frames, results, strict=True)] == [0] * 4
    assert not list(stream(inverting, []))


def test_a_caller_may_fill_one_array_again_and_again(inverting: Restorer, clip: Frames) -> None:
    def frames() -> Iterator[NDArray[np.uint8]]:
        buffer = np.empty_like(clip[0])
        for frame in clip:
            buffer[:] = frame
            yield buffer

    expected = list(stream(inverting, clip))
    results = list(stream(inverting, frames()))
    assert all((one == other).all() for one, other in zip(expected, results, strict=True))


def test_only_a_track_and_how_much_of_it(inverting: Restorer, clip: Frames) -> None:
    both = [np.hstack([frame, frame]) for frame in clip]
    first, second, none, half = (
        list(stream(inverting, both, only=only, strength=strength))[10]
        for only, strength in ((0, 1.0), (1, 1.0), (2, 1.0), (None, 0.5))
    )
    where = [changed(both[10], image) for image in (first, second, none, half)]
    sides = [(bool(each[:, :WIDTH].any()), bool(each[:, WIDTH:].any())) for each in where]
    assert sorted(sides[:2]) == [(False, True), (True, False)]
    assert sides[2:] == [(False, False), (True, True)]
    whole = np.where(changed(both[10], first)[:, :, None], first, second)
    difference = np.abs(whole.astype(int) - both[10])
    assert np.abs(np.abs(half.astype(int) - both[10]) - difference / 2).max() <= 1


def test_a_person_is_read_by_the_network(bundle: Path, clip: Frames) -> None:
    seen: list[tuple[int, float]] = []

    class Noting(FakeEngine):
        def restore(self, image: Image, boxes: Any, people: Any, membership: Any) -> Image:
            seen.append((int(membership.sum()), float(people[0][0, 0])))
            return super().restore(image, boxes, people, membership)

    with Restorer(bundle, engine=Noting(lambda image: image, COLUMNS)) as restorer:
        list(stream(restorer, clip[:3], identity=person(0.25)))
        assert set(seen) == {(1, 0.25)}
        seen.clear()
        list(stream(restorer, clip[:3]))
        assert {members for members, _ in seen} == {0}


def detector_of(flat: NDArray[np.float64], open_: NDArray[np.float64]) -> Any:
    """A landmark detector to which faces in blue that is as strong as green are in profile."""

    def detector(image: Image) -> NDArray[np.float64]:
        marked = float((image[:, :, 1] == image[:, :, 2]).mean()) > 0.99
        return flat if marked else open_

    return detector


def test_a_face_that_cannot_be_cut_for_a_moment_does_not_blink(bundle: Path, clip: Frames) -> None:
    """It is bridged where that is short, and else fades out and in."""
    open_ = samples()[0].landmarks
    flat = open_.copy()
    flat[[*range(36, 42), *range(17, 22)], 1] = open_[36:42, 1].mean()  # an eye without height
    frames = [clip[0].copy() for _ in range(44)]
    for index in (*range(10, 13), *range(26, 36)):
        frames[index][:, :, 0] = frames[index][:, :, 1]
    engine = FakeEngine(lambda image: 255 - image, COLUMNS)
    with Restorer(
        bundle, engine=engine, threads=1, landmark_detector=detector_of(flat, open_)
    ) as restorer:
        results = list(stream(restorer, frames, fps=10))
    pairs = zip(frames, results, strict=True)
    shown = np.array([np.abs(one.astype(int) - other).mean() for one, other in pairs])
    shown /= shown[0]
    assert np.abs(shown[:20] - 1).max() < 0.1
    assert shown[26:36].max() == 0
    assert (np.diff(shown[20:26]) < -0.1).all()
    assert (np.diff(shown[36:41]) > 0.1).all()


@pytest.mark.parametrize("ours", [True, False])
def test_a_landmark_detector_that_fails_says_in_which_frame(
    bundle: Path, clip: Frames, ours: bool
) -> None:
    def detector(image: Image) -> NDArray[np.float64]:
        if (image[:, :, 1] == image[:, :, 2]).mean() > 0.99:
            if ours:
                return np.zeros((5, 2))
            raise ValueError("no idea")
        return samples()[0].landmarks

    frames = [frame.copy() for frame in clip[:9]]
    frames[6][:, :, 0] = frames[6][:, :, 1]
    engine = FakeEngine(lambda image: image, COLUMNS)
    with (
        Restorer(bundle, engine=engine, threads=1, landmark_detector=detector) as restorer,
        pytest.raises(InvalidLandmarksError if ours else ValueError) as raised,
    ):
        list(stream(restorer, frames, fps=10))
    where, error = "frame 6, at 0.60 s: ", raised.value
    said = str(error) if ours else error.__notes__[0]
    assert said.startswith(where)
    assert "\n" not in said
    assert ours or str(error) == "no idea"


def test_faces_of_several_frames_share_calls(bundle: Path, clip: Frames) -> None:
    engine = FakeEngine(lambda image: 255 - image, COLUMNS, max_batch=8)
    with Restorer(bundle, engine=engine) as restorer:
        grouped = list(stream(restorer, clip))
    assert engine.calls == [8, 8, 8]
    with Restorer(bundle, engine=FakeEngine(lambda image: 255 - image, COLUMNS)) as restorer:
        alone = list(stream(restorer, clip))
    assert all((one == other).all() for one, other in zip(grouped, alone, strict=True))


def test_it_reads_ahead_by_so_many_frames_and_in_the_callers_thread(
    inverting: Restorer, clip: Frames
) -> None:
    taken = 0
    threads: set[int] = set()

    def frames() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            threads.add(threading.get_ident())
            yield clip[taken % len(clip)]

    with closing(stream(inverting, frames())) as results:
        for given, _ in enumerate(islice(results, 40), start=1):
            assert taken <= given + _MOST_AHEAD
    assert threads == {threading.get_ident()}


def test_what_the_source_raises(inverting: Restorer, clip: Frames) -> None:
    def frames() -> Iterator[NDArray[np.uint8]]:
        yield from clip[:3]
        raise ValueError("the camera is gone")

    with pytest.raises(ValueError, match="the camera is gone"):
        list(stream(inverting, frames()))


def test_an_engine_that_fails(bundle: Path, clip: Frames) -> None:
    calls = 0

    def work(image: Image) -> Image:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise EngineCallError("no more")
        return image

    results: Frames = []
    with Restorer(bundle, engine=FakeEngine(work, COLUMNS)) as restorer:
        restored = stream(restorer, clip)
        with pytest.raises(EngineCallError, match="no more"):
            results.extend(restored)
    assert len(results) == 5


def test_a_consumer_that_leaves_early(inverting: Restorer, clip: Frames) -> None:
    results = stream(inverting, clip)
    next(results)
    del results  # that no thread is left is what the fixture asserts


def test_a_script_that_ends_after_it_left_early(bundle: Path, clip: Frames, tmp_path: Path) -> None:
    """A thread that is in a network when a process ends would abort it."""
    np.save(tmp_path / "clip.npy", np.array(clip))
    code = f"""
import numpy as np
from runtime import Restorer, stream
from tests.fakes.bundle import COLUMNS
from tests.fakes.engines import FakeEngine
clip = np.load({str(tmp_path / "clip.npy")!r})
with Restorer({str(bundle)!r}, engine=FakeEngine(lambda image: image, COLUMNS)) as restorer:
    for frame in stream(restorer, clip):
        break
print("left")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr


def test_frames_a_second_as_a_fraction(inverting: Restorer, clip: Frames) -> None:
    """As PyAV has it."""
    whole = list(stream(inverting, clip, fps=30000 / 1001))
    again = list(stream(inverting, clip, fps=Fraction(30000, 1001)))
    assert all((one == other).all() for one, other in zip(whole, again, strict=True))


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"only": "largest"}, UsageError, "track"),
        ({"only": -1}, UsageError, "track"),
        ({"fps": 0}, UsageError, "fps"),
        ({"fps": math.inf}, UsageError, "fps"),
        ({"fps": "25"}, UsageError, "fps"),
        ({"strength": 2}, UsageError, "strength"),
        ({"people": [person()]}, UsageError, "no name"),
    ],
)
def test_wrong_arguments(
    inverting: Restorer, options: dict[str, Any], error: type[Exception], part: str
) -> None:
    """They are refused before the first frame is asked for."""
    with pytest.raises(error, match=part):
        stream(inverting, [], **options)
    other = SpecificDictionary(np.zeros((1, COLUMNS), np.float32), LAYOUT, "2" * 64)
    with pytest.raises(DictionaryError):
        stream(inverting, [], identity=other)


@pytest.mark.parametrize("bad", [np.zeros((HEIGHT, WIDTH, 3)), np.zeros((90, 90, 3), np.uint8)])
def test_frames_that_are_none_of_this_clip(
    inverting: Restorer, clip: Frames, bad: NDArray[Any]
) -> None:
    with pytest.raises(InvalidImageError, match=r"uint8|frame 2"):
        list(stream(inverting, [*clip[:2], bad]))


def test_streams_side_by_side(inverting: Restorer, clip: Frames) -> None:
    expected = list(stream(inverting, clip))
    pairs = zip(stream(inverting, clip), stream(inverting, clip), strict=True)
    for whole, (one, other) in zip(expected, pairs, strict=True):
        assert (one == whole).all()
        assert (other == whole).all()


def test_an_async_app_drives_it(inverting: Restorer, clip: Frames) -> None:
    """As docs/video.md shows: each step in a thread, while the loop goes on."""
    expected = list(stream(inverting, clip[:6]))

    async def restored() -> Frames:
        results = stream(inverting, clip[:6])
        found: Frames = []
        while (frame := await asyncio.to_thread(next, results, None)) is not None:
            found.append(frame)
        return found

    found = asyncio.run(restored())
    assert all((one == other).all() for one, other in zip(expected, found, strict=True))
