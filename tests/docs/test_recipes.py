"""What the recipes do when something fails or is cancelled: with engines that fail or wait."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runtime import Face, RemoteError, Restorer
from runtime.images.arrays import Image
from tests.docs.blocks import blocks
from tests.docs.conftest import NewFolder
from tests.fakes.engines import FakeEngine

PAGE = "docs/recipes.md"
Recipe = Callable[[str], Any]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A file of the page as a module, by its name without `.py`."""

    def recipe(name: str) -> Any:
        (text,) = (b.text for b in blocks(PAGE, "python") if b.text.startswith(f"# {name}.py\n"))
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(text, PAGE, "exec"), vars(module))
        return module

    return recipe


@pytest.fixture
def folder(new_folder: NewFolder) -> Path:
    """The readers' folder, with a file among the photos that is no picture."""
    folder = new_folder()
    (folder / "photos" / "0.jpg").write_bytes(b"not a picture")
    return folder


class Gate:
    """Holds faces in the engine until it is opened."""

    def __init__(self) -> None:
        self.entered, self._open = threading.Semaphore(0), threading.Event()

    def __call__(self, image: Image) -> Image:
        self.entered.release()
        assert self._open.wait(60)
        return 255 - image

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()  # a test that failed leaves no thread behind


@pytest.fixture
def waiting(bundle: Path, gate: Gate) -> Restorer:
    """A Restorer whose faces wait at the gate."""
    return Restorer(bundle, engine=FakeEngine(gate))


def test_a_job_reports_each_photo(recipe: Recipe, folder: Path, bundle: Path) -> None:
    said: list[Any] = []
    photos = sorted((folder / "photos").iterdir())
    with Restorer(bundle, engine=FakeEngine(lambda image: 255 - image)) as restorer:
        job = recipe("restoring").RestoreJob(restorer, photos, folder / "restored", said.append)
        job.start()
        job.join()
    assert [(each.done, each.total, each.finished) for each in said] == [
        (1, 3, False),
        (2, 3, False),
        (3, 3, False),
        (3, 3, True),
    ]
    assert said[0].error == "0.jpg: not a picture that OpenCV reads"
    assert [each.error for each in said[1:]] == [None] * 3
    assert {each.name for each in (folder / "restored").iterdir()} == {"1.png", "2.png"}


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_job_ends_early(
    how: str, recipe: Recipe, folder: Path, gate: Gate, waiting: Restorer
) -> None:
    """Cancelled, it ends after the photo in work; closed, it begins no other."""
    said: list[Any] = []
    photos = [folder / "photo.jpg"] * 3
    job = recipe("restoring").RestoreJob(waiting, photos, folder / "restored", said.append)
    job.start()
    assert gate.entered.acquire(timeout=60)
    job.cancel() if how == "cancel" else waiting.close()
    gate.open()
    job.join()
    assert [(each.done, each.error, each.finished) for each in said] == [
        (1, None, False),
        (1, None, True),
    ]


def test_the_service_refuses_and_forgets(
    recipe: Recipe, folder: Path, gate: Gate, waiting: Restorer
) -> None:
    """A place is free again when its photo leaves the queue, and not before its thread is done."""
    module = recipe("service")
    photo = (folder / "photo.jpg").read_bytes()

    async def scene() -> None:
        service = module.Service(waiting, workers=1, waiting=2)
        running, queued = (asyncio.create_task(module.answer(service, photo)) for _ in range(2))
        assert await asyncio.to_thread(gate.entered.acquire, timeout=60)
        assert (await module.answer(service, photo))[0] == 503
        queued.cancel()
        await asyncio.wait([queued])
        other = asyncio.create_task(module.answer(service, b"not a picture"))  # in its place
        await asyncio.sleep(0)
        assert (await module.answer(service, photo))[0] == 503
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        assert (await module.answer(service, photo))[0] == 503  # its thread works on
        gate.open()
        assert await other == (422, b"not a JPEG, PNG or WebP picture, or a damaged one")
        status, answer = await module.answer(service, photo)
        assert (status, answer[:4]) == (200, b"\x89PNG")
        await service.close()

    asyncio.run(scene())
    assert gate.entered.acquire(timeout=0)  # the last photo, after the first; no other ran
    assert not gate.entered.acquire(timeout=0)


def test_the_service_gives_up(
    recipe: Recipe, folder: Path, gate: Gate, waiting: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = recipe("service")
    monkeypatch.setattr(module, "TIMEOUT_S", 0.01)

    async def scene() -> None:
        service = module.Service(waiting)
        assert (await module.answer(service, (folder / "photo.jpg").read_bytes()))[0] == 504
        gate.open()
        await service.close()

    asyncio.run(scene())


def test_the_service_refuses_large_pictures(
    recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = recipe("service")
    monkeypatch.setattr(module, "MAX_PIXELS", 1000)
    with pytest.raises(module.InvalidImageError, match="more than 1,000 pixels"):
        module.decode((folder / "photo.jpg").read_bytes())


def test_a_batch_is_resumed(recipe: Recipe, folder: Path, bundle: Path) -> None:
    module, out = recipe("batch"), folder / "restored"
    engine = FakeEngine(lambda image: 255 - image)
    with Restorer(bundle, engine=engine) as restorer:
        failed = module.restore_folder(restorer, folder / "photos", out)
        assert failed == [f"{folder}/photos/0.jpg: not a picture that OpenCV reads"]
        assert {each.name for each in out.iterdir()} == {"1.jpg.png", "2.jpg.png"}
        assert len(engine.calls) == 2
        (out / "2.jpg.png").unlink()
        module.restore_folder(restorer, folder / "photos", out)
        assert len(engine.calls) == 3
        assert (out / "2.jpg.png").is_file()


def test_a_batch_ends_with_its_engine(recipe: Recipe, folder: Path, bundle: Path) -> None:
    def gone(image: Image) -> Image:
        raise RemoteError("the server is gone")

    with (
        Restorer(bundle, engine=FakeEngine(gone)) as restorer,
        pytest.raises(RemoteError, match="gone"),
    ):
        recipe("batch").restore_folder(restorer, folder / "photos", folder / "restored")
    assert not list((folder / "restored").iterdir())


def test_which_face(recipe: Recipe) -> None:
    module = recipe("one_known")
    assert module.largest([]) is None
    assert module.face_at([], 1, 1) is None
    none = np.empty(0)
    faces = [Face(np.array(box, float), 1.0, none, none) for box in ([0, 0, 9, 9], [20, 0, 60, 40])]
    assert module.largest(faces) == 1
    assert [module.face_at(faces, x, 5) for x in (5, 15, 25)] == [0, None, 1]
