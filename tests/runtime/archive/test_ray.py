"""An archive on a Ray cluster of two nodes gives what the local run gives, even if workers die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.archive.job import Job, Outcome, Picture
from runtime.archive.local import restore_archive
from runtime.errors import ClusterError, DeviceError
from runtime.options import RestoreOptions
from runtime.photo import Found, Restored
from runtime.restorer import Restorer
from runtime.steps import Steps
from tests.conftest import SAMPLES, Command, Face, one_line, picture
from tests.fakes.bundle import COLUMNS, write_bundle
from tests.fakes.engines import FakeEngine
from tests.runtime.video.making import moving_face, write_clip

ray = pytest.importorskip("ray")
pyarrow = pytest.importorskip("pyarrow")

import pyarrow.parquet as parquet  # noqa: E402

from runtime.archive.ray_driver import Cluster, Workers  # noqa: E402
from runtime.archive.tables import open_tables  # noqa: E402

pytestmark = pytest.mark.long  # two nodes take a while to start
PHOTOS = SAMPLES / "photos"
GREEN = (0, 255, 0)
NODE = 2  # CPUs; one of them is for a worker


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head without CPUs, and two nodes to work on."""
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=NODE)
    nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()
    nodes.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> Iterator[Cluster]:
    with Cluster(nodes.address) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty small photos, one of them broken, one without a face."""
    folder = tmp_path_factory.mktemp("photos")
    small_photos(folder, 18)
    (folder / "broken.jpg").write_bytes((folder / "000.jpg").read_bytes()[:900])
    cv2.imwrite(str(folder / "nobody.png"), np.full((80, 120, 3), 7, np.uint8))
    return folder


def small_photos(folder: Path, count: int) -> list[str]:
    """Every sixteenth has a face: the others take less time."""
    photo = picture(PHOTOS / "astronaut.png")
    for index in range(count):
        part = photo[:300, :350] if index % 16 == 0 else photo[300:, :350]
        small = cv2.resize(part, (140 + index % 20, 120), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{index:03d}.jpg"), small)
    return sorted(map(str, folder.iterdir()))


def by_name(outcomes: Iterator[Outcome]) -> dict[str, Outcome]:
    """Each picture once."""
    found = list(outcomes)
    names = {Path(outcome.input).name: outcome for outcome in found}
    assert len(names) == len(found)
    return names


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def without_seconds(line: dict[str, Any], out: Path, photos: object) -> dict[str, Any]:
    """A line of a report, but for where it was written and how long it took."""
    text = json.dumps(line).replace(str(out), "OUT").replace(str(photos), "PHOTOS")
    return {key: value for key, value in json.loads(text).items() if key != "seconds"}


@pytest.fixture(scope="module")
def here(photos: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same by the local run."""
    out = tmp_path_factory.mktemp("here")
    job = Job(bundle, str(out), device="cpu", draw=True)
    outcomes = by_name(restore_archive(job, map(Picture, sorted(map(str, photos.iterdir())))))
    lines = {name: without_seconds(each.record(), out, photos) for name, each in outcomes.items()}
    return {"files": content(out), "lines": lines}


def test_what_the_local_run_gives(
    command: Command, nodes: Any, photos: Path, bundle: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    """By the command, with relative paths: the same outputs and report, and nothing of Ray's."""
    report = tmp_path.with_suffix(".jsonl")
    words = ["dmd-restore", photos.name, "--bundle", bundle, "--out", tmp_path, "--device", "cpu"]
    words += ["--draw", "--report", report, "--ray", nodes.address]
    done = command(*words, cwd=photos.parent)
    assert done.returncode == 1
    assert done.stdout.startswith(f"restored 19 of 20 in {tmp_path} (ONNX Runtime")
    assert len(done.stdout.splitlines()) == 1
    (error,) = [line for line in done.stderr.splitlines() if "no face was found" not in line]
    assert error.startswith(f"dmd-restore: {photos.name}/broken.jpg: damaged")
    assert content(tmp_path) == here["files"]
    lines = [json.loads(line) for line in report.open()]
    assert len(lines) == 20
    assert here["lines"] == {
        Path(line["input"]).name: without_seconds(line, tmp_path, photos.name) for line in lines
    }


def test_tables(
    cluster: Cluster, photos: Path, bundle: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    """Of bytes; then of paths, to resume: what is missing is done, and nothing else."""
    file, out = tmp_path / "archive.parquet", tmp_path / "out"
    files = sorted(photos.iterdir())
    names = [file.name for file in files]
    job = Job(bundle, str(out), device="cpu", draw=True)
    data = pyarrow.table({"name": names, "bytes": [file.read_bytes() for file in files]})
    parquet.write_table(data, file)
    outcomes = cluster.restore(job, open_tables([str(file)], job), Workers())
    assert set(by_name(outcomes)) == set(names)
    assert content(out) == here["files"]

    (out / "003.jpg").unlink()
    kept = (out / "004.jpg").stat().st_mtime_ns
    paths = pyarrow.table({"rank": list(range(len(files))), "path": list(map(str, files))})
    parquet.write_table(paths, file)
    again = Job(bundle, str(out), device="cpu", draw=True, resume=True)
    outcomes = cluster.restore(again, open_tables([str(file)], again), Workers(actors=1))
    done = {name for name, outcome in by_name(outcomes).items() if not outcome.there}
    assert done == {"003.jpg", "broken.jpg"}
    assert content(out) == here["files"]
    assert (out / "004.jpg").stat().st_mtime_ns == kept


def test_a_table_that_is_damaged_within(
    cluster: Cluster, photos: Path, bundle: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    """What cannot be read is counted, and ends no run; `resume` without Ray does the rest."""
    files = sorted(photos.iterdir())
    for name, some in (("good", files[:3]), ("bad", files[3:6])):
        rows = {"name": [f.name for f in some], "bytes": [f.read_bytes() for f in some]}
        parquet.write_table(pyarrow.table(rows), tmp_path / f"{name}.parquet")
    bad = tmp_path / "bad.parquet"
    page = parquet.ParquetFile(bad).metadata.row_group(0).column(1).data_page_offset
    data = bytearray(bad.read_bytes())
    data[page : page + 30] = b"\xff" * 30
    bad.write_bytes(data)
    job = Job(bundle, str(tmp_path / "out"), device="cpu", draw=True)
    tables = open_tables([str(tmp_path / "good.parquet"), str(bad)], job)
    *done, lost = cluster.restore(job, tables, Workers())
    assert lost.error is not None
    assert f"bad.parquet: {6 - len(done)} pictures could not be read" in lost.error
    again = Job(bundle, str(tmp_path / "out"), device="cpu", draw=True, resume=True)
    errors = {outcome.input: outcome.error for outcome in restore_archive(again, tables.pictures())}
    assert errors.keys() == {*(f.name for f in files[:3]), str(bad)}
    assert [name for name, error in errors.items() if error is not None] == [str(bad)]


class Deadly(Steps):
    """Dies of a green picture, as of a segmentation fault."""

    def find(self, photo: NDArray[np.generic], *more: Any) -> Found:
        if (photo[0, 0] == GREEN).all():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().find(photo, *more)


def with_steps(restorer: Restorer, kind: type[Steps]) -> Restorer:
    """The Restorer, whose steps are of another kind from now on."""
    restorer._steps.__class__ = kind
    return restorer


@dataclass(frozen=True)
class Watched(Job):
    """Leaves a note where each worker was opened; the Restorer is a deadly one."""

    def open(self) -> Restorer:
        node = ray.get_runtime_context().get_node_id()
        Path(f"{self.out}.{node}.{os.getpid()}.opened").touch()
        return with_steps(Restorer(self.bundle, device="cpu", threads=1), Deadly)


def opened(out: Path) -> list[str]:
    """The nodes of all workers that there were."""
    return [file.name.split(".")[-3] for file in out.parent.glob("*.opened")]


def test_a_picture_that_kills_its_worker(cluster: Cluster, bundle: Path, tmp_path: Path) -> None:
    """It is given up after three workers; its neighbours are done, each once."""
    (tmp_path / "in").mkdir()
    files = small_photos(tmp_path / "in", 6)
    poison = tmp_path / "in" / "0020.png"
    cv2.imwrite(str(poison), np.full((64, 64, 3), GREEN, np.uint8))
    out = tmp_path / "out"
    job = Watched(bundle, str(out), device="cpu")
    outcomes = cluster.restore(job, [*files[:3], str(poison), *files[3:]], Workers(actors=1))
    found = by_name(outcomes)
    assert found.pop("0020.png").error == f"{poison}: the worker died on this picture 3 times"
    assert [outcome.error for outcome in found.values()] == [None] * 6
    assert set(content(out)) == set(found)
    assert len(opened(out)) == 4


def test_a_node_dies_in_the_middle(nodes: Any, cluster: Cluster, tmp_path: Path) -> None:
    """All 200 photos are there at the end, none twice in the report, none half written."""
    bundle = tmp_path / "bundle"
    write_bundle(bundle)  # gives faces back
    (tmp_path / "in").mkdir()
    files = small_photos(tmp_path / "in", 200)
    out = tmp_path / "out"
    job = Watched(bundle, str(out), device="cpu")
    outcomes = cluster.restore(job, files, Workers(cpus=NODE))
    found = [next(outcomes)]
    victim = next(node for node in nodes.worker_nodes if node.node_id in opened(out))
    assert len(content(out)) < 200
    nodes.remove_node(victim, allow_graceful=False)
    found += outcomes
    assert sorted(outcome.input for outcome in found) == files
    assert {outcome.error for outcome in found} == {None}
    assert set(content(out)) == {Path(file).name for file in files}
    assert {victim.node_id} < set(opened(out))  # others were there to finish


def test_wrong_words(command: Command, nodes: Any, bundle: Path, tmp_path: Path) -> None:
    words = ["dmd-restore", PHOTOS, "--bundle", bundle, "--out", tmp_path, "--device", "cpu"]
    one_line(command(*words, "--ray", "127.0.0.1:9"), "no Ray cluster answers at 127.0.0.1:9")
    one_line(command(*words, "--ray", PHOTOS), "not an address")
    one_line(command(*words, "--ray-actors", 2), "need --ray")
    one_line(command(*words, "--ray", nodes.address, "--ray-gpus", 1), "no node can hold")
    one_line(command(*words, "--ray", "--ray-gpus", 1.5), "1.5")
    one_line(command(words[0], "x.parquet", *words[1:]), "not both")


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"install dmdnet-runtime\[ray\]"):
        Cluster("auto")


def test_a_worker_that_cannot_start(
    command: Command, nodes: Any, bundle: Path, tmp_path: Path
) -> None:
    """Its own words come back, once, and nothing that Ray makes of it."""
    words = ["dmd-restore", PHOTOS, "--bundle", bundle, "--out", tmp_path, "--ray", nodes.address]
    one_line(command(*words, "--device", "cuda"), "CUDAExecutionProvider", "a worker on")


class Gone(Steps):
    """Fails for good at the second photo."""

    calls: ClassVar[list[None]] = []

    def paste(self, *done: Any) -> Restored:
        self.calls.append(None)
        if len(self.calls) > 1:
            raise DeviceError("the device is gone")
        return super().paste(*done)


@dataclass(frozen=True)
class Going(Job):
    """A job whose engine does not last."""

    def open(self) -> Restorer:
        return with_steps(Restorer(self.bundle, device="cpu", threads=1), Gone)


def test_an_engine_that_is_gone_ends_the_run(
    cluster: Cluster, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    files = small_photos(tmp_path / "in", 4)
    job = Going(bundle, str(tmp_path / "out"), device="cpu")
    with pytest.raises(ClusterError, match=r"the device is gone \(a worker on "):
        list(cluster.restore(job, files, Workers(actors=1)))
    again = Job(bundle, job.out, device="cpu", resume=True)
    found = by_name(cluster.restore(again, files, Workers(actors=1)))
    assert [outcome.error for outcome in found.values()] == [None] * 4
    assert any(outcome.there for outcome in found.values())


def test_people(
    cluster: Cluster, restorer: Restorer, faces: list[Face], bundle: Path, tmp_path: Path
) -> None:
    """Each worker reads their files; pictures, names and likeness are those of the local run."""
    file = tmp_path / "alice.safetensors"
    restorer.memorize([faces[0][0]], [faces[0][1]], name="alice").save(file)
    options = RestoreOptions(strength=0.5)
    job = Job(bundle, str(tmp_path / "ray"), device="cpu", people=(file,), options=options)
    files = sorted(map(str, PHOTOS.iterdir()))
    found = by_name(cluster.restore(job, files, Workers(actors=1)))
    here = replace(job, out=str(tmp_path / "here"))
    local = by_name(restore_archive(here, map(Picture, files)))
    assert {name: each.faces for name, each in found.items()} == {
        name: each.faces for name, each in local.items()
    }
    assert content(tmp_path / "ray") == content(tmp_path / "here")
    assert "alice" in [face["name"] for face in found["astronaut.png"].faces or ()]


def test_names_that_are_no_text(cluster: Cluster, bundle: Path, tmp_path: Path) -> None:
    """Nor does anything else that is wrong with one picture end the run."""
    (tmp_path / "in").mkdir()
    (file,) = small_photos(tmp_path / "in", 1)
    odd = tmp_path / "in" / "odd\udcff\n.jpg"
    Path(file).rename(odd)
    job = Job(bundle, str(tmp_path / "out"), device="cpu")
    files = [str(odd), "x\0y.png", f"{tmp_path}/{'n' * 300}.png"]
    found = by_name(cluster.restore(job, files, Workers(actors=1)))
    assert found[odd.name].error is None
    assert len(found) == 3
    assert set(content(tmp_path / "out")) == {odd.name}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption(nodes: Any, bundle: Path, tmp_path: Path, number: int) -> None:
    """A worker waits for a FIFO; the command ends all the same."""
    os.mkfifo(tmp_path / "x.png")
    words = [tmp_path / "x.png", "--bundle", bundle, "--out", tmp_path / "out"]
    words = [Path(sys.executable).with_name("dmd-restore"), *words, "--ray", nodes.address]
    with subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True) as process:
        end = None
        for _ in range(600):
            with suppress(OSError):  # until a worker reads
                end = os.open(tmp_path / "x.png", os.O_WRONLY | os.O_NONBLOCK)
                break
            time.sleep(0.1)
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
    assert end is not None
    os.close(end)
    assert said == "dmd-restore: interrupted; no half-written file is left\n"
    assert process.returncode == 130


@dataclass(frozen=True)
class Fragile(Job):
    """A job whose first worker dies in the second segment of a clip, when the first is written."""

    def open(self) -> Restorer:
        calls, mark = 0, Path(f"{self.out}.died")
        second = Path(self.out) / "a.mp4.segments" / "00000075.state"

        def work(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
            nonlocal calls
            calls += 1
            if calls == 110 and not mark.exists():
                # pasting and encoding run behind the engine, on a busy machine far behind
                await_file(second)
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return image

        return Restorer(self.bundle, engine=FakeEngine(work, COLUMNS), threads=1)


def await_file(file: Path) -> None:
    """Come back when the file is there, or after a minute without it."""
    for _ in range(600):
        if file.exists():
            return
        time.sleep(0.1)


def test_a_clip_whose_worker_dies(cluster: Cluster, tmp_path: Path) -> None:
    """The next one goes on from its segments; a photo beside it has a batch of its own."""
    pytest.importorskip("av")
    write_bundle(tmp_path / "bundle")
    write_clip(tmp_path / "a.mp4", moving_face(120))
    job = Fragile(tmp_path / "bundle", str(tmp_path / "out"))
    files = [str(PHOTOS / "astronaut.png"), str(tmp_path / "a.mp4")]
    found = by_name(cluster.restore(job, files, Workers(actors=1)))
    assert [outcome.error for outcome in found.values()] == [None] * 2
    clip = found["a.mp4"]
    assert clip.clip is not None
    assert (clip.clip["frames"], clip.clip["resumed"], clip.notes) == (120, 75, ())
    assert set(content(tmp_path / "out")) == {"astronaut.png", "a.mp4"}
    assert (tmp_path / "out.died").exists()


class Wordy(Steps):
    """Does nothing, and has much to say about it."""

    def find(self, photo: NDArray[np.generic], *more: Any) -> Found:
        return Found(photo, 1, "bgr", False, (), (), (300_000 * "x",), {})


@dataclass(frozen=True)
class Talk(Job):
    """Outcomes of 300 kB."""

    def open(self) -> Restorer:
        return with_steps(Restorer(self.bundle, device="cpu"), Wordy)


def test_the_drivers_memory_is_flat(cluster: Cluster, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(300):
        cv2.imwrite(str(tmp_path / f"in/{index}.bmp"), np.zeros((16, 16, 3), np.uint8))
    files = [str(file) for file in (tmp_path / "in").iterdir()]
    sizes = []
    for outcome in cluster.restore(Talk(bundle, str(tmp_path / "out")), files, Workers()):
        assert len(outcome.notes[0]) == 300_000
        sizes.append(own_memory())
    assert len(sizes) == 300
    # all outcomes together are 90 MB
    assert sizes[-1] - sizes[30] < 30e6


def own_memory() -> int:
    """Bytes of this process, without what it shares with Ray's object store."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
