"""The suites of `dmd-bench` that call the engines alone, with aligned faces."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec

from benchmarks.measure.timing import Times, Work
from benchmarks.report import truth
from benchmarks.report.results import Measurement
from benchmarks.suites.runners import BundleRunner, Runner
from benchmarks.suites.setting import Setting, measurement, rates, seconds
from calibration.truth import Candidate, judge
from runtime.errors import BenchmarkError

_CALLERS = 2
_DEVICE_RUNS = 20
_MEMORIZED = 3  # times the longest list of references, or more


def latency(setting: Setting) -> Iterator[Measurement]:
    """Measure one face a call with the usual number of references and, unless quick, with none."""
    yield from restorations(setting, "latency", setting.runners, 1, setting.usual)
    if not setting.quick and setting.usual:
        # another size would make `torch.compile` compile again, for a minute
        yield from restorations(setting, "latency", setting.without_variants, 1, 0)
    yield from _on_the_device(setting)


def throughput(setting: Setting) -> Iterator[Measurement]:
    """Measure faces a second in batches; unless quick, also with two callers and fewer threads."""
    for batch in setting.batches:
        times = setting.restore(setting.bundles, batch, setting.usual)
        yield from rates(setting, times, f"batch {batch}", batch)
    if setting.quick:
        return
    with ThreadPoolExecutor(_CALLERS) as pool:

        def together(work: Work) -> None:
            for done in [pool.submit(work) for _ in range(_CALLERS)]:
                done.result()

        works: dict[str, Work] = {
            runner.subject.name: partial(together, setting.restoring(runner, 1, setting.usual))
            for runner in setting.bundles
        }
        times = setting.race(works)
    yield from rates(setting, times, f"{_CALLERS} callers, batch 1", _CALLERS)
    for threads in setting.fewer_threads:
        with ExitStack() as stack:
            works = {}
            for runner in setting.bundles:
                other = BundleRunner(runner.path, setting.device, threads)
                stack.enter_context(closing(other))
                works[runner.subject.name] = setting.restoring(other, 1, setting.usual)
            times = setting.race(works)
        yield from rates(setting, times, f"batch 1, {_count(threads, 'CPU thread')}", 1)


def scaling(setting: Setting) -> Iterator[Measurement]:
    """Measure what more faces in a call cost, and more references."""
    for batch in setting.batches:
        yield from restorations(setting, "scaling", setting.bundles, batch, setting.usual)
    for references in setting.references:
        if references != setting.usual or 1 not in setting.batches:
            yield from restorations(setting, "scaling", setting.bundles, 1, references)


def restorations(
    setting: Setting, suite: str, runners: Sequence[Runner], batch: int, references: int
) -> Iterator[Measurement]:
    """Measure seconds of calls with `batch` faces of one person who has `references` references."""
    times = setting.restore(runners, batch, references)
    case = f"{_count(batch, 'face')}, {references} references"
    yield from seconds(setting, suite, times, case, (batch, references))


def memorize(setting: Setting) -> Iterator[Measurement]:
    """Measure seconds to make a dictionary: the sum of its engine calls, which race one by one."""
    counts = [count for count in setting.references if count] or [1]
    if setting.quick:
        counts = [1]
    runners = setting.without_variants
    for most in sorted({runner.max_batch for runner in runners}):
        alike = [runner for runner in runners if runner.max_batch == most]
        calls = {count: _sizes(count, most) for count in counts}
        every: dict[int, dict[str, Times]] = {}
        for size in sorted({size for sizes in calls.values() for size in sizes}):
            works = {runner.subject.name: setting.memorizing(runner, size) for runner in alike}
            longest = max(sizes.count(size) for sizes in calls.values())
            every[size] = setting.race(works, _MEMORIZED * longest, turn_s=0)
        for count, sizes in calls.items():
            times = {
                name: _sums({size: every[size][name] for size in sizes}, sizes)
                for name in every[sizes[0]]
            }
            yield from seconds(setting, "memorize", times, _count(count, "reference"))


def quality(setting: Setting) -> Iterator[Measurement]:
    """Measure mean PSNR and SSIM by component: of each bundle against clean faces, which were
    degraded, and of other bundles and PyTorch against the float32 bundle, if there is one.
    """
    if find_spec("skimage") is None:
        raise BenchmarkError("scikit-image is not installed: install dmdnet-runtime[bench]")
    candidates = [
        Candidate(runner.subject.name, runner.calls, runner.manifest) for runner in setting.bundles
    ]
    yield from truth.measurements(judge(setting.truth, candidates))
    yield from _against_float32(setting)


def _against_float32(setting: Setting) -> Iterator[Measurement]:
    from calibration import quality as measure
    from calibration.calibrate import choose_faces
    from calibration.options import Options

    reference = next((r for r in setting.bundles if r.subject.precision == "fp32"), None)
    others = [runner for runner in setting.without_variants if runner is not reference]
    if reference is None or not others:
        return
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


def _on_the_device(setting: Setting) -> Iterator[Measurement]:
    """One face by the GPU's own clock, where the backend has it."""
    for runner in setting.bundles:
        found: dict[str, list[float]] = {}
        for _ in range(_DEVICE_RUNS if runner.device_seconds else 0):
            runner.restore(setting.cases.next(1, setting.usual))
            assert runner.device_seconds is not None
            for step, value in asdict(runner.device_seconds).items():
                found.setdefault(f"device: {step.replace('_', ' ')}", []).append(value)
        for step, samples in found.items():
            yield measurement("latency", runner.subject.name, step, Times.of(samples))


def _sizes(count: int, most: int) -> list[int]:
    """References of each call: as many as an engine takes, and then the rest."""
    return [most] * (count // most) + [count % most] * (count % most > 0)


def _sums(times: Mapping[int, Times], sizes: Sequence[int]) -> Times:
    """Seconds of calls of these sizes made one after the other; no call is in two sums."""
    needs = Counter(sizes)
    runs = min(len(times[size].seconds) // calls for size, calls in needs.items())
    return Times.of(
        (
            sum(sum(times[size].seconds[run * n : (run + 1) * n]) for size, n in needs.items())
            for run in range(runs)
        ),
        sum(times[size].warm_up_s for size in needs),
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"
