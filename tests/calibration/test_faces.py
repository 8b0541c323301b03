import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.degradation import is_clean
from calibration.faces import BUILT_IN, face_set
from runtime.errors import CalibrationError
from tests.conftest import SAMPLES


def test_built_in_faces() -> None:
    faces = face_set(None, 16, seed=0)
    assert faces.source == BUILT_IN
    assert len(faces.calibration) == 16
    assert len(faces.held_out) == 5
    assert "two people" in faces.warnings[0]
    names = {load().name for load in (*faces.calibration, *faces.held_out)}
    assert len(names) == 21  # nobody calibrates and judges
    face, again = faces.held_out[0](), face_set(None, 16, seed=0).held_out[0]()
    np.testing.assert_array_equal(face.image, again.image)
    assert is_clean(face.reference)
    assert not is_clean(face.image)
    other = face_set(None, 16, seed=1).held_out[0]()
    assert not np.array_equal(face.image, other.image)


def test_mirrored_faces_keep_left_and_right() -> None:
    faces = {load().name: load() for load in face_set(None, 4, seed=0).calibration}
    for face in faces.values():
        left, right = face.boxes[0], face.boxes[1]
        assert left[2] < right[0] + 10
        for box in face.boxes[[0, 1, 3]]:  # dark eyes and the mouth: no flat patch
            x1, y1, x2, y2 = box
            assert face.reference[y1:y2, x1:x2].std() > 8


def test_a_folder(tmp_path: Path) -> None:
    """Whole photos, an aligned crop with landmarks, and what is no face."""
    for name in ("photos/astronaut.png", "photos/grace_hopper.jpg", "astronaut.png"):
        shutil.copy(SAMPLES / name, tmp_path / name.replace("/", "_"))
    shutil.copy(SAMPLES / "astronaut.png.txt", tmp_path)
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((600, 600, 3), np.uint8))
    (tmp_path / "notes.pdf").write_text("no picture")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    faces = face_set(tmp_path, 64, seed=0)
    assert (len(faces.calibration), len(faces.held_out)) == (2, 1)
    warnings = "\n".join(faces.warnings)
    assert "black.png: no face was found" in warnings
    assert "notes.pdf is no picture" in warnings
    assert "broken.jpg" in warnings
    assert "2 faces to calibrate with" in warnings
    for load in (*faces.calibration, *faces.held_out):
        face = load()
        assert is_clean(face.reference)
        assert not is_clean(face.image)  # clean photos are degraded
        # eyes where an aligned crop has them
        centres = face.boxes[:2].reshape(2, 2, 2).mean(1)
        np.testing.assert_allclose(centres, [[193, 240], [319, 240]], atol=25)


def test_degraded_photos_stay_as_they_are(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    photo = cv2.imread(str(SAMPLES / "photos/astronaut.png"))
    assert photo is not None
    small = cv2.resize(photo, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(small, None, fx=4, fy=4)
    cv2.imwrite(str(source / "face.png"), blurred)
    (load,) = face_set(source, 4, seed=0).calibration
    np.testing.assert_array_equal(load().image, load().reference)


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="this folder is empty"):
        face_set(tmp_path, 8, 0)
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "a.doc").write_text("")
    with pytest.raises(CalibrationError, match=r"no face to calibrate with \(a.doc is no picture"):
        face_set(tmp_path, 8, 0)
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((600, 600, 3), np.uint8))
    with pytest.raises(CalibrationError, match=r"black.png: no face was found"):
        face_set(tmp_path, 8, 0)
    with pytest.raises(CalibrationError, match="no such folder"):
        face_set(tmp_path / "none", 8, 0)


def test_one_image(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "photos/astronaut.png", tmp_path)
    faces = face_set(tmp_path, 8, 0)
    assert len(faces.calibration) == len(faces.held_out) == 1
    assert faces.warnings == ("only one face: it serves both to calibrate and to judge",)
