"""The suites of `dmd-bench` that run more than the engine: whole photographs, whole processes."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.measure.memory import peak_bytes, peak_gpu_bytes, restore_command
from benchmarks.measure.timing import Times
from benchmarks.report.results import Measurement
from benchmarks.suites.setting import Setting, seconds, timed
from runtime.errors import BenchmarkError
from runtime.restorer import Restorer
from runtime.samples.faces import SAMPLES

Stages = dict[str, float]


def pipeline(setting: Setting) -> Iterator[Measurement]:
    """A whole photograph, from file to file, and its stages."""
    file = min((SAMPLES / "photos").iterdir())
    runs: dict[str, list[Stages]] = {runner.subject.name: [] for runner in setting.bundles}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        works = {}
        for runner in setting.bundles:
            opened = Restorer(runner.path, device=setting.device, threads=setting.threads)
            restorer = stack.enter_context(opened)
            name = runner.subject.name
            works[name] = partial(photograph, restorer, file, folder / "out.png", runs[name])
        times = setting.race(works)
    yield from seconds(setting, "pipeline", times, "photograph")
    yield from by_stage(setting, "pipeline", runs, times, ("network",))


def cold(setting: Setting) -> Iterator[Measurement]:
    """From the start of a process to its first face; files are in the system's cache."""
    runs: dict[str, list[Stages]] = {runner.subject.name: [] for runner in setting.bundles}
    works = {
        runner.subject.name: partial(
            _process, runner.path, setting.device, runs[runner.subject.name]
        )
        for runner in setting.bundles
    }
    times = setting.race(works)
    yield from seconds(setting, "cold", times, "process")
    yield from by_stage(setting, "cold", runs, times)


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


def photograph(restorer: Restorer, file: Path, out: Path, runs: list[Stages]) -> None:
    """Restore `file` into `out`, and add its stages to `runs`."""
    from runtime.images.files import read_photo, write_image

    start = time.perf_counter()
    photo = read_photo(file)
    decoded = time.perf_counter()
    restored = restorer.restore(photo.image)
    done = time.perf_counter()
    write_image(out, restored.image)
    encoded = time.perf_counter()
    stages = {"decode": decoded - start, **restored.timings, "encode": encoded - done}
    device = restorer.device_seconds
    if device is not None:  # of one call: the photograph has one face
        stages |= {"copy in": device.copy_in, "copy out": device.copy_out}
        stages["network"] -= device.copy_in + device.copy_out
    runs.append(stages)


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
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{bundle}: {done.stderr.strip().splitlines()[-1]}")
    runs.append(json.loads(done.stdout))


def by_stage(
    setting: Setting,
    suite: str,
    runs: Mapping[str, Sequence[Stages]],
    whole: Mapping[str, Times],
    compared: Sequence[str] = (),
) -> Iterator[Measurement]:
    """The stages of `compared` with their ratio; of the others, milliseconds of noise.

    `runs`: of each subject the warm-up's stages, and those of the runs of `whole`.
    """
    for stage in dict.fromkeys(stage for every in runs.values() for one in every for stage in one):
        times = {}
        for name, (first, *counted) in runs.items():
            if stage in first:
                seconds_left = iter([one[stage] for one in counted])
                turns = (tuple(islice(seconds_left, len(t))) for t in whole[name].turns)
                times[name] = Times(tuple(turns))
        if stage in compared:
            yield from seconds(setting, suite, times, stage)
        else:
            yield from (timed(suite, name, stage, each) for name, each in times.items())
