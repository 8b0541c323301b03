"""The recognition network on the sample faces: its input, its numbers, and what sharp means."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.faces.alignment import TEMPLATE
from runtime.people import recognition
from runtime.people.recognition import SHARP, Recognizer, blur
from tests.conftest import Face

SHA256 = "d6b471b2d046a136acfb4870f9f87a87148bd806802fe88086959833d13edc8a"
FIRST_NUMBERS = [[-0.0813, 0.0088, 0.0109, -0.0795], [-0.0589, 0.0365, 0.0695, 0.0738]]


@pytest.fixture(scope="module")
def crops(faces: list[Face]) -> list[NDArray[np.uint8]]:
    """Astronaut and admiral, RGB."""
    return [np.ascontiguousarray(image[:, :, ::-1]) for image, _ in faces]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(threads=1)


def shrunk(crop: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Made smaller and enlarged again."""
    small = cv2.resize(crop, (512 // times, 512 // times), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_the_network_is_the_one_that_the_notice_names() -> None:
    models = Path(recognition.__file__).with_name("models")
    network = (models / "face_recognition_dlib.onnx").read_bytes()
    assert hashlib.sha256(network).hexdigest() == SHA256
    assert SHA256 in (models / "NOTICE").read_text()


def test_what_is_shown_to_the_network_is_the_frame_of_dlib() -> None:
    """A dot on each of the template's five points comes out where dlib has that point."""
    shown = []

    class Spy:
        def run(self, names: list[str], inputs: dict[str, NDArray[np.uint8]]) -> list[object]:
            assert names == ["descriptor"]
            shown.append(inputs["image"])
            return [np.zeros((1, 128), np.float32)]

    spied = Recognizer()
    spied._opened = Spy()
    dlibs = [(47.0, 46.6), (100.7, 46.7), (74.1, 78.1), (50.5, 102.6), (98.2, 102.5)]
    for point, (x, y) in zip(TEMPLATE, dlibs, strict=True):
        crop = np.zeros((512, 512, 3), np.uint8)
        cv2.circle(crop, [round(each) for each in point], 9, (255, 0, 0), -1)
        spied.describe([crop])
        (chip,) = shown.pop()
        assert chip.shape == (150, 150, 3)
        assert chip.dtype == np.uint8
        assert not chip[:, :, 1:].any()  # red stays red
        light = chip[:, :, 0].astype(float)
        rows, columns = np.indices(light.shape)
        middle = [(columns * light).sum() / light.sum(), (rows * light).sum() / light.sum()]
        np.testing.assert_allclose(middle, (x, y), atol=0.6)
        assert 0 < light[round(y), round(x) + 6] < 250  # it is smoothed


def test_descriptors(recognizer: Recognizer, crops: list[NDArray[np.uint8]]) -> None:
    vectors = recognizer.describe(crops)
    assert vectors.shape == (2, 128)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[:, :4], FIRST_NUMBERS, atol=3e-3)
    assert np.linalg.norm(vectors[0] - vectors[1]) == pytest.approx(0.680, abs=0.01)
    swapped = recognizer.describe([crops[0][:, :, ::-1]])  # BGR is wrong, and differs
    assert np.linalg.norm(swapped - vectors[0]) > 0.1
    assert recognizer.describe([]).shape == (0, 128)


def test_who_is_beside_a_face_changes_nothing(
    recognizer: Recognizer, crops: list[NDArray[np.uint8]]
) -> None:
    """Nor do other threads, of which one opens the network."""
    alone = recognizer.describe(crops[1:])
    assert (recognizer.describe(crops)[1] == alone[0]).all()
    fresh = Recognizer(threads=1)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: fresh.describe(crops[1:]), range(8)))
    assert all((each == alone).all() for each in results)


def test_a_degraded_face_stays_near_itself(
    recognizer: Recognizer, crops: list[NDArray[np.uint8]]
) -> None:
    vectors = recognizer.describe(crops)
    for times, most in ((4, 0.05), (8, 0.20), (12, 0.36)):
        moved = recognizer.describe([shrunk(crop, times) for crop in crops]) - vectors
        assert np.linalg.norm(moved, axis=1).max() < most, times


def test_blur(crops: list[NDArray[np.uint8]]) -> None:
    """Over `SHARP` is what has no detail: a sixteenth of the resolution holds all of it."""
    values = [blur(shrunk(crops[0], times)) for times in (1, 4, 8, 12, 16)]
    np.testing.assert_allclose(values, [23.84, 24.69, 27.17, 30.66, 37.28], atol=0.05)
    assert values[2] < SHARP < values[3]
    assert blur(np.full((512, 512, 3), 7, np.uint8)) > 100
