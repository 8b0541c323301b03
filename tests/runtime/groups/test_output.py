"""The files of a person: a sheet with every face, and references that need no further search."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import InvalidImageError
from runtime.faces.landmark_files import read_landmarks
from runtime.faces.landmarks import component_boxes
from runtime.groups.grouping import Group, Grouping
from runtime.groups.output import GROUPS, sheet, write_groups
from runtime.groups.reading import TILE, FoundFace, Reading, read_archive
from runtime.images.arrays import Image
from runtime.samples.faces import PHOTOS

HOW = Reading(max_pixels=10_000_000, max_bytes=1 << 24)


@pytest.fixture(scope="module")
def faces() -> list[FoundFace]:
    names = [str(PHOTOS / "astronaut.png"), str(PHOTOS / "grace_hopper.jpg")]
    return [face for photo in read_archive(names, HOW) for face in photo.faces]


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 8), (8, 1, 8), (9, 2, 8), (82, 9, 10)]
)
def test_a_sheet_has_every_face(
    faces: list[FoundFace], count: int, rows: int, columns: int
) -> None:
    person = Group("person-001", tuple(range(count)), (count - 1, 0), ())
    made = sheet(person, [faces[0]] * count)
    assert made.shape == (rows * TILE, columns * TILE, 3)
    tiles = made.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    empty = [bool((tile == 255).all()) for tile in tiles]
    assert empty == [False] * count + [True] * (rows * columns - count)
    upper = tiles[:count, : TILE // 2]  # the numbers stand below
    assert (upper == upper[0]).all()
    bright = (tiles[:count, TILE // 2 :].min(axis=3) == 255).sum(axis=(1, 2))
    assert bright[count - 1] > bright[1:-1].max(initial=0), "it is a reference, and has two numbers"


def test_references_and_groups(faces: list[FoundFace], tmp_path: Path) -> None:
    """A photo that is gone is said, and the others are written."""
    person = Group("person-001", (0, 1), (1, 0), ("person-002",))

    def photo(name: str) -> Image:
        if name == faces[0].photo:
            raise InvalidImageError(f"{name}: no such file")
        return HOW.photo(name)

    lines = write_groups(tmp_path, faces, Grouping((person,), (), ()), {"x.png": "bad"}, photo)
    assert lines == [f"{faces[0].photo}: no such file"]
    names = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert names == {GROUPS, "person-001.jpg", "person-001/01.png", "person-001/01.png.txt"}
    found = json.loads((tmp_path / GROUPS).read_text())
    assert found["failures"] == {"x.png": "bad"}
    (one,) = found["people"]
    assert (one["name"], one["maybe"]) == ("person-001", ["person-002"])
    assert [face["reference"] for face in one["faces"]] == [None, "person-001/01.png"]
    assert [face["photo"] for face in one["faces"]] == [face.photo for face in faces]
    reference = cv2.imread(str(tmp_path / "person-001/01.png"))
    assert reference is not None
    assert reference.shape == (512, 512, 3)
    points = read_landmarks(tmp_path / "person-001/01.png.txt")
    eyes = points[36:48].mean(axis=0)
    np.testing.assert_allclose(eyes, (256, 240), atol=12)  # where the template has them
    assert component_boxes(points).shape == (4, 4)
