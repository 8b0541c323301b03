"""`dmd-bench` on narrow bundles, and its suites on runners that take a known time."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import jsonschema
import numpy as np
import pytest

from benchmarks.measure import timing
from benchmarks.measure.memory import peak_gpu_bytes
from benchmarks.measure.timing import Ratio, Times
from benchmarks.report.results import Measurement, Subject, read_result
from benchmarks.report.truth import rows_of
from benchmarks.suites import engine as suites
from benchmarks.suites.engine import latency, memorize, scaling, throughput
from benchmarks.suites.example_faces import TWELVE, twelve_megapixels
from benchmarks.suites.photograph import photograph
from benchmarks.suites.processes import by_stage, pipeline
from benchmarks.suites.runners import BundleRunner, Case, Cases, TorchRunner, open_runners
from benchmarks.suites.setting import Setting
from export.checks.arithmetic import cost
from export.model.checkpoint import load_weights
from runtime.backends.base import Boxes, DeviceSeconds, Rows
from runtime.bundle.weights import TRAINED_FOR
from runtime.errors import BenchmarkError
from runtime.images.arrays import Image
from runtime.images.files import write_image
from runtime.photo import Restored
from runtime.restorer import Restorer
from tests.conftest import ROOT, SAMPLES, Command, one_line, picture

COLUMNS = 12


class Clock:
    """In place of `time`: nothing else makes it go on, whatever the machine is doing."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


class Clockwork:
    """Takes a known time for each face and each reference."""

    on_cpu = True
    path = Path("nowhere")
    device_seconds: DeviceSeconds | None = None

    def __init__(
        self, clock: Clock, name: str, face_s: float, reference_s: float, graph: Path | None
    ) -> None:
        self.subject = Subject(name, "fp32", name, "0" * 64)
        self.graph, self.max_batch = graph, 1
        self.seen: list[Case] = []
        self.memorized: list[int] = []
        self.together: Barrier | None = None
        self._clock = clock
        self._face_s, self._reference_s = face_s, reference_s

    def restore(self, case: Case) -> Image:
        if self.together is None:
            self._clock.sleep(len(case.image) * self._face_s + len(case.rows) * self._reference_s)
        else:
            self.together.wait(10)
        self.seen.append(case)
        return case.image

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        self._clock.sleep(len(image) * self._face_s + 0.001)
        self.memorized.append(len(image))
        return np.zeros((len(image), COLUMNS), np.float32)

    def close(self) -> None:
        pass


def setting(clock: Clock, bundle: Path, **changes: object) -> Setting:
    runners = [
        Clockwork(clock, "slow", 0.02, 0.002, bundle / "restorer.onnx"),
        Clockwork(clock, "fast", 0.01, 0.001, bundle / "restorer.onnx"),
    ]
    fields: dict[str, object] = {
        "runners": runners,
        "cases": Cases(runners[1].memorize, 10),
        "peaks": {"float": 100.0, "copy": 10.0, "gpu float": 500.0},
        "batches": (1, 3),
        "references": (0, 5, 10),
        "duration": 0.1,
        "quick": True,
        "baseline": "slow",
    } | changes
    return Setting(**fields)  # type: ignore[arg-type]


@pytest.fixture
def every_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites of bundles take clockworks too."""
    monkeypatch.setattr(Setting, "bundles", property(lambda self: self.runners))


def ratio(row: Measurement) -> Ratio:
    assert row.ratio is not None
    return row.ratio


def found(rows: list[Measurement]) -> dict[tuple[str, str], Measurement]:
    return {(row.subject, row.case): row for row in rows}


def test_latency(clock: Clock, bundle: Path) -> None:
    made = setting(clock, bundle)
    rows = found(list(latency(made)))
    fast = rows["fast", "1 face, 5 references"]
    assert fast.value == pytest.approx(0.015)
    assert ratio(fast).baseline == "slow"
    assert ratio(fast).low <= ratio(fast).median == pytest.approx(0.5)
    assert rows["slow", "1 face, 5 references"].ratio is None
    assert fast.gflop == pytest.approx(24.7, rel=0.02)  # of the compact network
    assert fast.gflop is not None
    assert fast.share_of_peak == pytest.approx(fast.gflop / 100 / fast.value)
    made.runners[1].on_cpu = False
    fast = found(list(latency(made)))["fast", "1 face, 5 references"]
    assert fast.gflop is not None
    assert fast.share_of_peak == pytest.approx(fast.gflop / 500 / fast.value)
    for precision, rate in (("fp16", 4000), ("int8", None)):
        made = setting(clock, bundle, peaks={"gpu float": 500.0, "gpu half": 4000.0})
        runner = made.runners[1]
        runner.on_cpu, runner.subject = False, replace(runner.subject, precision=precision)
        fast = found(list(latency(made)))["fast", "1 face, 5 references"]
        assert fast.gflop is not None
        assert fast.share_of_peak == (rate and pytest.approx(fast.gflop / rate / fast.value))
    made = setting(clock, bundle, peaks={"float": 1e9, "copy": 1e-3})  # memory is the limit
    fast = found(list(latency(made)))["fast", "1 face, 5 references"]
    counted = cost(bundle / "restorer.onnx", {"faces": 1, "references": 5})
    assert fast.share_of_peak == pytest.approx(counted.bytes / 1e6 / fast.value)
    images = [case.image for case in made.runners[1].seen]  # type: ignore[attr-defined]
    assert not any(np.array_equal(a, b) for a, b in pairwise(images))


def test_seconds_on_the_device(clock: Clock, bundle: Path, every_runner: None) -> None:
    made = setting(clock, bundle)
    made.runners[1].device_seconds = DeviceSeconds(0.001, 0.002, 0.003)  # type: ignore[attr-defined]
    rows = {row.case: row for row in latency(made) if row.case.startswith("device")}
    assert {case: row.value for case, row in rows.items()} == {
        "device: copy in": 0.001,
        "device: engine": 0.002,
        "device: copy out": 0.003,
    }
    assert {row.subject for row in rows.values()} == {"fast"}


def test_peak_of_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nvidia-smi says it: 100 MiB before, 300 while the command runs."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ntest -e {tmp_path}/on && echo 300 || echo 100\n")
    program.chmod(0o755)
    work = f"touch {tmp_path}/on; sleep 0.6; rm {tmp_path}/on"
    assert peak_gpu_bytes(["sh", "-c", work]) == 200 << 20
    program.write_text("#!/bin/sh\necho '[N/A]'\n")  # of a GPU that shares the host's memory
    assert peak_gpu_bytes(["true"]) is None
    program.unlink()
    assert peak_gpu_bytes(["true"]) is None


def test_scaling(clock: Clock, bundle: Path, every_runner: None) -> None:
    rows = found(list(scaling(setting(clock, bundle))))
    assert {case for _, case in rows} == {
        "1 face, 5 references",
        "3 faces, 5 references",
        "1 face, 0 references",
        "1 face, 10 references",
    }
    assert rows["fast", "3 faces, 5 references"].value == pytest.approx(0.035)
    # without references there is one row, which nobody reads
    assert rows["fast", "1 face, 0 references"].value == pytest.approx(0.011)
    assert rows["fast", "1 face, 10 references"].value == pytest.approx(0.020)


def test_throughput(clock: Clock, bundle: Path, every_runner: None) -> None:
    made = setting(clock, bundle, warm_up=2)
    rows = found(list(throughput(made)))
    assert rows["fast", "batch 3"].value == pytest.approx(3 / 0.035)
    assert ratio(rows["fast", "batch 3"]).median == pytest.approx(2)  # twice as many faces
    list(scaling(made))
    runs = [len(case.image) for case in made.runners[1].seen]  # type: ignore[attr-defined]
    assert runs.count(3) == 5  # 2 warm-ups and 3 rounds: scaling takes the same times


def test_throughput_of_two_callers(clock: Clock, bundle: Path, every_runner: None) -> None:
    made = setting(clock, bundle, quick=False, batches=())
    for runner, seconds in zip(made.runners, (3.0, 1.5), strict=True):
        # lets two calls pass, and only together
        runner.together = Barrier(2, lambda s=seconds: clock.sleep(s))  # type: ignore[attr-defined,misc]
    rows = found(list(throughput(made)))
    assert rows["fast", "2 callers, batch 1"].value == pytest.approx(2 / 1.5)


def test_throughput_with_fewer_threads(
    clock: Clock, bundle: Path, every_runner: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_other(path: Path, device: str, threads: int) -> Clockwork:
        opened.append(Clockwork(clock, "other", 4 / threads, 0, None))
        return opened[-1]

    monkeypatch.setattr(suites, "BundleRunner", open_other)
    made = setting(clock, bundle, quick=False, batches=(), fewer_threads=(1, 2))
    rows = found(list(throughput(made)))
    assert rows["fast", "batch 1, 1 CPU thread"].value == pytest.approx(1 / 4)
    assert rows["slow", "batch 1, 2 CPU threads"].value == pytest.approx(2 / 4)
    assert len(opened) == 4


def test_memorize(clock: Clock, bundle: Path) -> None:
    made = setting(clock, bundle, quick=False, references=(0, 1, 10, 20))
    rows = found(list(memorize(made)))
    assert {case for _, case in rows} == {"1 reference", "10 references", "20 references"}
    assert rows["fast", "20 references"].value == pytest.approx(20 * 0.011)
    assert (rows["fast", "20 references"].runs, rows["fast", "10 references"].runs) == (3, 6)
    assert ratio(rows["fast", "20 references"]).median == pytest.approx(11 / 21)


def test_memorize_in_batches(clock: Clock, bundle: Path) -> None:
    """20 references are calls of 8, 8 and 4 for an engine that takes 8."""
    made = setting(clock, bundle, quick=False, references=(20,))
    for runner in made.runners:
        runner.max_batch = 8
    rows = found(list(memorize(made)))
    assert rows["fast", "20 references"].value == pytest.approx(20 * 0.010 + 3 * 0.001)
    assert set(made.runners[1].memorized) == {1, 4, 8}  # type: ignore[attr-defined]


def test_pipeline(clock: Clock, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three photos, whose stages have names of their own."""
    once = partial(timing.race, duration=0, fewest=1)
    monkeypatch.setattr("benchmarks.suites.setting.race", lambda works, *_: once(works))
    runners = [BundleRunner(bundle, "cpu", None)]
    rows = {
        row.case: row.value
        for row in pipeline(setting(clock, bundle, runners=runners, quick=False, baseline=None))
    }
    stages = {"decode", "detect", "align", "boxes", "network", "paste", "encode"}
    rooms = ("", "1 face, 12 megapixels: ", "12 faces: ")
    assert set(rows) == {room + stage for room in rooms for stage in (*stages, "photograph")}
    assert rows["12 faces: network"] > 3 * rows["network"] > 0
    assert rows["12 faces: decode"] > 3 * rows["decode"]


def test_twelve_faces_are_found(restorer: Restorer) -> None:
    photo = twelve_megapixels(TWELVE)
    assert photo.shape == (3000, 4000, 3)
    assert len(restorer.detect(photo)) == 12


def test_copies_of_a_photograph(tmp_path: Path) -> None:
    """By the GPU's clock, and not counted in the network's seconds again."""

    class OnGpu:
        device_seconds = DeviceSeconds(0.1, 0.2, 0.3)

        def restore(self, photo: Image) -> Restored:
            return Restored(photo, (), (), {"align": 0.5, "network": 1.0}, ())

    runs: list[dict[str, float]] = []
    photograph(OnGpu(), SAMPLES / "astronaut.png", tmp_path / "out.png", runs)  # type: ignore[arg-type]
    (stages,) = runs
    assert set(stages) == {"decode", "align", "copy in", "network", "copy out", "encode"}
    assert (stages["copy in"], stages["copy out"]) == (0.1, 0.3)
    assert stages["network"] == pytest.approx(0.6)


def test_stages_go_with_the_turns_of_the_whole(clock: Clock, bundle: Path) -> None:
    """The fast one had two runs in its second turn; both had two to warm up."""
    whole = {"slow": Times(((9.0,), (9.0,))), "fast": Times(((1.0,), (1.0, 1.0)))}
    runs = {
        "slow": [{"network": value} for value in (40.0, 50.0, 4.0, 8.0)],
        "fast": [{"network": value, "copy in": 0.5} for value in (70.0, 60.0, 2.0, 1.0, 3.0)],
    }
    rows = found(list(by_stage(setting(clock, bundle), "pipeline", runs, whole, ("network",))))
    fast = rows["fast", "network"]
    assert (fast.value, fast.runs) == (2, 3)
    assert ratio(fast).median == pytest.approx((2 / 4 + 2 / 8) / 2)
    assert rows["fast", "copy in"].value == 0.5


def test_torch_does_not_run_on_the_cpu_beside_cuda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before the bundle is looked for."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    opened = open_runners([tmp_path], "cuda", None, "compact", ("eager",))
    with pytest.raises(BenchmarkError, match="cannot use CUDA"):
        opened.__enter__()


def test_torch_gives_what_the_bundle_gives(bundle: Path) -> None:
    runner = BundleRunner(bundle, "cpu", None)
    weights = load_weights("compact")
    cases = Cases(runner.memorize, 5)
    case = cases.next(2, 5)
    for mode in ("eager", "both"):
        torch_runner = TorchRunner(weights, mode, None)
        for each in (case, cases.next(1, 0)):
            wanted = runner.restore(each).astype(int)
            assert np.abs(torch_runner.restore(each) - wanted).max() <= 1
        rows = torch_runner.memorize(case.image, case.boxes)
        np.testing.assert_allclose(rows, runner.memorize(case.image, case.boxes), atol=1e-4)


def test_refuses_a_mixture(
    bundle: Path, half_bundle: Path, int8_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(half_bundle, tmp_path / bundle.name)
    same_name = open_runners([bundle, tmp_path / bundle.name], "cpu", None, None, ())
    with pytest.raises(BenchmarkError, match="have the same name"), same_name:
        pass
    other_weights = open_runners([bundle], "cpu", None, "synthetic", ("eager",))
    with pytest.raises(BenchmarkError, match="was not made from synthetic"), other_weights:
        pass


class TestCommand:
    @pytest.mark.long
    def test_all(
        self,
        bundle: Path,
        int8_bundle: Path,
        tmp_path: Path,
        command: Command,
    ) -> None:
        files = [tmp_path / name for name in ("r.json", "r.md", "r.html")]
        words = ["--bundle", bundle, "--bundle", int8_bundle, "--device", "cpu", "--quick"]
        words += ["--baseline", "torch", "--checkpoint", "compact"]
        words += ["--json", files[0], "--markdown", files[1], "--html", files[2]]
        done = command("dmd-bench", *words)
        assert done.returncode == 0, done.stderr
        schema = json.loads((ROOT / "docs" / "benchmark.schema.json").read_text())
        jsonschema.validate(json.loads(files[0].read_text()), schema)
        result = read_result(files[0])
        assert result.errors == {}
        assert {row.suite for row in result.measurements} == {
            *("latency", "throughput", "pipeline", "memorize"),
            *("cold", "memory", "quality", "scaling"),
        }
        assert [subject.name for subject in result.subjects] == ["fp32", "int8", "torch eager"]
        assert {subject.remark for subject in result.subjects} == {
            "compact weights, not the published ones"
        }
        assert result.peaks["float"] > 1
        whole = [r for r in result.of("quality") if r.case == "whole" and r.unit == "dB"]
        assert {row.subject: row.value > 25 for row in whole} == {"int8": True, "torch eager": True}
        judged = {row.subject for row in rows_of(result.of("quality"))}
        assert judged == {"input", "fp32", "int8"}
        for word in ("latency", "int8", "torch eager"):
            assert word in done.stdout
            assert word in files[1].read_text()
            assert word in files[2].read_text()

    def test_a_suite_that_fails(
        self, bundle: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was measured before and after it is written."""
        (tmp_path / "skimage").mkdir()
        (tmp_path / "skimage" / "__init__.py").write_text("raise ImportError('of another Python')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        words = ["--bundle", bundle, "--device", "cpu", "--quick", "--json", tmp_path / "r.json"]
        done = command("dmd-bench", "all", *words)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("dmd-bench: quality: ImportError: of")
        result = read_result(tmp_path / "r.json")
        assert set(result.errors) == {"quality"}
        assert len(result.of("latency")) == 1
        assert len(result.of("scaling")) == 2

    @pytest.mark.long
    def test_quality_of_one_bundle(self, bundle: Path, tmp_path: Path, command: Command) -> None:
        """By a folder of people, one of whom has references; it says what weights these are."""
        eileen = tmp_path / "people" / "eileen"
        eileen.mkdir(parents=True)
        shutil.copy(SAMPLES / "grace_hopper.png", eileen.parent)
        shutil.copy(SAMPLES / "astronaut.png", eileen / "0.png")
        mirrored = np.ascontiguousarray(picture(SAMPLES / "astronaut.png")[:, ::-1])
        write_image(eileen / "1.png", mirrored)
        write_image(eileen / "black.png", np.zeros((512, 512, 3), np.uint8))
        files = [tmp_path / name for name in ("r.json", "r.md", "r.html")]
        words = ["--bundle", bundle, "--truth", eileen.parent, "--device", "cpu"]
        words += ["--json", files[0], "--markdown", files[1], "--html", files[2]]
        done = command("dmd-bench", "quality", *words)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[0] == (
            "dmd-bench: warning: eileen/black.png: no face was found"
        )
        content = json.loads(files[0].read_text())
        schema = json.loads((ROOT / "docs" / "benchmark.schema.json").read_text())
        jsonschema.validate(content, schema)
        assert content["options"]["truth"]["source"] == "people"
        assert content["options"]["truth"]["x4"].startswith("blur of sigma 1.5, 4 times smaller")
        rows = rows_of(read_result(files[0]).of("quality"))
        assert [(row.subject, row.kind, row.faces) for row in rows if row.degradation == "x6"] == [
            ("input", "input", 3),
            ("fp32", "generic", 3),
            ("input", "input, of faces with references", 2),
            ("fp32", "generic, of faces with references", 2),
            ("fp32", "specific", 2),
        ]
        given, generic, *_ = (row for row in rows if row.degradation == "x6")
        assert generic.mean_psnr_db("whole") > given.mean_psnr_db("whole") + 0.3
        assert all(0 < each.identity < 1 < each.landmarks_px < 30 for each in generic.likeness)
        number = f"{generic.mean_psnr_db('whole'):.2f} dB"
        for text in (done.stdout, files[1].read_text(), files[2].read_text()):
            assert number in text
            assert "compact weights, not the published ones" in text
            assert TRAINED_FOR in text
        same = command("dmd-bench", "compare", files[0], files[0])
        assert same.stdout.count("compact weights, not the published ones") == 2
        content["measurements"][-4]["value"] -= 3  # PSNR of the mouth
        worse = tmp_path / "worse.json"
        worse.write_text(json.dumps(content))
        done = command("dmd-bench", "compare", files[0], worse)
        assert done.returncode == 1
        assert "1 of 150 worse by more than 5 %" in done.stdout

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["quality", "--bundle", "x", "--truth", "none"], "none: no such folder"),
            (["quality", "--bundle", "x", "--truth", "{bundle}/manifest.json"], "not a folder"),
            (["quality", "--bundle", "x", "--truth", "{empty}"], "no picture in this folder"),
            (["quality", "--bundle", "x", "--truth", "{bundle}"], "no clean face to judge by"),
            (["latency", "--bundle", "x", "--truth", "."], "--truth needs the suite quality"),
            (["--bundle", "nowhere"], "nowhere: no such bundle"),
            (["nosuch", "--bundle", "x"], "invalid choice: 'nosuch'"),
            (["--bundle", "{bundle}", "--device", "cuda"], "CUDAExecutionProvider"),
            (
                ["--bundle", "{bundle}", "--json", "none/r.json"],
                "none/r.json: its folder does not exist",
            ),
            (["--bundle", "{bundle}", "--batch", "0"], "not a whole number of 1 or more"),
            (["--bundle", "{bundle}", "--references", "1,x"], "not a list of whole numbers"),
            (["compare", "nowhere.json", "x.json"], "nowhere.json: cannot be read"),
            (["compare", "a", "b", "--fail-above", "x"], "fail-above"),
        ],
    )
    def test_wrong_arguments(
        self, words: list[str], reason: str, bundle: Path, command: Command, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        fill: Callable[[str], str] = lambda word: word.format(  # noqa: E731
            bundle=bundle, empty=empty
        )
        one_line(command("dmd-bench", *map(fill, words), cwd=tmp_path), reason)
        assert list(tmp_path.rglob("*")) == [empty]
