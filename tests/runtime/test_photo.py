"""Whole photographs: what is restored, what is left alone, and what comes back."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import (
    DictionaryError,
    DmdnetWarning,
    InvalidLandmarksError,
    NoFaceError,
    Restorer,
    SpecificDictionary,
)
from runtime.errors import UsageError
from runtime.faces.alignment import TEMPLATE, five_points, inverse, similarity, transform
from runtime.faces.finder import Face as FoundFace
from runtime.faces.finder import FaceFinder
from runtime.options import RestoreOptions
from runtime.photo import find_and_crop, paste
from tests.conftest import SAMPLES, Face, picture
from tests.fakes.engines import FakeEngine
from tests.runtime.faces.test_finder import canvas_of_faces

PHOTOS = SAMPLES / "photos"


@pytest.fixture
def passing(bundle: Path) -> Iterator[Restorer]:
    """A Restorer whose network gives back what it gets."""
    with Restorer(bundle, engine=FakeEngine(lambda image: image.copy())) as restorer:
        yield restorer


@pytest.fixture
def inverting(bundle: Path) -> Iterator[Restorer]:
    """A Restorer whose network gives back the negative."""
    with Restorer(bundle, engine=FakeEngine(lambda image: 255 - image)) as restorer:
        yield restorer


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def crop_area(landmarks: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels of a photo that the face's aligned crop covers."""
    matrix = similarity(five_points(landmarks), TEMPLATE)
    corners = transform(inverse(matrix), np.array([(0, 0), (511, 0), (511, 511), (0, 511.0)]))
    area = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(area, [np.rint(corners).astype(np.int32)], 1)
    return area > 0


@pytest.mark.parametrize("angle", [0, 30, 90])
@pytest.mark.parametrize("side", [64, 200, 900])
def test_round_trip(passing: Restorer, faces: list[Face], angle: int, side: int) -> None:
    """Outside the masks bit-exact, inside under two levels off on average."""
    face = faces[0][0]
    scale = side / 300
    size = round(512 * scale * 1.5) + 40
    matrix = np.asarray(cv2.getRotationMatrix2D((256, 256), angle, scale), np.float64)
    matrix[:, 2] += size / 2 - 256
    if scale < 1:
        blur = 0.5 / scale
        face = np.asarray(cv2.GaussianBlur(face, (0, 0), blur), np.uint8)
    photo = np.asarray(
        cv2.warpAffine(face, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=1), np.uint8
    )
    result = passing.restore(photo)
    assert len(result.faces) == 1
    assert result.restored == (0,)
    area = crop_area(result.faces[0].landmarks, photo.shape)
    assert (result.image[~area] == photo[~area]).all()
    assert np.abs(result.image.astype(int) - photo)[area].mean() < 2


def test_depth_alpha_and_gray_are_kept(passing: Restorer, inverting: Restorer) -> None:
    photo = picture(PHOTOS / "grace_hopper.jpg")
    alpha = np.dstack([photo, photo[:, :, 0]])
    assert (inverting.restore(alpha).image[:, :, 3] == alpha[:, :, 3]).all()
    assert (inverting.restore(alpha).image[:, :, :3] == inverting.restore(photo).image).all()
    deep = inverting.restore(photo.astype(np.uint16) * 257).image
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - inverting.restore(photo).image).max() <= 1
    gray = passing.restore(photo[:, :, 1])
    assert gray.image.shape == photo.shape[:2]
    assert np.abs(gray.image.astype(int) - photo[:, :, 1]).mean() < 1
    one = passing.restore(np.ascontiguousarray(photo[:, :, 1:2]), upscale=2)
    assert one.image.shape == (1200, 1024, 1)
    assert len(one.restored) == 1


def test_colour_orders_agree(restorer: Restorer) -> None:
    photo = picture(PHOTOS / "grace_hopper.jpg")
    bgr = restorer.restore(photo).image
    rgb = restorer.restore(photo[:, :, ::-1], color="rgb").image
    assert (bgr == rgb[:, :, ::-1]).all()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_the_face_and_nothing_else_changes(inverting: Restorer, factor: int) -> None:
    photo = picture(PHOTOS / "astronaut.png")
    result = inverting.restore(photo, upscale=factor)  # type: ignore[arg-type]
    large = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_LANCZOS4)
    landmarks = (result.faces[0].landmarks + 0.5) * factor - 0.5
    area = crop_area(landmarks, large.shape)
    assert (result.image[~area] == large[~area]).all()
    x, y = landmarks[30].astype(int)
    assert np.abs(result.image[y, x].astype(int) - (255 - large[y, x].astype(int))).max() < 12
    assert set(result.timings) == {"detect", "align", "boxes", "network", "paste"}
    assert result.warnings == ()


def test_an_aligned_crop_is_not_resampled(passing: Restorer, restorer: Restorer) -> None:
    crop = picture(SAMPLES / "astronaut.png")
    assert (passing.restore(crop).image == crop).all()
    whole = restorer.restore(crop)
    own = restorer.restore_aligned(crop, whole.faces[0].landmarks)
    assert (whole.image == own).all()


def test_no_face(passing: Restorer) -> None:
    photo = noise(300, 400)
    result = passing.restore(photo)
    assert (result.image == photo).all()
    assert result.faces == ()
    assert "no face" in result.warnings[0]
    with pytest.raises(NoFaceError):
        passing.restore(photo, require_face=True)


@pytest.fixture
def group(faces: list[Face]) -> tuple[NDArray[np.uint8], list[NDArray[np.float64]]]:
    """Four faces of 100, 150, 200 and 250 px, from left to right and top to bottom."""
    rgb, truth = canvas_of_faces(faces, [100, 150, 200, 250], (1500, 1200))
    return np.ascontiguousarray(rgb[:, :, ::-1]), truth


def test_only(
    inverting: Restorer, group: tuple[NDArray[np.uint8], list[NDArray[np.float64]]]
) -> None:
    photo, truth = group
    everyone = inverting.restore(photo)
    assert sorted(everyone.restored) == [0, 1, 2, 3]
    for x, y in (points[30].astype(int) for points in truth):
        assert np.abs(everyone.image[y, x].astype(int) + photo[y, x] - 255).max() < 30
    (index,) = inverting.restore(photo, only="largest").restored
    assert np.abs(everyone.faces[index].landmarks - truth[3]).mean() < 5
    middles = [np.abs(points.mean(0) - (750, 600)).sum() for points in truth]
    (index,) = inverting.restore(photo, only="center").restored
    nearest = truth[int(np.argmin(middles))]
    assert np.abs(everyone.faces[index].landmarks - nearest).mean() < 5
    assert inverting.restore(photo, only=2).restored == (2,)
    for wrong in (4, -1, "left"):
        with pytest.raises(UsageError, match="only must be"):
            inverting.restore(photo, only=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="upscale"):
        inverting.restore(photo, upscale=3)  # type: ignore[arg-type]


def test_who_is_who(
    restorer: Restorer,
    faces: list[Face],
    group: tuple[NDArray[np.uint8], list[NDArray[np.float64]]],
) -> None:
    photo, _ = group
    alice = restorer.memorize([faces[0][0]])
    plain = restorer.restore(photo)
    named = restorer.restore(photo, identities={1: alice})
    for index, face in enumerate(plain.faces):
        x1, y1, x2, y2 = face.box.astype(int)
        changed = named.image[y1:y2, x1:x2].astype(int) - plain.image[y1:y2, x1:x2]
        assert (np.abs(changed).max() > 3) == (index == 1)
    both = restorer.restore(photo, alice, identities={9: alice})
    assert "[9]" in both.warnings[0]
    assert (both.image != named.image).any()


def test_memorize_takes_the_largest_face(
    restorer: Restorer, group: tuple[NDArray[np.uint8], list[NDArray[np.float64]]]
) -> None:
    photo, _ = group
    everyone = restorer.memorize([photo])
    biggest = restorer.memorize([photo[500:, :500]])
    smaller = restorer.memorize([photo[:480, 1000:]])
    near, far = (np.linalg.norm(everyone.rows - other.rows) for other in (biggest, smaller))
    assert near < far / 2


def test_references_without_a_face(restorer: Restorer, faces: list[Face]) -> None:
    photos = [faces[0][0], noise(200, 200), faces[1][0]]
    with pytest.raises(NoFaceError, match="reference 1"):
        restorer.memorize(photos)
    with pytest.warns(DmdnetWarning, match="reference 1"):
        people = restorer.memorize(photos, skip_bad=True)
    assert len(people) == 2
    with pytest.raises(NoFaceError):
        restorer.memorize([noise(200, 200)], skip_bad=True)


def test_your_own_landmarks(bundle: Path, faces: list[Face]) -> None:
    seen = []

    def detector(face: NDArray[np.uint8]) -> NDArray[np.float64]:
        seen.append(face.shape)
        return faces[0][1]

    with Restorer(bundle, device="cpu", landmark_detector=detector) as restorer:
        out = restorer.restore_aligned(faces[0][0])
        assert (out == restorer.restore_aligned(*faces[0])).all()
        restorer.restore(picture(PHOTOS / "astronaut.png"))
    assert len(seen) >= 2
    assert set(seen) == {(512, 512, 3)}
    with (
        Restorer(bundle, device="cpu", landmark_detector=lambda _: [1, 2]) as restorer,
        pytest.raises(InvalidLandmarksError),
    ):
        restorer.restore_aligned(faces[0][0])


def test_a_strangers_dictionary_is_refused_before_the_work(passing: Restorer) -> None:
    manifest = passing.manifest
    columns = int(manifest.memorizer.outputs[0].shape[1])
    rows = np.zeros((1, columns), np.float32)
    stranger = SpecificDictionary(rows, manifest.dictionary_layout, "0" * 64)
    for arguments in ({"identity": stranger}, {"identities": {0: stranger}}):
        with pytest.raises(DictionaryError, match=r"0{64}"):
            passing.restore(noise(100, 100), **arguments)


class OneFace:
    """A finder that knows of one face, of 200 px in the middle of the photo."""

    def __init__(self, landmarks: NDArray[np.float64], middle: tuple[int, int]) -> None:
        points = (landmarks - 256) * (200 / 300) + middle
        matrix = similarity(five_points(points), TEMPLATE)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        self._face = FoundFace(box, 1.0, points, matrix)

    def find(self, _: NDArray[np.uint8]) -> list[FoundFace]:
        return [self._face]


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_copied_once(
    faces: list[Face], color: Literal["bgr", "rgb"], upscale: Literal[1, 2], channels: int
) -> None:
    """Finding and cutting out copies none; pasting makes the result, and floats of a face alone."""
    photo = np.ascontiguousarray(noise(3000, 4000)[:, :, :channels])
    before = photo.copy()
    finder = cast(FaceFinder, OneFace(faces[0][1], (2000, 1500)))
    tracemalloc.start()
    options = RestoreOptions(upscale=upscale, color=color)
    found = find_and_crop(
        photo, finder, None, {}, options, lambda _: np.empty((0, 128), np.float32)
    )
    cutting = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    restored = paste(found, [255 - found.cuts[0].crop.image], 0.0)
    pasting = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cutting < 8_000_000 * upscale**2 < photo.nbytes * upscale**2
    assert pasting < restored.image.nbytes + 14_000_000 * upscale**2
    assert restored.image.nbytes == photo.nbytes * upscale**2
    assert found.photo is photo
    assert (photo == before).all()
    assert (restored.image[1500 * upscale, 2000 * upscale] != photo[1500, 2000]).any()
