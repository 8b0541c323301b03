"""The options of `dmd-restore` for videos, and what it says of one."""

import json
import signal
import subprocess
import sys
import time
from argparse import ArgumentError, ArgumentParser
from fractions import Fraction
from pathlib import Path

import pytest

from runtime.archive.job import Outcome
from runtime.cli.clips import add_clip_arguments, clip_options, line_of, refuse_without_clips
from runtime.errors import UsageError
from runtime.samples.faces import PHOTOS
from runtime.video.files.encoding import Encoding
from runtime.video.options import ClipOptions
from tests.conftest import Command, Once, one_line
from tests.fakes.bundle import write_bundle
from tests.runtime.video.making import decoded, moving_face, write_clip

TRACK = {"number": 0, "begin": 0.0, "end": 1.96, "frames": 50, "name": "alice", "distance": 0.41}
CLIP = {"frames": 50, "resumed": 0, "fps": 12.34, "tracks": [TRACK]}


@pytest.fixture
def bundle(once: Once) -> Path:
    """It gives faces back."""
    return once("echo", lambda path: write_bundle(path))


@pytest.fixture
def parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    add_clip_arguments(parser)
    return parser


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", Fraction(90)),
        ("1.5", Fraction(3, 2)),
        ("1:30", Fraction(90)),
        ("0:01:30.25", Fraction(361, 4)),
        ("2:00:00", Fraction(7200)),
    ],
)
def test_moments(parser: ArgumentParser, text: str, seconds: Fraction) -> None:
    assert clip_options(parser.parse_args(["--end", text])).end == seconds


@pytest.mark.parametrize("text", ["", ".", "1:2:3:4", "a", "1e3", "1:x", "-1", "1/2", "9" * 30])
def test_what_is_no_moment(parser: ArgumentParser, text: str) -> None:
    with pytest.raises(ArgumentError):
        parser.parse_args([f"--start={text}"])


def test_a_part_that_is_empty(parser: ArgumentParser) -> None:
    with pytest.raises(UsageError, match="start 5, end 5"):
        clip_options(parser.parse_args(["--start", "5", "--end", "0:05"]))


def test_what_is_asked_of_the_encoder(parser: ArgumentParser) -> None:
    words = ["--codec", "libx265", "--crf", "0", "--pixel-format", "yuv420p10le"]
    expected = ClipOptions(encoding=Encoding("libx265", 0, "yuv420p10le"))
    assert clip_options(parser.parse_args(words)) == expected


def test_options_for_videos_need_one(parser: ArgumentParser, tmp_path: Path) -> None:
    args = parser.parse_args(["--crf", "18"])
    with pytest.raises(UsageError, match="--crf is for videos"):
        refuse_without_clips(args, ["a.jpg", str(tmp_path / "b")])
    refuse_without_clips(args, ["a.jpg", "b.MP4"])
    refuse_without_clips(parser.parse_args([]), ["a.jpg"])


def test_the_line_of_a_clip() -> None:
    outcome = Outcome("in/a.mp4", "out/a.mp4", "", clip=CLIP)
    assert line_of(outcome) == (
        "in/a.mp4: 50 frames, 12.3 frames a second; tracks: 0 (alice, 0.0 to 2.0 s)"
    )
    many = [TRACK | {"number": number, "name": None} for number in range(6)]
    line = line_of(Outcome("a.mp4", "", "", clip=CLIP | {"tracks": many, "resumed": 25}))
    assert "50 frames (25 done before)" in line
    assert line.endswith("3 (0.0 to 2.0 s) and 2 more")
    nobody = Outcome("a.mp4", "", "", clip=CLIP | {"tracks": []})
    assert line_of(nobody).endswith("no face was found")


def test_the_command(command: Command, bundle: Path, tmp_path: Path) -> None:
    """A clip beside a photo: a line for it, an entry of the report, and again: nothing to do."""
    write_clip(tmp_path / "a.mp4", moving_face(8))
    report = tmp_path / "report.jsonl"
    words = [tmp_path / "a.mp4", PHOTOS / "astronaut.png", "--bundle", bundle, "--device", "cpu"]
    words += ["--out", tmp_path / "out", "--report", report, "--end", 0.3, "--resume"]
    done = command("dmd-restore", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"restored 2 of 2 in {tmp_path / 'out'} (")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dmd-restore: {tmp_path / 'a.mp4'}: 5 frames, ")
    assert line.endswith("tracks: 0 (0.0 to 0.3 s)")
    first, second = map(json.loads, report.read_text().splitlines())
    assert (first["clip"]["frames"], len(first["clip"]["tracks"])) == (5, 1)
    assert len(second["faces"]) == 1
    assert len(decoded(tmp_path / "out" / "a.mp4")) == 5
    assert "2 more existed already" in command("dmd-restore", *words).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption(bundle: Path, tmp_path: Path, number: int) -> None:
    """It ends at once, and nothing is under the result's name."""
    write_clip(tmp_path / "a.mp4", moving_face(150))
    out = tmp_path / "out"
    words = [tmp_path / "a.mp4", "--bundle", bundle, "--device", "cpu", "--out", out]
    words = [Path(sys.executable).with_name("dmd-restore"), *words]
    with subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True) as process:
        for _ in range(1200):
            if list(out.glob("a.mp4.segments/*.part")):
                break
            time.sleep(0.05)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert said == "dmd-restore: interrupted; no half-written file is left\n"
    assert process.returncode == 130
    assert not (out / "a.mp4").exists()


def test_the_command_refuses_an_empty_part(command: Command, tmp_path: Path) -> None:
    words = ["a.mp4", "--bundle", tmp_path, "--out", tmp_path / "out", "--start", 3, "--end", 2]
    one_line(command("dmd-restore", *words), "end must be after its start")
