from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime import (
    ClosedError,
    DeviceError,
    DmdnetWarning,
    InvalidImageError,
    InvalidLandmarksError,
    Remote,
    Restored,
    Restorer,
    SpecificDictionary,
)
from runtime.errors import EngineError, UsageError
from tests.conftest import Face, levels
from tests.fakes.engines import FakeEngine


def test_an_engine_of_the_callers_own(bundle: Path, faces: list[Face]) -> None:
    """It runs in place of a backend, with the bundle's manifest; wrong ones are refused."""
    face, points = faces[0]
    engine = FakeEngine(lambda image: 255 - image, max_batch=3)
    with Restorer(bundle, engine=engine) as restorer:
        assert (restorer.backend, restorer.max_batch) == ("a fake engine", 3)
        assert restorer.manifest.precision == "fp32"
        assert restorer.device_seconds is None
        assert (restorer.restore_aligned(face, points) == 255 - face).all()
        assert len(restorer.restore_batch([face] * 4, [points] * 4)) == 4
        assert engine.calls == [1, 3, 1]
    assert engine.closed
    for wrong in ({"device": "cpu"}, {"allow_fallback": True}, {"remote": Remote()}):
        with pytest.raises(UsageError):
            Restorer(bundle, engine=engine, **wrong)
    with pytest.raises(UsageError, match="object has no description"):
        Restorer(bundle, engine=object())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="engine excludes device"):
        Restorer("grpc://127.0.0.1:1/dmdnet", engine=engine)
    small = FakeEngine(lambda image: image[:, :256])
    with (
        Restorer(bundle, engine=small) as restorer,
        pytest.raises(EngineError, match=r"uint8 \(1, 256, 512, 3\) in place of uint8 \(1, 512"),
    ):
        restorer.restore_aligned(face, points)


def test_errors_stay_in_the_place_of_their_face(bundle: Path, faces: list[Face]) -> None:
    (face, points), tiny = faces[0], np.zeros((1, 1, 3), np.uint8)
    with Restorer(bundle, engine=FakeEngine(lambda image: 255 - image)) as restorer:
        good, bad, other = restorer.restore_faces([face, tiny, face], [points, points, points * 0])
        assert isinstance(good, Restored)
        assert (good.image == 255 - face).all()
        assert (good.restored, len(good.faces)) == ((0,), 1)
        np.testing.assert_allclose(good.faces[0].landmarks, points)
        assert isinstance(bad, InvalidImageError)
        assert isinstance(other, InvalidLandmarksError)
        with pytest.raises(InvalidImageError, match=r"face 1: .*1 x 1"):
            restorer.restore_batch([face, tiny], [points, points])


def test_output_is_recognisably_the_input(restorer: Restorer, faces: list[Face]) -> None:
    for face, points in faces:
        out = restorer.restore_aligned(face, points)
        assert out.shape == (512, 512, 3)
        assert out.dtype == np.uint8
        assert cv2.PSNR(face, out) > 20  # swapped colours fall below


def test_mixed_batch_gives_each_face_what_it_gets_alone(
    bundle: Path, faces: list[Face], alice: SpecificDictionary, bob: SpecificDictionary
) -> None:
    """Also where it is cut into calls of three faces and one."""
    pictures, points = zip(faces[0], *faces, faces[1], strict=True)
    people = [None, alice, bob, alice]
    with Restorer(bundle, device="cpu", max_batch=3) as batched:
        together = batched.restore_batch(pictures, points, people)
        alone = [
            batched.restore_aligned(*each) for each in zip(pictures, points, people, strict=True)
        ]
    assert all(levels(one, other) <= 1 for one, other in zip(together, alone, strict=True))
    # and they are not all the same anyway
    assert levels(alone[0], alone[1]) > 10
    assert levels(alone[2], alone[3]) > 10


def test_an_outsiders_rows_change_nothing(
    restorer: Restorer, faces: list[Face], alice: SpecificDictionary, bob: SpecificDictionary
) -> None:
    face, points = faces[1]
    mine = restorer.restore_aligned(face, points, bob)
    assert levels(mine, restorer.restore_aligned(face, points, alice.merge(bob))) > 1


def test_memorize_is_row_by_row(
    restorer: Restorer, bundle: Path, faces: list[Face], alice: SpecificDictionary
) -> None:
    assert len(alice) == 3
    pictures, points = zip(*faces, strict=True)
    with Restorer(bundle, device="cpu", max_batch=8) as batched:
        both = batched.memorize(pictures, points)
    np.testing.assert_allclose(both.rows[0], alice.rows[0], atol=1e-5)
    single = restorer.memorize([pictures[1]], [points[1]])
    np.testing.assert_allclose(both.rows[1], single.rows[0], atol=1e-5)


def test_colour_order(restorer: Restorer, faces: list[Face]) -> None:
    face, points = faces[1]
    bgr = restorer.restore_aligned(face, points)
    rgb = restorer.restore_aligned(face[:, :, ::-1], points, color="rgb")
    assert (bgr == rgb[:, :, ::-1]).all()


def test_other_sizes_take_their_landmarks_along(restorer: Restorer, faces: list[Face]) -> None:
    face, points = faces[1]
    big = cv2.resize(face, (1024, 1024), interpolation=cv2.INTER_NEAREST)
    plain = restorer.restore_aligned(face, points)
    assert levels(plain, restorer.restore_aligned(big, points * 2)) <= 1


def test_half_precision(half_bundle: Path, restorer: Restorer, faces: list[Face]) -> None:
    face, points = faces[0]
    with pytest.warns(DmdnetWarning, match="slower on a CPU"):
        half = Restorer(half_bundle, device="cpu")
    bob = half.memorize([face], [points])
    assert bob.rows.dtype == np.float16
    wide = restorer.memorize([face], [points])
    assert np.abs(bob.rows - wide.rows).max() < 0.01
    exact = restorer.restore_aligned(face, points, wide)
    assert cv2.PSNR(half.restore_aligned(face, points, bob), exact) > 50
    # one person's file serves both bundles of the same weights
    assert cv2.PSNR(half.restore_aligned(face, points, wide), exact) > 50
    assert cv2.PSNR(restorer.restore_aligned(face, points, bob), exact) > 50


def test_many_threads(restorer: Restorer, faces: list[Face], bob: SpecificDictionary) -> None:
    alone = [restorer.restore_aligned(*face, bob) for face in faces]
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(restorer.restore_aligned, *face, bob) for face in faces * 12]
    for call, expected in zip(calls, alone * 12, strict=True):
        assert (call.result() == expected).all()


def test_closed(bundle: Path, faces: list[Face]) -> None:
    with Restorer(bundle, device="cpu") as restorer:
        pass
    with pytest.raises(ClosedError, match="this Restorer is closed"):
        restorer.restore_aligned(*faces[0])
    with pytest.raises(ClosedError, match="this Restorer is closed"):
        restorer.memorize([faces[0][0]], [faces[0][1]])
    restorer.close()


def test_devices(bundle: Path, restorer: Restorer) -> None:
    assert "CPUExecutionProvider" in restorer.backend
    with pytest.raises(DeviceError, match="tpu"):
        Restorer(bundle, device="tpu")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(DeviceError, match="offers no CUDAExecutionProvider"):
            Restorer(bundle, device="cuda")


def test_a_provider_that_is_not_obtained_is_an_error(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA build without a driver: ONNX Runtime lists the provider, and goes on without it."""
    monkeypatch.setattr(
        "onnxruntime.get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    with pytest.raises(DeviceError, match="could not start"):
        Restorer(bundle, device="cuda")
    with pytest.warns(DmdnetWarning, match="using cpu"):
        restorer = Restorer(bundle, device="auto")
    assert "CPUExecutionProvider" in restorer.backend


def test_wrong_arguments(restorer: Restorer, bundle: Path, faces: list[Face]) -> None:
    face, points = faces[0]
    with pytest.raises(InvalidLandmarksError, match="reference 0: "):
        restorer.memorize([face, face], [points[:5], points])
    with pytest.raises(UsageError, match="2 faces, 1 landmarks"):
        restorer.restore_batch([face, face], [points])
    with pytest.raises(UsageError, match="0 references"):
        restorer.memorize([], [])
    assert restorer.restore_batch([], []) == []
    with pytest.raises(UsageError, match="threads"):
        Restorer(bundle, threads=0)
    with pytest.raises(UsageError, match="min_face"):
        Restorer(bundle, min_face=0)
    with pytest.raises(UsageError, match="max_batch"):
        Restorer(bundle, max_batch=0)


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(
    bundle: Path, half_bundle: Path, restorer: Restorer, faces: list[Face]
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDAExecutionProvider (onnxruntime-gpu has)")
    pictures, points = zip(*faces, strict=True)
    person = restorer.memorize(pictures, points)
    expected = restorer.restore_batch(pictures, points, [None, person])
    for folder, decibels in ((bundle, 60), (half_bundle, 50)):
        with Restorer(folder, device="cuda") as cuda:
            own = cuda.memorize(pictures, points)
            for out, wanted in zip(
                cuda.restore_batch(pictures, points, [None, own]), expected, strict=True
            ):
                assert cv2.PSNR(out, wanted) > decibels
