"""The suites of `dmd-bench` that run more than the engine: whole photographs, whole processes."""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.measure.memory import output_of, peak_bytes, peak_gpu_bytes, restore_command
from benchmarks.measure.timing import Times
from benchmarks.report.results import Measurement
from benchmarks.suites.ceiling import null_engine
from benchmarks.suites.example_faces import TWELVE, twelve_megapixels
from benchmarks.suites.photograph import Stages, photograph
from benchmarks.suites.setting import FEWEST, Setting, measurement, seconds
from runtime.images.files import write_image
from runtime.restorer import Restorer
from runtime.samples.faces import PHOTOS, SAMPLES


def pipeline(setting: Setting) -> Iterator[Measurement]:
    """Measure whole photographs, from file to file, and their stages.

    One of a single face and, unless quick, one and twelve faces on 4000 x 3000 pixels. Where the
    setting asks for it, also how many photos a second there would be with a network of no cost.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        restorers = {
            runner.subject.name: stack.enter_context(
                Restorer(runner.path, device=setting.device, threads=setting.threads)
            )
            for runner in setting.bundles
        }
        photos = [("", min(PHOTOS.iterdir()), FEWEST)]
        if not setting.quick:
            for name, widths in (("1 face, 12 megapixels", TWELVE[-1:]), ("12 faces", TWELVE)):
                write_image(folder / f"{name}.jpg", twelve_megapixels(widths))
                photos.append((f"{name}: ", folder / f"{name}.jpg", 3))
        for prefix, file, fewest in photos:
            runs: dict[str, list[Stages]] = {name: [] for name in restorers}
            out = folder / f"out{file.suffix}"
            works = {
                name: partial(photograph, restorer, file, out, runs[name])
                for name, restorer in restorers.items()
            }
            times = setting.race(works, fewest)
            yield from seconds(setting, "pipeline", times, f"{prefix}photograph")
            yield from by_stage(setting, "pipeline", runs, times, ("network",), prefix)
    if setting.null_engine:
        yield from null_engine(setting)


def cold(setting: Setting) -> Iterator[Measurement]:
    """Measure seconds from a process's start to its first face; files are in the system's cache."""
    paths = {runner.subject.name: runner.path for runner in setting.bundles}
    runs: dict[str, list[Stages]] = {name: [] for name in paths}
    works = {
        name: partial(_process, path, setting.device, runs[name]) for name, path in paths.items()
    }
    times = setting.race(works)
    yield from seconds(setting, "cold", times, "process")
    yield from by_stage(setting, "cold", runs, times)


def memory(setting: Setting) -> Iterator[Measurement]:
    """Measure the peak memory of a whole `dmd-restore` of one face, on the host and on its GPU."""
    for runner in setting.bundles:
        with tempfile.TemporaryDirectory() as folder:
            words = restore_command(runner.path, Path(folder), setting.threads)
            words += ["--device", setting.device]
            host = peak_bytes(words)
            gpu = None if runner.on_cpu else peak_gpu_bytes(words)
        for case, peak in (("dmd-restore, host", host), ("dmd-restore, GPU", gpu)):
            if peak is not None:
                yield Measurement("memory", runner.subject.name, case, "bytes", float(peak))


_COLD = """
import json, sys, time
times = [time.perf_counter()]
import cv2
from runtime import Restorer, read_landmarks
from runtime.bundle.opening import open_bundle
bundle, device, picture = sys.argv[1:]
points = read_landmarks(picture + ".txt")
times.append(time.perf_counter())
for work in (
    lambda: open_bundle(bundle, verify=False),
    lambda: open_bundle(bundle, verify=True),
    lambda: globals().update(restorer=Restorer(bundle, device=device, verify=False)),
    lambda: restorer.restore_aligned(cv2.imread(picture), points),
):
    work()
    times.append(time.perf_counter())
seconds = [after - before for before, after in zip(times, times[1:])]
print(json.dumps(dict(zip(("import", "open", "verify", "load", "first face"), seconds))))
"""


def _process(bundle: Path, device: str, runs: list[Stages]) -> None:
    words = [sys.executable, "-W", "ignore", "-c", _COLD, str(bundle), device]
    words.append(str(SAMPLES / "astronaut.png"))
    runs.append(json.loads(output_of(words, bundle)))


def by_stage(
    setting: Setting,
    suite: str,
    runs: Mapping[str, Sequence[Stages]],
    whole: Mapping[str, Times],
    compared: Sequence[str] = (),
    prefix: str = "",
) -> Iterator[Measurement]:
    """The times of each stage; for those in `compared`, also the ratio to the baseline.

    The others take milliseconds, and their ratios would be noise. `runs`: for each subject the
    stages of the warm-up, then of the runs of `whole`. `prefix` goes before the names of the cases.
    """
    # the first runs warmed up
    runs = {name: every[-len(whole[name].seconds) :] for name, every in runs.items()}
    for stage in dict.fromkeys(stage for every in runs.values() for one in every for stage in one):
        times = {}
        for name, counted in runs.items():
            if stage in counted[0]:
                seconds_left = iter([one[stage] for one in counted])
                turns = (tuple(islice(seconds_left, len(t))) for t in whole[name].turns)
                times[name] = Times(tuple(turns))
        if stage in compared:
            yield from seconds(setting, suite, times, prefix + stage)
        else:
            for name, each in times.items():
                yield measurement(suite, name, prefix + stage, each)
