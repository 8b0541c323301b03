"""Bundles to test with: the compact weights for speed, a full-size network for the goldens."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray

from benchmarks.studies.gpu.goldens import make_checkpoint
from calibration.options import Options
from export.bundle import export_bundle
from export.model.checkpoint import build_network
from export.model.graphs import RestorerGraph
from export.model.onnx_files import export_onnx
from export.model.synthetic import synthetic_state
from export.tensorrt.options import BuildOptions
from runtime.dictionary import SpecificDictionary
from runtime.images.files import read_image
from runtime.restorer import Restorer
from runtime.samples.faces import SAMPLES as SAMPLES  # tests import it from here
from runtime.samples.faces import samples
from runtime.scheduling.background import background_work

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("DMDNET_SHARED", ROOT.parent / "shared"))

ELSEWHERE = {"soak": "pytest -m soak", "long": "make test-all"}  # what runs the tests left out
_left_out: Counter[str] = Counter()
WORKER = os.environ.get("PYTEST_XDIST_WORKER")

Face = tuple[NDArray[np.uint8], NDArray[np.float64]]
BundleOf = Callable[[str], Path]
Command = Callable[..., subprocess.CompletedProcess[str]]
Once = Callable[[str, Callable[[Path], object]], Path]


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        _left_out.update([mark for mark in ELSEWHERE if item.get_closest_marker(mark)][:1])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if WORKER:  # pytest-xdist collects in its workers
        session.config.workeroutput["left_out"] = dict(_left_out)  # type: ignore[attr-defined]


def pytest_testnodedown(node: Any) -> None:
    """Take over a worker's counts, which are the same in each: all collect all tests."""
    dict.update(_left_out, getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for mark, count in _left_out.items():
        line = f"left out: {count} tests marked {mark}; they run with: {ELSEWHERE[mark]}"
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a file or folder by its name, once for all processes that the tests run in."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if WORKER else folder) / "once"
    folder.mkdir(exist_ok=True)

    def once(name: str, make: Callable[[Path], object]) -> Path:
        path = folder / name
        with FileLock(f"{path}.lock"):
            if not path.exists():
                make(path)
        return path

    return once


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "reference" / "golden").is_dir():
        pytest.skip(f"no shared data in {SHARED}; set DMDNET_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def narrow_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the published format, of a network that is narrow and restores nothing."""
    path = tmp_path_factory.mktemp("checkpoint") / "narrow.pth"
    torch.save(synthetic_state(seed=1, width=8, entries=4), path)
    return path


@pytest.fixture(scope="session")
def bundle(once: Once) -> Path:
    """A float32 bundle of the compact weights."""
    return once("fp32", lambda out: export_bundle(out, "fp32", "compact"))


@pytest.fixture(scope="session")
def half_bundle(once: Once) -> Path:
    """The same weights in float16."""
    return once("fp16", lambda out: export_bundle(out, "fp16", "compact"))


@pytest.fixture(scope="session")
def int8_bundle(once: Once) -> Path:
    """The same weights in INT8 for the CPU."""
    return once("int8", lambda out: export_bundle(out, "int8", "compact", int8=COMPACT_INT8))


@pytest.fixture(scope="session")
def engine_bundle(once: Once) -> Path:
    """The same weights in float16, with engines of TensorRT for RTX."""
    options = BuildOptions("tensorrt-rtx")
    return once("engines", lambda out: export_bundle(out, "fp16", "compact", engine=options))


@pytest.fixture
def bundle_of(request: pytest.FixtureRequest) -> BundleOf:
    """Each of these bundles by its precision, made when it is asked for."""
    names = {"fp32": "bundle", "fp16": "half_bundle", "int8": "int8_bundle"}

    def bundle_of(precision: str) -> Path:
        path: Path = request.getfixturevalue(names[precision])
        return path

    return bundle_of


COMPACT_INT8 = Options(size=6)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Statistics go to a cache of the tests' own, not to the user's."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def half_graph(once: Once) -> Path:
    """The full-size float16 restorer's graph; of other weights than `full_bundle`'s."""

    def make(path: Path) -> None:
        network = build_network(synthetic_state(), "synthetic")
        path.mkdir()
        export_onnx(RestorerGraph(network.half()), path / "restorer.onnx")

    return once("half-graph", make) / "restorer.onnx"


@pytest.fixture(scope="session")
def full_bundle(once: Once) -> Path:
    """A float32 bundle of a full-size network: the goldens' weights, or else synthetic ones."""
    script = SHARED / "reference" / "make_checkpoint.py"

    def make(out: Path) -> None:
        checkpoint = "synthetic"
        if script.exists():
            checkpoint = f"{out}.pth"
            make_checkpoint(SHARED, Path(checkpoint))
        export_bundle(out, "fp32", checkpoint)

    return once("full-size", make)


@pytest.fixture(scope="session")
def restorer(bundle: Path) -> Restorer:
    return Restorer(bundle, device="cpu")


@pytest.fixture(scope="session")
def faces() -> list[Face]:
    """Two people: (BGR picture, landmarks)."""
    return [(sample.image, sample.landmarks) for sample in samples()]


@pytest.fixture(scope="session")
def alice(restorer: Restorer, faces: list[Face]) -> SpecificDictionary:
    """Three references of the first face: itself, darker, brighter."""
    face, points = faces[0]
    return restorer.memorize([face, face // 2, face // 2 + 100], [points] * 3)


@pytest.fixture(scope="session")
def bob(restorer: Restorer, faces: list[Face]) -> SpecificDictionary:
    """One reference of the second face."""
    return restorer.memorize([faces[1][0]], [faces[1][1]])


@pytest.fixture(scope="session")
def command() -> Command:
    """Run one of our commands as a user does; stdout and stderr come back as text."""

    def run(
        name: str, *arguments: object, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name(name)
        words = [str(program), *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, cwd=cwd, timeout=300)

    return run


def picture(path: Path) -> NDArray[np.uint8]:
    """An 8-bit picture, BGR."""
    image = read_image(path)
    assert image.dtype == np.uint8
    return image.astype(np.uint8)


def levels(one: NDArray[np.generic], other: NDArray[np.generic]) -> int:
    """The largest difference of two pictures."""
    return int(np.abs(one.astype(int) - other).max())


def one_line(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """The command failed with one line on stderr that holds all of `parts`."""
    lines = result.stderr.splitlines()
    assert result.returncode != 0
    assert len(lines) == 1, result.stderr
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """After the test no thread of ours runs any more, or it fails."""
    yield
    end = time.monotonic() + 60
    while background_work() and time.monotonic() < end:
        time.sleep(0.01)
    assert not background_work()
