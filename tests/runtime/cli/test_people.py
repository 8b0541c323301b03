"""`dmd-people` as a user runs it: what it writes, and that its references can be enrolled."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime import SpecificDictionary
from tests.conftest import SAMPLES, Command, one_line, picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of one person, one of another, and one that is cut off."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(SAMPLES / "photos" / "astronaut.png", folder / "a.png")
    shutil.copy(SAMPLES / "photos" / "grace_hopper.jpg", folder / "b.jpg")
    mirrored = picture(folder / "a.png")[:, ::-1] // 4 * 3
    cv2.imwrite(str(folder / "c.png"), np.ascontiguousarray(mirrored))
    (folder / "d.png").write_bytes((folder / "a.png").read_bytes()[:5000])
    return folder


def test_people_of_a_folder(command: Command, bundle: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "people"
    done = command("dmd-people", photos, "--out", out, "--threads", 1)
    assert done.returncode == 1
    assert done.stdout == (
        "people found: 1, with 2 of 3 faces (like no other: 1, too blurred: 0); photos read: 3 of "
        f"4; written to {out}\n"
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dmd-people: {photos}/d.png: damaged picture")
    found = json.loads((out / "groups.json").read_text())
    assert set(found) == {"threshold", "people", "alone", "blurred", "failures"}
    (person,) = found["people"]
    assert [Path(face["photo"]).name for face in person["faces"]] == ["a.png", "c.png"]
    assert [Path(face["photo"]).name for face in found["alone"]] == ["b.jpg"]
    assert list(found["failures"]) == [f"{photos}/d.png"]
    assert picture(out / person["sheet"]).shape == (112, 8 * 112, 3)
    references = [face["reference"] for face in person["faces"] if face["reference"]]
    pictures = sorted(str(file.relative_to(out)) for file in out.glob("person-001/*.png"))
    assert sorted(references) == pictures
    file = tmp_path / "alice.safetensors"
    done = command("dmd-enroll", out / "person-001", "--bundle", bundle, "--out", file)
    assert done.returncode == 0, done.stderr
    assert len(SpecificDictionary.load(file)) == len(references) >= 1


def test_no_numbers_of_a_face(command: Command, photos: Path, tmp_path: Path) -> None:
    """Nothing that could be a list of 128 numbers, printed or written, with --debug too."""
    out = tmp_path / "people"
    done = command("dmd-people", photos, "--out", out, "--debug")
    text = (out / "groups.json").read_text() + done.stdout + done.stderr

    assert _longest(json.loads((out / "groups.json").read_text())) < 10
    assert "vector" not in text
    assert "array(" not in text


def _longest(value: object) -> int:
    """The entries of the longest list or object in a JSON value."""
    if isinstance(value, dict):
        return max(len(value), *map(_longest, value.values()), 0)
    if isinstance(value, list):
        return max(len(value), *map(_longest, value), 0)
    return 0


def test_nothing_is_overwritten(command: Command, photos: Path, tmp_path: Path) -> None:
    one_line(command("dmd-people", photos, "--out", photos), "not an empty folder")
    file = photos / "a.png"
    one_line(command("dmd-people", photos, "--out", file), "a.png: this exists")
    one_line(command("dmd-people", tmp_path / "none*", "--out", tmp_path / "x"), "nothing matches")
    assert sorted(each.name for each in photos.iterdir()) == ["a.png", "b.jpg", "c.png", "d.png"]
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_photos_are_read(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "link").symlink_to(empty)
    for out, why in (
        (".", "give the name of a new folder"),
        (tmp_path / "link", "link or a mounted disk"),
        ("/proc", "link or a mounted disk"),
        ("/proc/people", "/proc/people"),
    ):
        done = command("dmd-people", photos, "--out", out)
        one_line(done, why)
        assert "damaged picture" not in done.stderr
    assert not list(empty.iterdir())


@pytest.mark.shared
def test_two_people_of_26_photographs(command: Command, shared: Path, tmp_path: Path) -> None:
    people = shared / "faces" / "references"
    out = tmp_path / "people"
    done = command("dmd-people", *sorted(people.iterdir()), "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "groups.json").read_text())
    names = [
        [Path(face["photo"]).parent.name for face in each["faces"]] for each in found["people"]
    ]
    assert names == [["00005"] * 19, ["00121"] * 7]
    assert len(list((out / "person-001").glob("*.png"))) == 5
