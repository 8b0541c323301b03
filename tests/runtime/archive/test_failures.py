"""What one picture raises is its own error; only three things end a run."""

import errno
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from runtime import (
    ClosedError,
    DeviceError,
    DeviceMemoryError,
    DmdnetWarning,
    EngineCallError,
    InvalidLandmarksError,
    OutputError,
    RemoteError,
    Restored,
    Restorer,
)
from runtime.archive import local
from runtime.archive.job import Job, Outcome, Picture
from runtime.archive.local import restore_archive
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.opening import open_bundle
from runtime.images.files import Photo, decode_photo, write_image
from tests.conftest import SAMPLES, picture
from tests.fakes.engines import FakeEngine

PHOTO = SAMPLES / "photos/astronaut.png"


@dataclass(frozen=True)
class With(Job):
    """The job with an engine of the test's own."""

    engine: Any = None

    def open(self) -> Restorer:
        return Restorer(self.bundle, engine=self.engine)


class Failing(FakeEngine):
    """Raises `error` for a dark face."""

    error: Exception = AssertionError("there should be no dark face")

    def __init__(self) -> None:
        super().__init__(self.invert)

    def invert(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.mean() < 20:
            raise self.error
        return 255 - image


@pytest.fixture
def engine() -> Failing:
    return Failing()


@pytest.fixture
def job(bundle: Path, tmp_path: Path, engine: Failing) -> Job:
    return With(bundle, str(tmp_path / "out"), engine=engine)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    """Five photos of one face, of which the third is dark."""
    photo = picture(PHOTO)[:300, :350]
    for name in "abcde":
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo // 8 if name == "c" else photo)
    return [Picture(str(tmp_path / f"{name}.png")) for name in "abcde"]


def run(job: Job, pictures: Iterable[Picture]) -> tuple[list[Outcome], Exception | None]:
    """What became of the pictures, and what ended the run, if anything did."""
    found: list[Outcome] = []
    try:
        for outcome in restore_archive(job, pictures):
            found.append(outcome)
    except Exception as error:
        return found, error
    return found, None


def done(outcomes: Iterable[Outcome]) -> str:
    return "".join(sorted(Path(each.input).stem for each in outcomes if each.error is None))


@pytest.mark.parametrize(
    "kind",
    [TypeError, IndexError, NotImplementedError, AttributeError, ValueError, RecursionError],
)
def test_whatever_reading_raises(
    kind: type[Exception], job: Job, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoding(data: bytes, name: str, max_pixels: int) -> Photo:
        if "c.png" in name:
            raise kind("a decoder's own\n fault")
        return decode_photo(data, name, max_pixels)

    monkeypatch.setattr(local, "decode_photo", decoding)
    found, end = run(job, pictures)
    assert end is None
    assert done(found) == "abde"
    (bad,) = (each for each in found if each.error)
    assert bad.error == f"{bad.input}: {kind.__name__}: a decoder's own fault"
    assert bad.trace is not None
    assert "in decoding" in bad.trace
    assert bad.record() == {"input": bad.input, "output": None, "error": bad.error, "notes": []}


def test_names_that_nothing_can_have(job: Job, pictures: list[Picture]) -> None:
    data = Path(pictures[0].name).read_bytes()
    long = "n" * 300 + ".png"
    bad = [Picture("x\0y.png"), Picture("http://[x/y.png"), Picture(""), Picture("/" + long)]
    bad += [Picture("x\0z.png", data), Picture(long, data), Picture("\ud83d.png", data)]
    found, end = run(job, [*bad, *pictures[:2], Picture("t.parquet", error=ValueError("torn"))])
    assert end is None
    assert done(found) == "ab"
    assert len(found) == len(bad) + 3
    assert "t.parquet: ValueError: torn" in [each.error for each in found]
    for each in found:
        assert each.error is None or each.error.isprintable()


@pytest.mark.parametrize(
    "error",
    [RuntimeError("cuDNN"), MemoryError(), EngineCallError("no memory"), DeviceMemoryError("full")],
)
def test_a_picture_that_the_engine_fails_at(
    error: Exception, engine: Failing, job: Job, pictures: list[Picture]
) -> None:
    engine.error = error
    found, end = run(job, pictures)
    assert end is None
    assert done(found) == "abde"
    assert len(found) == 5


@pytest.mark.parametrize(
    "error", [DeviceError("gone"), RemoteError("cannot be reached"), ClosedError()]
)
def test_an_engine_that_is_gone_ends_the_run(
    error: Exception, engine: Failing, job: Job, pictures: list[Picture]
) -> None:
    """What was restored before is written and told; `resume` does the rest."""
    engine.error = error
    found, end = run(job, pictures)
    assert end is error
    assert done(found) == "ab"
    assert len(found) == 2
    assert {file.name for file in Path(job.out).iterdir()} == {"a.png", "b.png"}
    engine.error = RuntimeError("a picture's own")
    found, end = run(replace(job, resume=True), pictures)
    assert end is None
    assert [each.there for each in found].count(True) == 2
    assert done(found) == "abde"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_folder_that_cannot_be_written_ends_the_run(
    number: int, job: Job, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    def writing(path: str, *more: Any) -> tuple[str, ...]:
        if "c.png" in path:
            raise OSError(number, "refused", path)
        return write_image(path, *more)

    Path(pictures[2].name).write_bytes(Path(pictures[3].name).read_bytes())
    monkeypatch.setattr(local, "write_image", writing)
    found, end = run(job, pictures)
    assert isinstance(end, OutputError)
    assert str(end) == f"{job.out}: cannot be written: refused"
    assert set("ab") <= set(done(found))
    monkeypatch.setattr(local, "write_image", write_image)
    found, end = run(replace(job, resume=True), pictures)
    assert (end, done(found)) == (None, "abcde")


def test_a_folder_that_is_removed_ends_the_run(job: Job, pictures: list[Picture]) -> None:
    outcomes = restore_archive(job, [pictures[0]] * 40)
    next(outcomes)  # long before the others are done
    Path(job.out).rename(f"{job.out}.away")
    with pytest.raises(OutputError, match="cannot be written"):
        list(outcomes)


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL])
def test_a_name_that_cannot_be_written_is_one_picture(
    number: int, job: Job, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    def writing(path: str, *more: Any) -> tuple[str, ...]:
        if "b.png" in path:
            raise OSError(number, "refused", path)
        return write_image(path, *more)

    monkeypatch.setattr(local, "write_image", writing)
    found, end = run(job, [*pictures[:2], *pictures[3:]])
    assert end is None
    assert done(found) == "ade"


def test_onnx_runtime_failing_at_a_call(bundle: Path) -> None:
    backend = open_backend(open_bundle(bundle), Choice("cpu"))
    with pytest.raises(EngineCallError, match="ONNX Runtime failed at this engine call: "):
        backend.memorize(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 4, 4), np.int32))


class _Detector:
    """A caller's own landmark detector, with a fault of its own in dark faces."""

    def __call__(self, face: NDArray[np.uint8]) -> ArrayLike:
        if face.mean() < 20:
            raise KeyError("its own")
        return np.loadtxt(SAMPLES / "astronaut.png.txt")


def test_a_callers_own_detector(bundle: Path) -> None:
    """Its exception stands in the photo's place, or comes through, as it is."""
    photo = picture(PHOTO)[:300, :350]
    aligned = picture(SAMPLES / "astronaut.png")
    columns = int(open_bundle(bundle).manifest.memorizer.outputs[0].shape[1])
    engine = FakeEngine(lambda image: 255 - image, columns)
    with Restorer(bundle, engine=engine, landmark_detector=_Detector()) as restorer:
        good, bad = restorer.restore_photos([photo, photo // 8])
        assert isinstance(good, Restored)
        assert repr(bad) == "KeyError('its own')"
        with pytest.raises(KeyError, match="its own"):
            restorer.restore(photo // 8)
        with pytest.raises(KeyError, match="its own") as raised:
            restorer.memorize([photo, photo // 8])
        assert raised.value.__notes__ == ["reference 1: KeyError: 'its own'"]
        with pytest.warns(DmdnetWarning, match="left out: reference 0: KeyError: 'its own'"):
            assert len(restorer.memorize([photo // 8, photo], skip_bad=True)) == 1
        with pytest.raises(InvalidLandmarksError, match="face 1: landmarks"):
            restorer.restore_batch([aligned, aligned], [None, [1]])
