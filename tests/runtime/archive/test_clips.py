"""A clip in an archive: one item beside photos, with its own report, resumed by its segments."""

import fcntl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from runtime import EngineCallError, RestoreOptions, Restorer
from runtime.archive.job import Job, Outcome, Picture
from runtime.archive.local import ArchiveRestorer, restore_archive
from runtime.archive.ray_driver import batches
from runtime.errors import DmdnetWarning, OutputError
from runtime.images.arrays import Image
from runtime.samples.faces import PHOTOS
from tests.conftest import Once
from tests.fakes.bundle import COLUMNS, write_bundle
from tests.fakes.engines import FakeEngine
from tests.runtime.video.making import RATE, decoded, moving_face, write_clip

pytest.importorskip("av")

FRAMES = 90  # more than one segment


@dataclass(frozen=True)
class Inverting(Job):
    """Its network inverts faces, and fails for good after so many calls."""

    most: int = 1 << 30

    def open(self) -> Restorer:
        calls = 0

        def work(image: Image) -> Image:
            nonlocal calls
            calls += 1
            if calls > self.most:
                raise EngineCallError("no more")
            return 255 - image

        return Restorer(self.bundle, engine=FakeEngine(work, COLUMNS), threads=1)


@pytest.fixture
def bundle(once: Once) -> Path:
    return once("echo", lambda path: write_bundle(path))


@pytest.fixture
def clip(once: Once) -> Path:
    return once("moving.mp4", lambda path: write_clip(path, moving_face(FRAMES)))


def only(outcomes: Iterator[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def test_clips_beside_photos(bundle: Path, clip: Path, tmp_path: Path) -> None:
    """In the order of the inputs; the report of each has what belongs to it."""
    shown: list[tuple[int, int | None]] = []

    def progress(name: str, done: int, total: int | None, fps: float) -> None:
        assert name == str(clip)
        assert fps > 0
        shown.append((done, total))

    photo = str(PHOTOS / "astronaut.png")
    job = Inverting(bundle, str(tmp_path / "out"))
    pictures = [Picture(photo), Picture(str(clip)), Picture(str(PHOTOS / "grace_hopper.jpg"))]
    outcomes = list(restore_archive(job, pictures, progress))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [outcome.input for outcome in outcomes] == [each.name for each in pictures]
    record = outcomes[1].record()
    assert record["output"] == str(tmp_path / "out" / clip.name)
    assert "faces" not in record
    assert record["clip"]["frames"] == FRAMES
    (track,) = record["clip"]["tracks"]
    assert (track["number"], track["frames"], track["begin"]) == (0, FRAMES, 0.0)
    assert track["end"] == pytest.approx((FRAMES - 1) / RATE, abs=1e-3)
    assert {"decode", "find", "network", "paste", "encode"} <= record["seconds"].keys()
    assert shown == [(done, FRAMES) for done in range(1, FRAMES + 1)]
    assert "clip" not in outcomes[0].record()
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(
        ["astronaut.png", "grace_hopper.jpg", clip.name]
    )


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"compare": True}, "--compare is for photos"),
        ({"draw": True}, "--draw is for photos"),
        ({"aligned": True}, "--aligned is for photos"),
        ({"landmarks": Path("points")}, "--landmarks is for photos"),
        ({"options": RestoreOptions(upscale=2)}, "--upscale is for photos"),
        ({"options": RestoreOptions("largest")}, "number of a track"),
    ],
)
def test_what_is_for_photos_only(
    bundle: Path, clip: Path, tmp_path: Path, changes: dict[str, Any], part: str
) -> None:
    job = replace(Inverting(bundle, str(tmp_path)), **changes)
    outcome = only(restore_archive(job, [Picture(str(clip))]))
    assert part in str(outcome.error)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_its_own_error(bundle: Path, clip: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    names = [str(bad), str(tmp_path / "missing.mkv"), "s3://bucket/a.mp4", str(clip)]
    job = Inverting(bundle, str(tmp_path / "out"))
    outcomes = list(restore_archive(job, map(Picture, names)))
    assert "bad.mp4: not a video" in str(outcomes[0].error)
    assert "missing.mkv: no such file" in str(outcomes[1].error)
    assert "download it first" in str(outcomes[2].error)
    assert outcomes[3].error is None


def test_a_clip_is_not_written_over_itself(bundle: Path, clip: Path, tmp_path: Path) -> None:
    job = Inverting(bundle, str(clip.parent))
    outcome = only(restore_archive(job, [Picture(str(clip))]))
    assert "would be overwritten" in str(outcome.error)


def test_resuming(bundle: Path, clip: Path, tmp_path: Path) -> None:
    """What is done is left out, what was begun is gone on with, and the frames are the same."""
    whole, parts = Inverting(bundle, str(tmp_path / "whole")), tmp_path / "parts"
    only(restore_archive(whole, [Picture(str(clip))]))
    failed = only(restore_archive(Inverting(bundle, str(parts), most=85), [Picture(str(clip))]))
    assert "no more" in str(failed.error)
    assert not (parts / clip.name).exists()
    again = Inverting(bundle, str(parts), resume=True)
    outcome = only(restore_archive(again, [Picture(str(clip))]))
    assert outcome.clip is not None
    assert outcome.clip["resumed"] == 75  # five seconds
    assert only(restore_archive(again, [Picture(str(clip))])).there
    pairs = zip(decoded(tmp_path / "whole" / clip.name), decoded(parts / clip.name), strict=True)
    assert all(one[0] == other[0] and (one[1] == other[1]).all() for one, other in pairs)
    assert [file.name for file in parts.iterdir()] == [clip.name]


def test_after_a_worker_died(bundle: Path, clip: Path, tmp_path: Path) -> None:
    """Its segments are taken on without `resume`, too; where there are none, a note says so."""
    out = tmp_path / "out"
    only(restore_archive(Inverting(bundle, str(out), most=85), [Picture(str(clip))]))
    restorer = ArchiveRestorer(Inverting(bundle, str(out)))
    resumed = only(restorer.restore([Picture(str(clip))], again=True))
    assert resumed.clip is not None
    assert (resumed.clip["resumed"], resumed.notes) == (75, ())
    (out / clip.name).unlink()
    anew = only(restorer.restore([Picture(str(clip))], again=True))
    restorer.close()
    assert anew.clip is not None
    assert anew.clip["resumed"] == 0
    assert "begun anew" in anew.notes[0]


def test_after_a_worker_with_another_engine_died(bundle: Path, clip: Path, tmp_path: Path) -> None:
    """Its segments do not fit to those of this one: they are dropped, and a note says so."""
    only(restore_archive(Inverting(bundle, str(tmp_path), most=85), [Picture(str(clip))]))
    weaker = RestoreOptions(strength=0.5)
    restorer = ArchiveRestorer(Inverting(bundle, str(tmp_path), options=weaker, resume=True))
    refused = only(restorer.restore([Picture(str(clip))]))
    assert "made with other settings" in str(refused.error)
    anew = only(restorer.restore([Picture(str(clip))], again=True))
    restorer.close()
    assert anew.clip is not None
    assert anew.clip["resumed"] == 0
    assert "begun anew" in anew.notes[0]


def test_each_clip_is_a_batch_of_its_own(clip: Path) -> None:
    names = ["a.jpg", str(clip), "b.jpg", "c.jpg", "d.mkv"]
    assert batches(names, 2) == [[str(clip)], ["d.mkv"], ["a.jpg", "b.jpg"], ["c.jpg"]]
    assert batches(names[2:4], 2) == [["b.jpg", "c.jpg"]]


class Store(MemoryFileSystem):  # type: ignore[misc]
    """An object store of this process."""

    protocol = "s3"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    fails: list[Exception] = []  # noqa: RUF012 - of the next uploads of files

    def put_file(self, *words: Any, **options: Any) -> None:
        if self.fails:
            raise self.fails.pop(0)
        super().put_file(*words, **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("s3://")))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Store]]:
    """An empty store, and a working directory that is empty, too."""
    fsspec.register_implementation("s3", Store, clobber=True)
    monkeypatch.chdir(tmp_path)
    yield Store
    Store.store.clear()
    Store.fails.clear()


def test_a_result_that_goes_to_a_url(
    bundle: Path, clip: Path, tmp_path: Path, store: type[Store]
) -> None:
    """It is made in a folder that is named, sent when it is whole, and nothing is left there."""
    job = Inverting(bundle, "s3://bucket/out")
    with pytest.warns(DmdnetWarning, match=r"dmdnet-video.*--resume goes on"):
        outcome = only(restore_archive(job, [Picture(str(clip))]))
    assert (outcome.error, outcome.output) == (None, f"s3://bucket/out/{clip.name}")
    assert len(store().cat(f"/bucket/out/{clip.name}")) > 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*dmdnet-video:runtime.errors.DmdnetWarning")
@pytest.mark.parametrize("error", [ConnectionError("reset"), PermissionError("denied")])
def test_an_upload_that_fails(
    bundle: Path, clip: Path, tmp_path: Path, store: type[Store], error: OSError
) -> None:
    """The result stays, the error says where, and `resume` sends it without any new work."""
    job = Inverting(bundle, "s3://bucket/out")
    store.fails.append(error)
    said = failure(job, clip)
    (made,) = tmp_path.glob("dmdnet-video/*/*")
    assert str(made) in said
    assert "--resume sends it" in said
    assert str(error) in said
    sent = only(restore_archive(replace(job, resume=True, most=0), [Picture(str(clip))]))
    assert (sent.error, sent.there) == (None, False)
    assert "sent now" in sent.notes[0]
    assert len(decoded_from(store, clip.name, tmp_path / "sent.mp4")) == FRAMES
    assert [file.name for file in tmp_path.iterdir()] == ["sent.mp4"]
    assert only(restore_archive(replace(job, resume=True), [Picture(str(clip))])).there


def failure(job: Job, clip: Path) -> str:
    """The error of a clip, or the one that ended the run."""
    try:
        return str(only(restore_archive(job, [Picture(str(clip))])).error)
    except OutputError as error:
        return str(error)


def decoded_from(store: type[Store], name: str, file: Path) -> list[Any]:
    file.write_bytes(store().cat(f"/bucket/out/{name}"))
    return decoded(file)


@pytest.mark.filterwarnings("ignore:.*dmdnet-video:runtime.errors.DmdnetWarning")
@pytest.mark.parametrize("out", ["out", "s3://bucket/out"])
def test_segments_beside_a_result(
    out: str, bundle: Path, clip: Path, tmp_path: Path, store: type[Store]
) -> None:
    """They are gone on with, and then the result is the one that was asked for last."""
    job = Inverting(bundle, out)
    assert only(restore_archive(job, [Picture(str(clip))])).error is None
    weaker = replace(job, options=RestoreOptions(strength=0.5))
    assert "no more" in failure(replace(weaker, most=85), clip)
    refused = only(restore_archive(replace(job, resume=True), [Picture(str(clip))]))
    assert "made with other settings" in str(refused.error)
    again = replace(weaker, resume=True)
    outcome = only(restore_archive(again, [Picture(str(clip))]))
    assert not outcome.there
    assert outcome.clip is not None
    assert outcome.clip["resumed"] == 75
    assert only(restore_archive(again, [Picture(str(clip))])).there


@pytest.mark.filterwarnings("ignore:.*dmdnet-video:runtime.errors.DmdnetWarning")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("out", ["out", "s3://bucket/out"])
def test_a_file_of_others_among_the_segments(
    out: str, fails: bool, bundle: Path, clip: Path, tmp_path: Path, store: type[Store]
) -> None:
    """As the Finder or a NAS puts it there; the folder stays with it, and the result is whole."""

    def visit(*told: object) -> None:
        (folder,) = tmp_path.rglob("*.segments")
        (folder / ".DS_Store").touch()

    job = Inverting(bundle, out)
    store.fails.extend([ConnectionError("reset")] * fails)
    restored = only(restore_archive(job, [Picture(str(clip))], visit))
    (folder,) = tmp_path.rglob("*.segments")
    assert [file.name for file in folder.iterdir()] == [".DS_Store"]
    again = replace(job, resume=True, most=0)
    if out == "out" or not fails:
        assert restored.error is None
    else:
        assert "--resume sends it" in str(restored.error)
        assert "sent now" in only(restore_archive(again, [Picture(str(clip))])).notes[0]
    assert only(restore_archive(again, [Picture(str(clip))])).there


@pytest.mark.filterwarnings("ignore:.*dmdnet-video:runtime.errors.DmdnetWarning")
def test_a_newer_result_that_was_not_sent(
    bundle: Path, clip: Path, tmp_path: Path, store: type[Store]
) -> None:
    """It is sent, though an older one is there."""
    job = Inverting(bundle, "s3://bucket/out")
    assert only(restore_archive(job, [Picture(str(clip))])).error is None
    store.fails.append(ConnectionError("reset"))
    assert "reset" in failure(job, clip)
    sent = only(restore_archive(replace(job, resume=True, most=0), [Picture(str(clip))]))
    assert (sent.error, sent.there) == (None, False)
    assert "sent now" in sent.notes[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*dmdnet-video:runtime.errors.DmdnetWarning")
def test_segments_that_were_begun_after_a_result(
    bundle: Path, clip: Path, tmp_path: Path, store: type[Store]
) -> None:
    """They are gone on with: the result before them is not the one that was asked for last."""
    job = Inverting(bundle, "s3://bucket/out")
    store.fails.append(ConnectionError("reset"))
    assert "reset" in failure(job, clip)
    assert "no more" in failure(replace(job, most=85), clip)
    outcome = only(restore_archive(replace(job, resume=True), [Picture(str(clip))]))
    assert outcome.clip is not None
    assert outcome.clip["resumed"] == 75
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*dmdnet-video:runtime.errors.DmdnetWarning")
def test_nothing_is_left_of_what_fails_at_once(
    bundle: Path, tmp_path: Path, store: type[Store]
) -> None:
    names = [str(tmp_path / "missing.mp4"), str(PHOTOS / "astronaut.png")]
    job = Inverting(bundle, "s3://bucket/out")
    first, second = restore_archive(job, map(Picture, names))
    assert "no such file" in str(first.error)
    assert second.error is None
    assert not list(tmp_path.iterdir())
    assert store.store


def test_a_dead_worker_that_still_holds_its_lock(bundle: Path, clip: Path, tmp_path: Path) -> None:
    """The next one waits until it is free; a run of its own does not."""
    out = tmp_path / "out"
    only(restore_archive(Inverting(bundle, str(out), most=85), [Picture(str(clip))]))
    lock = (out / f"{clip.name}.segments" / "lock").open("rb+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    restorer = ArchiveRestorer(Inverting(bundle, str(out), resume=True))
    refused = only(restorer.restore([Picture(str(clip))]))
    assert "another run is working" in str(refused.error)
    timer = threading.Timer(1.0, lock.close)
    timer.start()
    resumed = only(restorer.restore([Picture(str(clip))], again=True))
    timer.join()
    restorer.close()
    assert resumed.error is None
    assert resumed.clip is not None
    assert resumed.clip["resumed"] == 75


def test_a_photo_in_a_table_with_the_name_of_a_clip(bundle: Path, tmp_path: Path) -> None:
    data = (PHOTOS / "astronaut.png").read_bytes()
    outcome = only(restore_archive(Inverting(bundle, str(tmp_path)), [Picture("a.mp4", data)]))
    assert (outcome.error, outcome.output) == (None, str(tmp_path / "a.mp4.png"))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4.png"]
