"""Detection, landmarks and alignment on the sample faces and, where they are, the shared ones."""

import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import InvalidLandmarksError, component_boxes, read_landmarks
from runtime.faces.alignment import TEMPLATE, five_points, inverse, similarity, transform
from runtime.faces.detection import Detection
from runtime.faces.finder import Face, FaceFinder
from runtime.faces.views import Views
from tests.conftest import Face as Sample
from tests.conftest import picture


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[:, :, ::-1])


def test_similarity_recovers_a_known_transform() -> None:
    turn = 1.7 * np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]])
    matrix = np.column_stack([turn, [30.0, -12.0]])
    source = transform(inverse(matrix), TEMPLATE)
    np.testing.assert_allclose(similarity(source, TEMPLATE), matrix, atol=1e-9)


def test_one_point_is_no_face() -> None:
    with pytest.raises(InvalidLandmarksError, match="one point"):
        similarity(np.zeros((5, 2)), TEMPLATE)


def test_a_face_and_its_landmarks_are_found(finder: FaceFinder, faces: list[Sample]) -> None:
    for image, points in faces:
        (face,) = finder.find(rgb(image))
        assert face.score > 0.8
        assert np.abs(face.landmarks - points).mean() < 4
        assert (face.box[:2] < points[30]).all()
        assert (face.box[2:] > points[30]).all()
        assert np.abs(finder.landmarks(rgb(image)) - points).mean() < 1


def test_threads_change_nothing(faces: list[Sample]) -> None:
    """Tiles are searched side by side: the same faces in the same order."""
    photo, _ = canvas_of_faces(faces, [120, 180, 240, 300], (2100, 1500))
    alone, together = (FaceFinder(threads).find(photo) for threads in (1, 3))
    assert len(alone) == 4
    for one, other in zip(alone, together, strict=True):
        assert (one.box == other.box).all()
        assert (one.landmarks == other.landmarks).all()


def test_detections_that_lead_to_one_face_count_once(
    finder: FaceFinder, faces: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rgb(faces[0][0])
    (detection,) = finder._detector.detect(Views(image))
    twice = [detection, Detection(detection.box / 4, 0.5, detection.keypoints + 5)]
    monkeypatch.setattr(finder._detector, "detect", lambda _: twice)
    assert len(finder.find(image)) == 1


@pytest.mark.parametrize("angle", [30, 45, 60, 90, 100, -45, -90, 180])
def test_turned_faces(finder: FaceFinder, faces: list[Sample], angle: int) -> None:
    """Also upside down: the network takes such a face for an upright one, and is sure of it."""
    for image, points in faces:
        matrix = np.asarray(cv2.getRotationMatrix2D((256, 256), angle, 0.7), np.float64)
        turned = cv2.warpAffine(rgb(image), matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
        found = finder.find(np.asarray(turned, np.uint8))
        assert len(found) == 1
        assert np.abs(found[0].landmarks - transform(matrix, points)).mean() < 6
        middle = transform(matrix, points).mean(axis=0)
        assert np.abs((found[0].box[:2] + found[0].box[2:]) / 2 - middle).max() < 40


def test_a_turned_face_in_a_large_photo(finder: FaceFinder, faces: list[Sample]) -> None:
    canvas, truth = canvas_of_faces(faces, [180], (4000, 3000))
    upright, turned = (finder.find(each) for each in (canvas, np.rot90(canvas).copy()))
    assert len(upright) == len(turned) == 1
    assert found_near(upright, truth[0])
    x, y = upright[0].landmarks.T
    assert np.abs(turned[0].landmarks - np.stack([y, 3999 - x], axis=1)).mean() < 4


def test_a_blurred_face_of_which_the_landmark_network_is_not_sure(
    finder: FaceFinder, faces: list[Sample]
) -> None:
    image, points = faces[1]
    blurred = np.asarray(cv2.GaussianBlur(rgb(image), (0, 0), 16), np.uint8)
    (face,) = finder.find(blurred)
    assert np.abs(face.landmarks - points).mean() < 20


FAR = np.full((68, 2), 256.0)
FAR[::2] = 1e5

NO_FACES = {
    "one point": np.full((68, 2), 256.0),
    "nearly one point": np.full((68, 2), 256.0) + np.linspace(0, 1e-9, 136).reshape(68, 2),
    "far": FAR,
    "all far": FAR * 0 + 9e5,
    "1e300": np.full((68, 2), 1e300),
    "1e300 and a face": np.vstack([np.full((1, 2), 1e300), np.full((67, 2), 250.0)]),
    "float's largest": 1.7e308 * np.linspace(-1, 1, 136).reshape(68, 2),
    "not a number": np.full((68, 2), np.nan),
    "infinite": np.full((68, 2), np.inf),
    "shape": np.zeros((2, 68)),
    "one more": np.zeros((69, 2)),
    "empty": [],
    "nothing": None,
    "text": "no points",
    "texts": [["1", "2"]] * 68,
    "ragged": [[1], [1, 2]] * 34,
    "large": [[10**400, 1]] * 68,
    "complex": np.full((68, 2), 1j),
    "dates": np.full((68, 2), "2026-01-01", "datetime64[D]"),
    "mapping": {"points": 68},
    "objects": [[object(), object()]] * 68,
}
"""What a landmark detector may return that no face has."""


@pytest.mark.parametrize("kind", NO_FACES)
def test_your_own_landmarks_that_are_no_face(faces: list[Sample], kind: str) -> None:
    image = rgb(faces[0][0])
    finder = FaceFinder(1, lambda _: NO_FACES[kind])  # type: ignore[arg-type, return-value]
    start = time.monotonic()
    with pytest.raises(InvalidLandmarksError):
        finder.find(image)
    with pytest.raises(InvalidLandmarksError):
        component_boxes(finder.landmarks(image))
    assert time.monotonic() - start < 60  # it hung for ten minutes


def test_your_own_landmarks_in_a_narrow_photo(faces: list[Sample]) -> None:
    """Where a crop may reach far out of the photo, its border is mirrored again and again."""
    photo = rgb(faces[0][0])[:, 200:320]
    for shift in np.linspace(-600, 600, 5):
        for scale in (1e-3, 0.1, 1.0, 2.0):
            finder = FaceFinder(1, lambda _, a=scale, b=shift: faces[0][1] * a + b)  # type: ignore[misc]
            with suppress(InvalidLandmarksError):
                finder.find(photo)


def test_detections_that_are_no_faces_are_dropped(
    finder: FaceFinder, faces: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rgb(faces[0][0])
    (good,) = finder._detector.detect(Views(image))
    wild = [
        Detection(good.box, 0.9, keypoints)
        for keypoints in (good.keypoints * 0, good.keypoints * 1e100, good.keypoints + np.nan)
    ]
    monkeypatch.setattr(finder._detector, "detect", lambda _: [*wild, good])
    assert len(finder.find(image)) == 1


def test_no_face_where_there_is_none(finder: FaceFinder, faces: list[Sample]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3)).astype(np.uint8)
    assert finder.find(noise) == []
    for wrong in (noise, np.roll(rgb(faces[0][0]), 256, axis=0)):
        with pytest.raises(InvalidLandmarksError, match="no face"):
            finder.landmarks(wrong)


def canvas_of_faces(
    samples: list[Sample], sides: list[int], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], list[NDArray[np.float64]]]:
    """The samples (their faces are 300 px wide) at the given widths in a grid, and landmarks."""
    coarse = np.random.default_rng(1).integers(60, 200, (size[1] // 100, size[0] // 100, 3))
    canvas = cv2.resize(coarse.astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    columns = int(np.ceil(len(sides) ** 0.5 * 1.15))
    cell = size[0] // columns
    truth = []
    for index, side in enumerate(sides):
        image, points = samples[index % len(samples)]
        scale = side / 300
        small = cv2.resize(rgb(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        corner = np.array([index % columns, index // columns]) * cell + 20
        x, y = corner
        canvas[y : y + len(small), x : x + len(small)] = small
        truth.append(points * scale + corner)
    return np.asarray(canvas, np.uint8), truth


def found_near(found: list[Face], points: NDArray[np.float64]) -> bool:
    reach = np.ptp(points, axis=0).max() / 5
    return any(np.abs(f.landmarks.mean(0) - points.mean(0)).max() < reach for f in found)


def test_twelve_faces_on_a_large_canvas(finder: FaceFinder, faces: list[Sample]) -> None:
    sides = np.linspace(48, 400, 12).astype(int).tolist()
    canvas, truth = canvas_of_faces(faces, sides, (4000, 3000))
    found = finder.find(canvas)
    assert len(found) == 12
    assert all(found_near(found, points) for points in truth)


def test_the_smallest_face_is_what_was_asked_for(faces: list[Sample]) -> None:
    """In parts, because the photo is large; and the largest is found in the small picture."""
    small, wide = canvas_of_faces(faces, [28] * 9, (4000, 3000))
    large, _ = canvas_of_faces(faces, [1500], (4000, 3000))
    thorough, quick = FaceFinder(1, min_face=28), FaceFinder(1, min_face=400)
    found = thorough.find(small)
    assert len(found) == 9
    assert all(found_near(found, points) for points in wide)
    assert quick.find(small) == []
    assert len(thorough.find(large)) == len(quick.find(large)) == 1


def test_smallest_face(finder: FaceFinder, faces: list[Sample]) -> None:
    canvas, truth = canvas_of_faces(faces, [32] * 9, (1200, 900))
    found = finder.find(canvas)
    assert sum(found_near(found, points) for points in truth) == 9


@pytest.mark.shared
@pytest.mark.parametrize(("folder", "limit"), [("references", 3.0), ("degraded", 5.0)])
def test_component_boxes_of_real_faces(
    shared: Path, finder: FaceFinder, folder: str, limit: float
) -> None:
    photo, aligned = [], []
    for file in sorted((shared / "faces/landmarks").glob("*/*.txt")):
        person, name = file.parent.name, file.stem
        path = f"{person}_{name}" if folder == "degraded" else f"{person}/{name}"
        image = rgb(picture(shared / "faces" / folder / path))
        expected = component_boxes(read_landmarks(file))
        (face,) = finder.find(image)
        photo.append(np.abs(component_boxes(face.landmarks) - expected))
        aligned.append(np.abs(component_boxes(finder.landmarks(image)) - expected))
        shift = five_points(face.landmarks) - TEMPLATE
        assert np.abs(shift).mean() < 30  # these are FFHQ crops
    assert np.mean(photo) < limit
    assert np.mean(aligned) < limit


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["real", "synthetic"])
def test_every_real_face_is_found(shared: Path, finder: FaceFinder, folder: str) -> None:
    for file in sorted((shared / "faces" / folder).iterdir()):
        assert len(finder.find(rgb(picture(file)))) == 1, file
