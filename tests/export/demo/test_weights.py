"""Which weights the demo takes when nobody names any, and when somebody does."""

from pathlib import Path

import pytest

from export.demo.weights import choose_checkpoint
from export.model.checkpoint import PUBLISHED_URL


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloaded weights, empty; and nothing in the environment names others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DMDNET_CHECKPOINT", raising=False)
    folder = tmp_path / "dmdnet-runtime"
    folder.mkdir()
    return folder


def test_compact_where_nothing_else_is_here(cache: Path) -> None:
    assert choose_checkpoint()[0] == "compact"
    (cache / "DMDNet.pth.part").touch()  # half of a download
    assert choose_checkpoint()[0] == "compact"


def test_published_where_they_are_here(cache: Path) -> None:
    (cache / "DMDNet.pth").touch()
    assert choose_checkpoint()[0] == PUBLISHED_URL


@pytest.mark.parametrize("name", ["/somewhere/DMDNet.pth", "https://example.org/a.pth"])
def test_the_environment_comes_first(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (cache / "DMDNet.pth").touch()
    monkeypatch.setenv("DMDNET_CHECKPOINT", name)
    assert choose_checkpoint() == (name, "DMDNET_CHECKPOINT names them")
    monkeypatch.setenv("DMDNET_CHECKPOINT", "")
    assert choose_checkpoint()[0] == PUBLISHED_URL
