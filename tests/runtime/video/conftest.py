"""Clips of which the truth is known, and Restorers whose work is easy to see."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.measure.clips import Clip
from benchmarks.studies.video.engines import NegativeEngine
from runtime import Restorer, SpecificDictionary
from runtime.samples.faces import samples
from tests.clips import written
from tests.conftest import Once
from tests.fakes.bundle import write_bundle

Clips = Callable[[str], Clip]


@pytest.fixture(scope="session")
def clip(once: Once) -> Clips:
    """Each of `benchmarks.measure.clips.RECIPES` by its name, written when it is asked for."""
    return lambda name: written(once, name)


@pytest.fixture(scope="session")
def echo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network gives faces back as they are."""
    folder = tmp_path_factory.mktemp("echo") / "bundle"
    write_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def echo(echo_bundle: Path) -> Iterator[Restorer]:
    with Restorer(echo_bundle, device="cpu") as restorer:
        yield restorer


@pytest.fixture(scope="session")
def negative(echo_bundle: Path) -> Iterator[Restorer]:
    """Its network makes negatives of the faces."""
    with Restorer(echo_bundle, engine=NegativeEngine()) as restorer:
        yield restorer


@pytest.fixture(scope="session")
def both(echo: Restorer) -> list[SpecificDictionary]:
    """The two people of the clips, by the names of their samples."""
    return [echo.memorize([each.image], [each.landmarks], name=each.name) for each in samples()]
