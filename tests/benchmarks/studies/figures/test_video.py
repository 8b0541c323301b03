"""What runs of the studies of clips say on docs/figures.md."""

from typing import Any

from benchmarks.studies.figures.video import VIDEO, measured


def figures(kind: str, run: dict[str, Any]) -> list[str]:
    return [each.figure for each in VIDEO[f"video-{kind}-cpu"][1](run)]


def test_flicker() -> None:
    """By the true path where it is known, else by the tracks' own coordinates."""
    clips = [
        {"clip": clip, "smoothing": steady, "crops": {"flicker": 1.5}} | more
        for clip, steady, more in (
            ("constant.mp4", True, {"frames": {"flicker": 1.1}}),
            ("constant.mp4", False, {"frames": {"flicker": 1.3}}),
            ("mine.mp4", True, {}),
            ("mine.mp4", False, {"crops": {"flicker": 2}}),
        )
    ]
    assert figures("flicker", {"clips": clips}) == ["1.10 and 1.30", "1.50 and 2.00"]


def test_speed() -> None:
    run = {
        "what": "1280 x 720, one face, 100 frames, H.264 and AAC",
        "network": {"clip_over_network": {"median": 1.081}, "frames_a_second": 3.61},
        "floor": {
            "frames_a_second": {"null engine": 31.24, "floor": 50.0},
            "null_engine_of_floor": {"median": 0.624},
        },
    }
    assert figures("speed", run) == ["1.08, 3.6 frames a second", "31.2, 0.62"]


def test_memory() -> None:
    run = {
        "what": "640 x 360, one face, null engine",
        "frames": [1000, 10000],
        "peak_bytes": [310e6, 313e6],
        "long_over_short": 1.0097,
        "room_over_result": 1.04,
        "runs": [{}] * 6,
    }
    assert figures("memory", run) == ["310 MB, 313 MB, ratio 1.010", "1.04"]


def test_resume() -> None:
    killed = [{"again_s": again, "different": 0} for again in (3.2, 4.8)]
    assert figures("resume", {"what": "a clip", "killed": killed}) == ["0, 4.8 s"]


def test_the_block_of_the_page() -> None:
    run = {
        "what": "a clip",
        "network": {"stages_ms_a_frame": {"decode": 4.21, "network": 270.0}},
        "floor": {"stages_ms_a_frame": {"decode": 3.96, "encode": 10.0}, "search_ms": 77.4},
    }
    assert measured({"markdown": ["| a |", "| b |"]}, run).splitlines() == [
        "| a |",
        "| b |",
        "",
        "Milliseconds of work for a frame, by stage (a clip; stages overlap). A search for faces "
        "alone takes 77 ms.",
        "",
        "| stage | with the network | with a network of no cost |",
        "| --- | --- | --- |",
        "| decode | 4.2 | 4.0 |",
        "| network | 270.0 |  |",
        "| encode |  | 10.0 |",
    ]
