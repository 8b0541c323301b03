"""Reading an archive: its faces in order, and an error in the place of a photo that has none."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.groups.reading import TILE, Reading, ReadPhoto, read_archive
from runtime.people.recognition import SHARP
from runtime.samples.faces import PHOTOS

HOW = Reading(max_pixels=10_000_000, max_bytes=1 << 24, threads=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[ReadPhoto]:
    folder = tmp_path_factory.mktemp("archive")
    (folder / "broken.png").write_bytes((PHOTOS / "astronaut.png").read_bytes()[:5000])
    cv2.imwrite(str(folder / "empty.png"), np.full((100, 100, 3), 7, np.uint8))
    files = [PHOTOS / "grace_hopper.jpg", folder / "broken.png", folder / "none.png"]
    files += [folder / "empty.png", PHOTOS / "astronaut.png"]
    return list(read_archive(list(map(str, files)), HOW))


def test_photos_come_in_their_order(photos: list[ReadPhoto]) -> None:
    names = ["grace_hopper.jpg", "broken.png", "none.png", "empty.png", "astronaut.png"]
    assert [Path(photo.name).name for photo in photos] == names
    assert [len(photo.faces) for photo in photos] == [1, 0, 0, 0, 1]
    _, broken, missing, empty, _ = photos
    assert "broken.png: damaged picture" in str(broken.error)
    assert "none.png: no such file" in str(missing.error)
    assert "Traceback" in str(broken.trace)
    assert empty.error is None


def test_what_is_known_of_a_face(photos: list[ReadPhoto]) -> None:
    (one,), (other,) = photos[0].faces, photos[-1].faces
    for face in (one, other):
        assert face.vector.shape == (128,)
        assert 15 < face.blur < SHARP
        assert 0 < face.turned < 40
        tile = cv2.imdecode(np.frombuffer(face.tile, np.uint8), cv2.IMREAD_COLOR)
        assert tile is not None
        assert tile.shape == (TILE, TILE, 3)
    assert np.linalg.norm(one.vector - other.vector) > 0.63


def test_a_limit_of_pixels(photos: list[ReadPhoto]) -> None:
    small = Reading(max_pixels=1000, max_bytes=1 << 24)
    (photo,) = read_archive([photos[-1].name], small)
    assert photo.faces == ()
    assert "limit of 1,000 pixels" in str(photo.error)
