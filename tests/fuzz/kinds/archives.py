"""Archive runs over folders of which some files are an attacker's, by name or by content."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st

from runtime.errors import InvalidImageError, UsageError
from runtime.images.files import SUFFIXES, read_image
from runtime.samples.faces import PHOTOS, SAMPLES
from tests.fakes.bundle import write_bundle
from tests.fuzz.kinds.command_line import call
from tests.fuzz.kinds.pictures import LIMIT, named_picture
from tests.fuzz.mutations import Draw, mutated
from tests.fuzz.rule import Kind

_GOOD = ("good face.png", "good photo.jpg", "good small.png")


@dataclass(frozen=True)
class Hostile:
    """A file of the folder: `points` is what lies beside it as its landmarks, if anything."""

    name: str
    data: bytes
    points: bytes | None


@contextmanager
def archives(folder: Path) -> Iterator[Kind]:
    """Every picture gets one outcome, the good ones come out byte for byte as ever, and nothing
    else is written or changed."""
    write_bundle(folder / "bundle")
    given, out = folder / "given", folder / "out"
    good = _good_pictures()
    _fill(given, good, [])
    words = ["dmd-restore", "given", "--bundle", "bundle", "--out", "out", "--device", "cpu"]
    words += ["--report", "report", "--max-pixels", str(LIMIT)]
    assert call(words, folder) == 0
    expected = {name: (out / name).read_bytes() for name in _GOOD}

    def attempt(hostile: list[Hostile]) -> None:
        shutil.rmtree(out, ignore_errors=True)
        (folder / "report").unlink(missing_ok=True)
        _fill(given, good, hostile)
        before = {file: file.read_bytes() for file in given.iterdir()}
        code = call(words, folder)
        after = {file: file.read_bytes() for file in given.iterdir()}
        assert after == before, "an input was changed"
        if code and not (folder / "report").exists():
            raise UsageError("refused before anything was done")  # two with one output
        lines = [json.loads(line) for line in (folder / "report").read_text().splitlines()]
        names = [Path(line["input"]).name for line in lines]
        pictures = [file.name for file in before if file.suffix.lower() in SUFFIXES]
        assert sorted(names) == sorted(pictures), "a picture is lost"
        failed = [line["input"] for line in lines if line["error"] is not None]
        assert code == (1 if failed else 0), "a failure that the exit code does not tell"
        written = {folder / line["output"] for line in lines if line["error"] is None}
        assert written == set(out.iterdir()), "another file was written"
        for name, data in expected.items():
            assert (out / name).read_bytes() == data, "a good picture came out changed"
        if failed:
            raise InvalidImageError(f"{len(failed)} of {len(names)} pictures were refused")

    yield Kind(st.lists(_hostile_file(), min_size=1, max_size=4), attempt)


def _good_pictures() -> dict[str, bytes]:
    """An aligned face with its landmarks, a photo with a face, and one with none."""
    photo = cv2.resize(np.asarray(read_image(PHOTOS / "astronaut.png"), np.uint8), (160, 160))
    ok, encoded = cv2.imencode(".jpg", photo)
    assert ok
    ok, small = cv2.imencode(".png", np.full((20, 30, 3), 99, np.uint8))
    assert ok
    face = (SAMPLES / "astronaut.png").read_bytes()
    data = face, np.asarray(encoded).tobytes(), np.asarray(small).tobytes()
    points = {f"{_GOOD[0]}.txt": (SAMPLES / "astronaut.png.txt").read_bytes()}
    return dict(zip(_GOOD, data, strict=True)) | points


def _fill(given: Path, good: dict[str, bytes], hostile: list[Hostile]) -> None:
    shutil.rmtree(given, ignore_errors=True)
    given.mkdir()
    for file in hostile:
        with suppress(OSError, ValueError):  # a name that no file can have
            (given / file.name).write_bytes(file.data)
            if file.points is not None:
                (given / f"{file.name}.txt").write_bytes(file.points)
    for name, data in good.items():
        (given / name).write_bytes(data)


@st.composite
def _hostile_file(draw: Draw) -> Hostile:
    name, data = draw(named_picture())
    text = (SAMPLES / "astronaut.png.txt").read_bytes()
    points = draw(st.none() | st.none() | mutated([text, b"1 2\n" * 68, b""]))
    if points is not None and draw(st.booleans()):
        data = (SAMPLES / "grace_hopper.png").read_bytes()
    return Hostile(name, data, points)
