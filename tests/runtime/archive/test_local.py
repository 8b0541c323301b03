"""Pictures in groups, from URLs, and errors that stay with the picture that has them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from numpy.typing import NDArray

from runtime import DeviceError, Restored, RestoreOptions, Restorer
from runtime.archive import local
from runtime.archive.job import Job, Outcome, Picture
from runtime.archive.local import restore_archive
from runtime.bundle.opening import open_bundle
from runtime.errors import InvalidImageError, UsageError
from runtime.images.files import Photo, decode_photo, read_image, write_image
from tests.conftest import SAMPLES, levels, picture
from tests.fakes.engines import FakeEngine

PHOTOS = SAMPLES / "photos"


@dataclass(frozen=True)
class Grouped(Job):
    """Eight faces in an engine call, as on a GPU."""

    def open(self) -> Restorer:
        return Restorer(self.bundle, device="cpu", max_batch=8, threads=self.threads)


def results(outcomes: Iterator[Outcome]) -> dict[str, str | None]:
    found = list(outcomes)
    by_name = {Path(outcome.input).name: outcome.error for outcome in found}
    assert len(by_name) == len(found)
    return by_name


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def photos(tmp_path: Path) -> list[Picture]:
    """Photos of one face, of two, of none, broken ones, and aligned faces with landmarks."""
    folder = tmp_path / "in"
    folder.mkdir()
    one, other = picture(PHOTOS / "astronaut.png"), picture(PHOTOS / "grace_hopper.jpg")
    both = np.hstack([one, other[: len(one)]])
    pictures = {"a": one, "b": both, "c": np.full_like(one, 9), "d": other, "e": one[:, ::-1]}
    for name, image in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), image)
    whole = (folder / "a.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    for name in ("f.png", "g.png"):
        (folder / name).write_bytes((SAMPLES / "astronaut.png").read_bytes())
        points = (SAMPLES / "astronaut.png.txt").read_text()
        (folder / f"{name}.txt").write_text(points if name == "f.png" else "1 2\n" * 68)
    return [Picture(str(file)) for file in sorted(folder.glob("*.png"))]


def test_groups_change_nothing(photos: list[Picture], bundle: Path, tmp_path: Path) -> None:
    """Outputs, errors and notes are those of one picture at a time.

    Products of more rows may be rounded otherwise: a level is allowed.
    """
    needs_faces = RestoreOptions(require_face=True)
    alone = Job(bundle, str(tmp_path / "alone"), device="cpu", draw=True, options=needs_faces)
    grouped = Grouped(bundle, str(tmp_path / "grouped"), draw=True, options=needs_faces)
    expected = results(restore_archive(alone, photos))
    assert results(restore_archive(grouped, photos)) == expected
    assert {name for name, error in expected.items() if error} == {"c.png", "broken.png", "g.png"}
    assert "no face" in str(expected["c.png"])
    assert "left eye" in str(expected["g.png"])
    names = content(tmp_path / "alone").keys()
    assert content(tmp_path / "grouped").keys() == names
    assert len(names) == 2 * 5
    for name in names:
        one, other = (read_image(tmp_path / run / name) for run in ("alone", "grouped"))
        assert levels(one, other) <= 1


def test_outcomes_come_in_the_order_of_the_pictures(
    photos: list[Picture], bundle: Path, tmp_path: Path
) -> None:
    """Bad ones too, on more threads than there are cores, and also those that are there."""
    job = Grouped(bundle, str(tmp_path / "out"), threads=4)
    names = [each.name for each in photos]
    assert [each.input for each in restore_archive(job, photos)] == names
    again = list(restore_archive(replace(job, resume=True), photos))
    assert [each.input for each in again] == names
    assert [each.there for each in again] == [each.error is None for each in again]


def test_pixels_on_their_way_are_bounded(
    photos: list[Picture], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is room for none of them, each goes alone, whatever becomes of it."""
    begun: list[str] = []
    done: list[str] = []

    def decoding(data: bytes, name: str, max_pixels: int) -> Photo:
        begun.append(name)
        assert len(begun) == len(done) + 1
        try:
            return decode_photo(data, name, max_pixels)
        except InvalidImageError:
            done.append(name)
            raise

    def writing(path: str, *more: Any) -> tuple[str, ...]:
        notes = write_image(path, *more)
        done.append(path)
        return notes

    monkeypatch.setattr(local, "_PIXELS", 0)
    monkeypatch.setattr(local, "decode_photo", decoding)
    monkeypatch.setattr(local, "write_image", writing)
    some = [photo for photo in photos if Path(photo.name).name in ("a.png", "broken.png", "d.png")]
    job = Grouped(bundle, str(tmp_path / "out"), threads=4)
    assert [each.error is None for each in restore_archive(job, some)] == [True, False, True]
    assert len(begun) == len(done) == 3


def test_faces_of_several_photos_share_a_call(bundle: Path) -> None:
    one, other = picture(PHOTOS / "astronaut.png"), picture(PHOTOS / "grace_hopper.jpg")
    nobody = np.full_like(one, 9)
    columns = int(open_bundle(bundle).manifest.memorizer.outputs[0].shape[1])
    engine = FakeEngine(lambda image: 255 - image, columns, max_batch=8)
    with Restorer(bundle, engine=engine) as restorer:
        alice = restorer.memorize([one])
        single = [restorer.restore(one, alice).image, restorer.restore(other).image]
        engine.calls.clear()
        found = restorer.restore_photos(
            [one, nobody, other[:9], other, one],
            identities=[{0: alice}, {}, {}, {5: alice}, {}],
            options=RestoreOptions(require_face=True),
        )
        assert engine.calls == [3]
        kinds = [type(result).__name__ for result in found]
        assert kinds == ["Restored", "NoFaceError", "InvalidImageError", "Restored", "Restored"]
        assert isinstance(found[0], Restored)
        assert isinstance(found[3], Restored)
        assert (found[0].image == single[0]).all()
        assert (found[3].image == single[1]).all()
        assert found[3].warnings == ("identities for faces that were not found: [5]",)
        with pytest.raises(UsageError, match="2 photos and 1"):
            restorer.restore_photos([one, other], identities=[{}])


def test_an_engine_that_fails_fails_for_one_photo(bundle: Path) -> None:
    one, other = picture(PHOTOS / "astronaut.png"), picture(PHOTOS / "grace_hopper.jpg")
    seen: list[NDArray[np.uint8]] = []

    def failing(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen.append(image)
        if len(image) > 1 or (image[0] == seen[0][1]).all():  # the second photo's face
            raise DeviceError("too much")
        return 255 - image

    with Restorer(bundle, engine=FakeEngine(failing, max_batch=8)) as restorer:
        good, bad = restorer.restore_photos([one, other])
        assert isinstance(good, Restored)
        assert isinstance(bad, DeviceError)
        assert [len(image) for image in seen] == [2, 1, 1]
    with Restorer(bundle, engine=FakeEngine(lambda image: 255 - image)) as restorer:
        assert (good.image == restorer.restore(one).image).all()


class Store(MemoryFileSystem):  # type: ignore[misc]
    """An object store of this process."""

    protocol = "s3"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs: list[str] = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("s3://")))


@pytest.fixture
def store() -> Iterator[Store]:
    fsspec.register_implementation("s3", Store, clobber=True)
    yield Store()
    Store.store.clear()


def test_urls(store: Store, bundle: Path, tmp_path: Path) -> None:
    """Listed, read, written and resumed in an object store; the files are those of the disk."""
    from runtime.cli.inputs import picture_files

    for file in PHOTOS.iterdir():
        store.pipe_file(f"/photos/{file.name}", file.read_bytes())
    store.pipe_file("/photos/notes.txt", b"not a picture")
    names = picture_files(["s3://photos"])
    assert [Path(name).name for name in names] == ["astronaut.png", "grace_hopper.jpg"]
    assert picture_files(["s3://photos/*.png"]) == names[:1]
    job = Job(bundle, "s3://restored/by us", device="cpu", draw=True)
    pictures = [*map(Picture, names), Picture("s3://photos/none.png")]
    errors = results(restore_archive(job, pictures))
    assert errors.pop("none.png") == "s3://photos/none.png: no such file"
    assert set(errors.values()) == {None}

    disk = replace(job, out=str(tmp_path))
    list(restore_archive(disk, [Picture(str(file)) for file in PHOTOS.iterdir()]))
    uploaded = {
        Path(name).name: store.cat_file(name) for name in store.ls("/restored/by us", False)
    }
    assert uploaded == content(tmp_path)

    again = replace(job, resume=True)
    assert [outcome.there for outcome in restore_archive(again, pictures[:2])] == [True, True]


def test_a_table_may_not_overwrite_its_pictures(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes((PHOTOS / "astronaut.png").read_bytes())
    before = file.read_bytes()
    job = Job(bundle, str(tmp_path), device="cpu")
    (error,) = results(restore_archive(job, [Picture(str(file))])).values()
    assert "would be overwritten" in str(error)
    assert file.read_bytes() == before


def test_names_that_cannot_be(bundle: Path, tmp_path: Path) -> None:
    """Each is the error of its own picture, also where a table has it."""
    good = (SAMPLES / "astronaut.png").read_bytes()
    names = {
        "": "a picture without a name",
        "a\0.png": "NUL",
        "http://x/%00.png": "NUL",
        "http://[x/b.png": "cannot be read",
        "c\ud800.png": "surrogate",
        "zip://d.png::http://127.0.0.1:9/x.zip": "not opened",
        "simplecache::http://127.0.0.1:9/e.png": "not opened",
        "file://host/f.png": "another machine",
        f"{'g' * 300}.png": "too long",
        str(tmp_path / f"{'h' * 251}.png"): "no such file",
    }
    pictures = [Picture(name) for name in names]
    pictures += [
        Picture("i.png", good),
        Picture("j.png", good + bytes(9)),
        Picture("k\0.png", good),
    ]
    job = Job(bundle, str(tmp_path / "out"), device="cpu", max_bytes=len(good))
    outcomes = list(restore_archive(job, pictures))
    assert [outcome.input for outcome in outcomes if not outcome.error] == ["i.png"]
    errors = {outcome.input: str(outcome.error) for outcome in outcomes}
    names |= {"i.png": "None", "j.png": "larger than the limit", "k\0.png": "NUL"}
    assert [name for name, says in names.items() if says not in errors[name]] == []
    assert len(outcomes) == len(names)


def test_long_names(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / f"http#{'x' * 246}.png"
    file.write_bytes((SAMPLES / "astronaut.png").read_bytes())
    job = Job(bundle, str(tmp_path / "out"), device="cpu")
    assert results(restore_archive(job, [Picture(str(file))])) == {file.name: None}
    assert [path.name for path in (tmp_path / "out").iterdir()] == [file.name]


def test_urls_that_cannot_be(bundle: Path) -> None:
    for out, says in {"https://x/y": "must be a folder, or one of", "nope://x": "must be"}.items():
        with pytest.raises(UsageError, match=says):
            next(restore_archive(Job(bundle, out, device="cpu"), []))
    job = Job(bundle, "out", device="cpu")
    assert job.output_of("https://x/a%20b.JPG?size=9/c.png") == "out/a b.JPG"
    assert job.output_of("s3://x/../a.gif") == "out/a.gif.png"


def test_what_the_outputs_format_cannot_hold_is_noted(bundle: Path, tmp_path: Path) -> None:
    """A 16-bit PNG by the name of a JPEG came out white."""
    photo = picture(PHOTOS / "astronaut.png")
    deep = cv2.imencode(".png", photo.astype(np.uint16) * 257)[1].tobytes()
    job = Job(bundle, str(tmp_path / "out"), device="cpu")
    (outcome,) = restore_archive(job, [Picture("x.jpg", deep)])
    assert outcome.error is None
    assert [note for note in outcome.notes if "16 bits a channel were scaled to 8" in note]
    written = picture(tmp_path / "out" / "x.jpg")
    assert np.abs(written.mean() - photo.mean()) < 5
