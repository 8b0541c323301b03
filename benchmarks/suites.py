"""The suites of `dmd-bench`: each gives measurements of every runner, taken in turns."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.footprint import peak_bytes, peak_gpu_bytes, restore_command
from benchmarks.results import Measurement, Ratio
from benchmarks.runners import BundleRunner, Cases, Runner
from benchmarks.timing import Times, Work, race, ratio
from export.arithmetic import Cost, cost
from export.samples import SAMPLES
from runtime.errors import BenchmarkError

_USUAL = 5  # references of a case that says nothing else
_COLD_ROUNDS = 3
_CALLERS = 2
_VARIANTS = ("torch compile", "torch both")
_DEVICE_RUNS = 20
_MEMORIZED = 10  # references at most: cost grows with each, and PyTorch needs half a second for one


@dataclass(frozen=True)
class Setting:
    """What every suite gets; `duration`: seconds of each runner in each case."""

    runners: Sequence[Runner]
    cases: Cases
    peaks: Mapping[str, float]
    device: str = "auto"
    threads: int | None = None
    batches: tuple[int, ...] = (1, 4)
    references: tuple[int, ...] = (0, 1, 5, 10, 20)
    duration: float = 10.0
    quick: bool = False
    baseline: str | None = None
    """Name of the runner that the others are compared with."""
    costs: dict[tuple[Path, int, int], Cost] = field(default_factory=dict)

    @property
    def bundles(self) -> list[BundleRunner]:
        return [runner for runner in self.runners if isinstance(runner, BundleRunner)]

    @property
    def usual(self) -> int:
        """The number of references nearest to 5 among those asked for."""
        return min(self.references, key=lambda count: abs(count - _USUAL))


Suite = Callable[[Setting], Iterator[Measurement]]


def latency(setting: Setting) -> Iterator[Measurement]:
    """One face at a time, with the usual number of references; unless quick, without any too."""
    yield from _restorations(setting, "latency", setting.runners, 1, setting.usual)
    if not setting.quick and setting.usual:
        # another size would make `torch.compile` compile again, for a minute
        runners = [each for each in setting.runners if each.subject.name not in _VARIANTS]
        yield from _restorations(setting, "latency", runners, 1, 0)
    yield from _on_the_device(setting)


def throughput(setting: Setting) -> Iterator[Measurement]:
    """Faces a second: in batches, and (unless quick) from two threads that share a runner."""
    for batch in setting.batches:
        works = {
            runner.subject.name: _restoring(setting, runner, batch, setting.usual)
            for runner in setting.bundles
        }
        times = _race(setting, works)
        yield from _rates(setting, times, f"batch {batch}", batch)
    if setting.quick:
        return
    with ThreadPoolExecutor(_CALLERS) as pool:

        def together(work: Work) -> None:
            for done in [pool.submit(work) for _ in range(_CALLERS)]:
                done.result()

        works = {
            runner.subject.name: partial(together, _restoring(setting, runner, 1, setting.usual))
            for runner in setting.bundles
        }
        times = _race(setting, works)
    yield from _rates(setting, times, f"{_CALLERS} threads, batch 1", _CALLERS)


def scaling(setting: Setting) -> Iterator[Measurement]:
    """What more faces in a call cost, and more references."""
    for batch in setting.batches:
        yield from _restorations(setting, "scaling", setting.bundles, batch, setting.usual)
    for references in setting.references:
        if references != setting.usual or 1 not in setting.batches:
            yield from _restorations(setting, "scaling", setting.bundles, 1, references)


def memorize(setting: Setting) -> Iterator[Measurement]:
    """Making a dictionary of so many references."""
    counts = [count for count in setting.references if 0 < count <= _MEMORIZED]
    for count in [1] if setting.quick else counts or [1]:
        works = {}
        for runner in setting.runners:
            if runner.subject.name in _VARIANTS:
                continue  # they differ in restoring only
            step = runner.max_batch

            def work(runner: Runner = runner, count: int = count, step: int = step) -> None:
                image, boxes = setting.cases.pictures(count)
                for start in range(0, count, step):
                    runner.memorize(image[start : start + step], boxes[start : start + step])

            works[runner.subject.name] = work
        times = _race(setting, works, fewest=3)
        yield from _seconds(setting, "memorize", times, f"{count} references")


def pipeline(setting: Setting) -> Iterator[Measurement]:
    """A whole photograph, from file to file, by stage."""
    from runtime import Restorer
    from runtime.images import read_photo, write_image

    file = next(iter(sorted((SAMPLES / "photos").iterdir())))
    for runner in setting.bundles:
        with (
            Restorer(runner.path, device=setting.device, threads=setting.threads) as restorer,
            tempfile.TemporaryDirectory() as folder,
        ):
            stages: dict[str, list[float]] = {}

            def work(restorer: Restorer = restorer, folder: str = folder) -> dict[str, float]:
                start = time.perf_counter()
                photo = read_photo(file)
                decoded = time.perf_counter()
                restored = restorer.restore(photo.image)
                done = time.perf_counter()
                write_image(Path(folder) / "out.png", restored.image)
                return {
                    "decode": decoded - start,
                    **restored.timings,
                    "encode": time.perf_counter() - done,
                }

            work()
            end = time.perf_counter() + setting.duration
            while len(next(iter(stages.values()), [])) < 3 or time.perf_counter() < end:
                for stage, seconds in work().items():
                    stages.setdefault(stage, []).append(seconds)
        for stage, samples in stages.items():
            times = Times(tuple(samples), 0.0)
            yield _timed("pipeline", runner.subject.name, stage, "s", times)


_COLD = """
import json, sys, time
start = time.perf_counter()
import cv2
from runtime import Restorer, read_landmarks
imported = time.perf_counter()
bundle, device, picture = sys.argv[1:]
restorer = Restorer(bundle, device=device)
opened = time.perf_counter()
restorer.restore_aligned(cv2.imread(picture), read_landmarks(picture + ".txt"))
done = time.perf_counter()
print(json.dumps({"import": imported - start, "open and verify": opened - imported,
                  "first face": done - opened}))
"""


def cold(setting: Setting) -> Iterator[Measurement]:
    """From the start of a process to its first face; files are in the system's cache."""
    rounds = 1 if setting.quick else _COLD_ROUNDS
    stages: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds + 1):  # the first fills the cache
        for runner in setting.bundles:
            words = [sys.executable, "-W", "ignore", "-c", _COLD, str(runner.path), setting.device]
            start = time.perf_counter()
            done = subprocess.run(
                [*words, str(SAMPLES / "astronaut.png")], capture_output=True, text=True
            )
            whole = time.perf_counter() - start
            if done.returncode:
                raise BenchmarkError(f"{runner.path}: {done.stderr.strip().splitlines()[-1]}")
            for stage, seconds in (json.loads(done.stdout) | {"process": whole}).items():
                if turn:
                    stages.setdefault((runner.subject.name, stage), []).append(seconds)
    for (name, stage), samples in stages.items():
        yield _timed("cold", name, stage, "s", Times(tuple(samples), 0.0))


def memory(setting: Setting) -> Iterator[Measurement]:
    """Peak of a whole `dmd-restore` of one face, on the host, and on the GPU if that runs it."""
    for runner in setting.bundles:
        with tempfile.TemporaryDirectory() as folder:
            words = restore_command(runner.path, Path(folder), setting.threads)
            words += ["--device", setting.device]
            host = peak_bytes(words)
            gpu = None if runner.on_cpu else peak_gpu_bytes(words)
        for case, peak in (("dmd-restore, host", host), ("dmd-restore, GPU", gpu)):
            if peak is not None:
                yield Measurement("memory", runner.subject.name, case, "bytes", float(peak))


def quality(setting: Setting) -> Iterator[Measurement]:
    """Mean PSNR and SSIM on degraded faces against the float32 bundle, by component."""
    from calibration import quality as measure
    from calibration.calibrate import Options, choose_faces

    reference = next((r for r in setting.bundles if r.subject.precision == "fp32"), None)
    others = [
        runner
        for runner in setting.runners
        if runner is not reference and runner.subject.name not in _VARIANTS
    ]
    if reference is None or not others:
        raise BenchmarkError("quality needs a float32 bundle, and another one to compare with it")
    faces = choose_faces(Options(size=6 if setting.quick else 24)).held_out
    scores: dict[str, list[measure.Score]] = {runner.subject.name: [] for runner in others}
    usual = setting.cases.next(1, setting.usual)
    for load in faces:
        face = load()
        case = type(usual)(face.image[None], face.boxes[None], usual.rows, usual.membership)
        wanted = reference.restore(case)[0]
        for runner in others:
            got = runner.restore(case)[0]
            scores[runner.subject.name].append(measure.score(face.name, got, wanted, face.boxes))
    for name, rows in scores.items():
        for row in measure.summary(rows):
            for unit, value in (("dB", row.mean_psnr_db), ("SSIM", row.mean_ssim)):
                yield Measurement("quality", name, row.region, unit, value, len(faces))


SUITES: dict[str, Suite] = {
    "latency": latency,
    "throughput": throughput,
    "pipeline": pipeline,
    "memorize": memorize,
    "cold": cold,
    "memory": memory,
    "quality": quality,
    "scaling": scaling,
}


def _race(setting: Setting, works: Mapping[str, Work], fewest: int = 5) -> dict[str, Times]:
    return race(works, setting.duration, min(fewest, 3) if setting.quick else fewest)


def _restorations(
    setting: Setting, suite: str, runners: Sequence[Runner], batch: int, references: int
) -> Iterator[Measurement]:
    works = {
        runner.subject.name: _restoring(setting, runner, batch, references) for runner in runners
    }
    times = _race(setting, works)
    case = f"{batch} face{'s' if batch > 1 else ''}, {references} references"
    yield from _seconds(setting, suite, times, case, (batch, references))


def _on_the_device(setting: Setting) -> Iterator[Measurement]:
    """One face by the GPU's own clock, where the backend has it."""
    for runner in setting.bundles:
        seconds: dict[str, list[float]] = {}
        for _ in range(_DEVICE_RUNS if runner.device_seconds else 0):
            runner.restore(setting.cases.next(1, setting.usual))
            found = runner.device_seconds
            assert found is not None
            for step, value in asdict(found).items():
                seconds.setdefault(f"device: {step.replace('_', ' ')}", []).append(value)
        for step, samples in seconds.items():
            yield _timed("latency", runner.subject.name, step, "s", Times(tuple(samples), 0.0))


def _restoring(setting: Setting, runner: Runner, batch: int, references: int) -> Work:
    return lambda: runner.restore(setting.cases.next(batch, references))


def _seconds(
    setting: Setting,
    suite: str,
    times: Mapping[str, Times],
    case: str,
    size: tuple[int, int] | None = None,
) -> Iterator[Measurement]:
    """Seconds a call, with the ratio to the baseline, and the roofline of a restoration."""
    base = times.get(setting.baseline or "")
    for name, each in times.items():
        against = None
        if base is not None and name != setting.baseline:
            against = ratio(each.seconds, base.seconds, str(setting.baseline))
        gflop, share = _roofline(setting, name, each.median, size) if size else (None, None)
        yield _timed(suite, name, case, "s", each, against, gflop, share)


def _rates(
    setting: Setting, times: Mapping[str, Times], case: str, faces: int
) -> Iterator[Measurement]:
    """Faces a second; the slow tail of a rate is its low end, so percentiles are turned round."""
    base = times.get(setting.baseline or "")
    for name, each in times.items():
        rates = tuple(faces / seconds for seconds in each.seconds)
        against = None
        if base is not None and name != setting.baseline:
            against = ratio(rates, [faces / s for s in base.seconds], str(setting.baseline))
        yield Measurement(
            "throughput",
            name,
            case,
            "faces/s",
            float(np.median(rates)),
            runs=len(rates),
            p90=float(np.percentile(rates, 10)),
            p99=float(np.percentile(rates, 1)),
            warm_up_s=each.warm_up_s,
            ratio=against,
            samples=rates,
        )


def _timed(
    suite: str,
    name: str,
    case: str,
    unit: str,
    times: Times,
    against: Ratio | None = None,
    gflop: float | None = None,
    share: float | None = None,
) -> Measurement:
    return Measurement(
        suite,
        name,
        case,
        unit,
        times.median,
        runs=len(times.seconds),
        p90=times.percentile(90),
        p99=times.percentile(99),
        warm_up_s=times.warm_up_s or None,
        ratio=against,
        gflop=gflop,
        share_of_peak=share,
        samples=times.seconds,
    )


def _roofline(
    setting: Setting, name: str, seconds: float, size: tuple[int, int]
) -> tuple[float | None, float | None]:
    """GFLOP of the call, and the share of its time that the machine's best rates would take."""
    runner = next(each for each in setting.runners if each.subject.name == name)
    # PyTorch computes what the first bundle's graph does
    graph = runner.graph or next((each.graph for each in setting.bundles), None)
    if graph is None:
        return None, None
    batch, references = size
    key = (graph, batch, max(references, 1))
    if key not in setting.costs:
        setting.costs[key] = cost(graph, {"faces": batch, "references": key[2]})
    found = setting.costs[key]
    peaks = setting.peaks
    if runner.on_cpu and set(found.gflop) <= set(peaks):
        least = sum(gflop / peaks[kind] for kind, gflop in found.gflop.items())
        least = max(least, found.bytes / 1e9 / peaks["copy"])
    elif not runner.on_cpu and "gpu half" in peaks:
        least = found.total_gflop / peaks["gpu half"]
    else:
        return found.total_gflop, None
    return found.total_gflop, least / seconds
