"""What a worker does with pictures that others died on, without a cluster."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime import Restorer
from runtime.archive import ray_worker
from runtime.archive.job import Job, Picture
from runtime.archive.ray_worker import Ledger, Worker
from tests.fakes.bundle import COLUMNS, write_bundle
from tests.fakes.engines import FakeEngine


class Faked(Job):
    """Its engine gives faces back."""

    def open(self) -> Restorer:
        return Restorer(self.bundle, engine=FakeEngine(lambda image: image, COLUMNS), threads=1)


class Near:
    """A ledger of this process, called as one of the cluster is."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._ledger, name))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_what_three_workers_died_on(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up; of a clip, which may be long, the work so far is not lost."""
    monkeypatch.setattr(ray_worker, "load_ray", lambda: SimpleNamespace(get=lambda found: found))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # a worker replaces it
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    ledger = Ledger()
    for name in 3 * ("a.png", "a.mp4"):
        ledger.begin(name)
    worker = Worker(Faked(bundle, str(tmp_path / "out")), Near(ledger), tmp_path)
    photo, clip = worker._restore([Picture("a.png"), Picture("a.mp4")])
    worker._restorer.close()
    assert photo.error == "a.png: the worker died on this picture 3 times"
    assert clip.error == (
        "a.mp4: the worker died on this clip 3 times; --resume goes on from its finished segments"
    )
