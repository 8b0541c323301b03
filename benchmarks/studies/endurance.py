"""Check a float16 bundle on an NVIDIA GPU against its targets: build, speed and endurance.

    python -m benchmarks.studies.endurance --bundle BUNDLE --checkpoint synthetic --json FILE

The engines are built if they are missing; their receipts say which arithmetic is in half precision.
Calls of one face and of eight race against PyTorch in half precision, as in `dmd-bench`. Then eight
threads share a Restorer for minutes, and every result must be the one that a single thread gets.
The file is written after each section; it names those that fail, and the exit code is then 1.
"""

import itertools
import json
import resource
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from benchmarks.measure.load import difference, line_of, under_load
from benchmarks.measure.memory import output_of
from benchmarks.measure.peaks import peaks
from benchmarks.measure.timing import seconds_of
from benchmarks.report.results import Measurement
from benchmarks.studies import record
from benchmarks.suites.engine import restorations
from benchmarks.suites.runners import Cases, open_runners
from benchmarks.suites.setting import Setting
from runtime import Restorer
from runtime.bundle.layout import IMAGE_SIZE
from runtime.cli import console
from runtime.cli.inputs import positive
from runtime.errors import DmdnetError
from runtime.images.arrays import Image
from runtime.machine.gpu import first_gpu
from runtime.machine.tensorrt_editions import EXTRAS
from runtime.samples.faces import samples

REFERENCES = 10
BATCH = 8
THREADS = 8
WARM_UP = 20  # calls
JOBS = 16  # other calls of the endurance run

Job = Callable[[], list[Image]]


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.endurance", __doc__)
    parser.add_argument("--bundle", required=True, type=Path, help="made by dmd-export --fp16")
    parser.add_argument("--checkpoint", required=True, help="its weights, as for dmd-export")
    parser.add_argument("--device", choices=tuple(EXTRAS.values()), default="tensorrt")
    parser.add_argument("--duration", type=positive, default=10, help="seconds of a race")
    parser.add_argument("--seconds", type=positive, default=120, help="seconds of endurance")
    args = parser.parse_args()
    record.record(parser.prog, args.json, partial(measure, args))


def measure(args: Namespace) -> dict[str, Any]:
    """Run every section in turn. Raises `DeviceError` where there is no GPU."""
    first_gpu()
    sections: dict[str, Callable[[], Any]] = {
        "build_s": partial(build, args.bundle, args.device),
        "engines": partial(receipts, args.bundle),
        "races": partial(races, args),
        "endurance": partial(endurance, args.bundle, args.device, args.seconds, JOBS),
    }
    result: dict[str, Any] = {"failures": []}
    for name, work in sections.items():
        console.say(f"endurance: {name} ...")
        try:
            result[name] = work()
        except Exception as error:  # whatever one section raises, the next may pass
            result["failures"].append(f"{name}: {line_of(error)}")
            if not isinstance(error, DmdnetError):
                traceback.print_exc()
        result["targets"] = targets(result.get("races", {}), result.get("endurance", {}))
        record.write(args.json, result)
    return result


def build(bundle: Path, device: str) -> float:
    """Build the engines that are missing with `dmd-build-engine`; returns the seconds it took."""
    program = Path(sys.executable).with_name("dmd-build-engine")
    return seconds_of(lambda: output_of([str(program), str(bundle), "--engine", device], bundle))


def receipts(bundle: Path) -> list[dict[str, Any]]:
    """The engines' records: the precision of each layer, asked for and built, and the parity."""
    return [json.loads(path.read_text()) for path in sorted(bundle.glob("engines/*.engine.json"))]


def races(args: Namespace) -> dict[int, dict[str, Measurement]]:
    """Race the engine and PyTorch in half precision; by faces in a call, and by subject."""
    with open_runners([args.bundle], args.device, None, args.checkpoint, ("eager",)) as runners:
        setting = Setting(
            runners,
            Cases(runners[0].memorize, REFERENCES),
            peaks(None, on_gpu=True),
            device=args.device,
            duration=args.duration,
            warm_up=WARM_UP,
            baseline=runners[-1].subject.name,
        )
        return {
            faces: {
                "engine" if row.ratio else "pytorch": row
                for row in restorations(setting, "latency", runners, faces, REFERENCES)
            }
            for faces in (1, BATCH)
        }


def endurance(bundle: Path, device: str, seconds: float, others: int) -> dict[str, Any]:
    """Endure calls of one face and of eight, with a dictionary and without, in eight threads.

    `others`: how many calls there are that differ.
    """
    someone = samples()[0]
    size = (others + BATCH, IMAGE_SIZE, IMAGE_SIZE, 3)
    pictures = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    with Restorer(bundle, device=device) as restorer:
        alice = restorer.memorize([someone.image] * REFERENCES, [someone.landmarks] * REFERENCES)
        jobs: list[Job] = []
        for number in range(others):
            faces = list(pictures[number : number + (BATCH if number % 4 == 3 else 1)])
            points = [someone.landmarks] * len(faces)
            people = [None if number % 3 == 2 else alice] * len(faces)
            jobs.append(partial(restorer.restore_batch, faces, points, people))
        return endure(jobs, seconds)


def endure(jobs: Sequence[Job], seconds: float) -> dict[str, Any]:
    """Run the jobs in eight threads, and compare each result with that of a single thread."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda job: job(), jobs))  # what is made once, is made now
    wanted = [job() for job in jobs]
    used, resident = [memory_used()], _peak_of_host()

    def work(number: int) -> int:
        pairs = zip(jobs[number % len(jobs)](), wanted[number % len(jobs)], strict=True)
        return max(itertools.starmap(difference, pairs))

    seen = under_load([work] * THREADS, seconds, lambda: used.append(memory_used()))
    known = [each for each in used if each is not None]
    growth = {
        "gpu": max(known) - known[0] if known else None,
        "host": _peak_of_host() - resident,
    }
    return {**seen.summary(), "growth_bytes": growth}


def targets(
    races: Mapping[int, Mapping[str, Measurement]], endured: Mapping[str, Any]
) -> dict[str, dict[str, object]]:
    """The targets of float16, what was measured (None if nothing was), and whether each is met."""
    one, eight = (races[faces]["engine"] if faces in races else None for faces in (1, BATCH))
    share = eight.share_of_peak if eight else None
    ratios = [row.ratio.median for row in (one, eight) if row and row.ratio]
    rows: dict[str, tuple[float, float | None, bool]] = {  # target, measured, more is better
        "p50_ms": (1.5, 1000 * one.value if one else None, False),
        "batch8_faces_per_s": (1000, BATCH / eight.value if eight else None, True),
        "floor_ratio": (2.2, 1 / share if share else None, False),  # to the arithmetic at the peak
        "speedup_over_torch_half": (5, 1 / max(ratios) if ratios else None, True),  # the worse
        "endurance_errors": (0, endured.get("errors of ours"), False),
        "endurance_mismatches": (0, endured.get("mismatches"), False),
    }
    return {
        name: {
            "target": target,
            "measured": found,
            "met": found is not None and (found >= target if more else found <= target),
        }
        for name, (target, found, more) in rows.items()
    }


def memory_used() -> int | None:
    """Bytes of the GPU's memory in use, by all processes together; None if torch has no CUDA."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


def _peak_of_host() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
