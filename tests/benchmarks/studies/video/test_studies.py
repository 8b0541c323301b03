"""The studies of clips: that they measure what they say, with engines that cost nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.measure.clips import RECIPES, write_clip
from benchmarks.measure.scenes import Scene, Shot
from benchmarks.studies.video import flicker, listing, memory, resume, speed
from benchmarks.studies.video.engines import Call, NegativeEngine, NotingEngine
from runtime.errors import BenchmarkError
from tests.clips import written
from tests.conftest import Once
from tests.fakes.bundle import write_bundle


@pytest.fixture(scope="module")
def echo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network gives faces back as they are."""
    folder = tmp_path_factory.mktemp("echo") / "bundle"
    write_bundle(folder)
    return folder


def test_flicker_of_faces_that_come_back_as_they_are(echo_bundle: Path) -> None:
    steady, raw = clips_of(flicker.measure(echo_bundle, [], ["constant"]))
    assert (steady["smoothing"], raw["smoothing"]) == (True, False)
    for one in (steady, raw):
        assert one["crops"]["flicker"] == 1
        assert one["crops"]["input_levels"] > 0.5
        assert one["frames"]["flicker"] == pytest.approx(1, abs=0.1)
    assert steady["jitter_px"] < raw["jitter_px"]
    assert steady["crops"]["input_levels"] < raw["crops"]["input_levels"]


def clips_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    clips: list[dict[str, Any]] = result["clips"]
    return clips


def test_a_clip_without_a_face(echo_bundle: Path, tmp_path: Path) -> None:
    nobody = replace(RECIPES["constant"], scene=Scene((160, 120), (Shot((), 0.2),)))
    write_clip(tmp_path / "nobody.mp4", nobody)
    with pytest.raises(BenchmarkError, match=r"nobody\.mp4: no face was followed"):
        flicker.measure(echo_bundle, [tmp_path / "nobody.mp4"], [])


@pytest.mark.parametrize("name", ["movie", "tracks", "hdr", "rotated"])
def test_a_listing(once: Once, name: str) -> None:
    one = written(once, name)
    found = listing.listing(one.path)
    assert listing.differences(found, found) == []
    assert found["0 video: packets"] == str(len(one.times))
    assert found["first frame: turn, counter-clockwise"] == (
        "-90 degrees" if name == "rotated" else "0 degrees"
    )
    tags = "1, 9, 16, 9" if name == "hdr" else "1, 1, 1, 1"
    assert found["0 video: range, primaries, transfer, matrix"] == tags
    assert found["1 audio: language"] == "eng"
    light = "CONTENT_LIGHT_LEVEL, MASTERING_DISPLAY_METADATA"
    assert (light in found["first frame: side data"]) == (name == "hdr")
    if one.recipe.extras:
        assert found["2 audio: language"] == "fra"
        assert found["chapter Second"] == "0.800 s to 1.600 s"


def test_listings_side_by_side() -> None:
    source, result = {"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}
    assert listing.table(source, result).splitlines()[2:] == [
        "| a | 1 | the same |",
        "| b | 2 | 3 |",
        "| c | not there | 4 |",
    ]
    assert listing.differences(source, result) == ["b: 2, 3", "c: not there, 4"]


def test_a_clip_and_its_result_are_kept(echo_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    found = listing.measure(echo_bundle, folder)
    assert found["failures"] == []
    assert sorted(each.name for each in folder.iterdir()) == ["result.mp4", "source.mp4"]


def test_frames_that_differ_are_told_apart(once: Once) -> None:
    one, other = (resume.decoded(written(once, name).path) for name in ("constant", "variable"))
    assert [time for time, _ in one] == list(RECIPES["constant"].times)
    assert one == resume.decoded(written(once, "constant").path)
    assert {frame for _, frame in one}.isdisjoint(frame for _, frame in other)


def test_room_is_of_the_result() -> None:
    assert memory.Taken(10, 1000, 200, 230).room == 1.15


def test_engines_note_and_repeat() -> None:
    inner = NegativeEngine()
    engine = NotingEngine(inner)
    image = np.full((2, 4, 4, 3), 5, np.uint8)
    boxes, membership = np.zeros((2, 4, 4), np.int32), np.zeros((2, 0), np.float32)
    assert (engine.restore(image, boxes, [], membership) == 250).all()
    engine.notes = noted = list[Call]()
    engine.restore(image, boxes, [], membership)
    engine.notes = None
    engine.restore(image, boxes, [], membership)
    assert [len(call.image) for call in noted] == [2]
    engine.repeat(noted)
    assert (noted[0].image == 5).all()


@pytest.mark.long
def test_speed(echo_bundle: Path) -> None:
    """The goals are not for a machine that does other things meanwhile."""
    result: dict[str, Any] = speed.measure(echo_bundle, 0.6, 0.4, 1)
    network, floor = result["network"], result["floor"]
    assert (floor.frames, network.frames, network.faces) == (15, 10, 10)
    assert network.clip_over_network.median > 1
    assert set(floor.frames_a_second) == {"null engine", "floor"}
    assert 0 < floor.null_engine_of_floor.median < 1
    assert floor.search_ms > 0
    for stages in (network.stages_ms_a_frame, floor.stages_ms_a_frame):
        assert {"decode", "find", "network", "paste", "encode"} <= set(stages)


@pytest.mark.long
def test_memory(echo_bundle: Path) -> None:
    result: dict[str, Any] = memory.measure(echo_bundle, 1, short=30, long=60)
    assert [each.frames for each in result["runs"]] == [30, 60]
    assert 0.8 < result["long_over_short"] < 1.2
    assert all(each.peak_bytes > 50e6 for each in result["runs"])
    assert all(each.result_bytes > 10_000 for each in result["runs"])


@pytest.mark.long
def test_killed_and_resumed(echo_bundle: Path) -> None:
    result: dict[str, Any] = resume.measure(echo_bundle, 13, killed_at=[0.9])
    assert result["failures"] == []
    (one,) = result["killed"]
    assert one.resumed > 0
    assert one.again_s < resume.MOST_AGAIN_S
