"""INT8 on the CPU: time and memory against float32, and the curve of quality against time.

    python -m benchmarks.studies.int8 --fp32 BUNDLE --int8 BUNDLE --json FILE

Both bundles must come from the same weights. First a whole calibration with 64 faces is run and
its time and memory are taken. Then the bundles restore the same face in turns, so that a slower
minute of the machine slows both; each turn begins after a rest, in which the other's threads fall
asleep. Then variants of the INT8 graph take turns with float32 and are scored on the held-out
faces: without equalisation, as calibrated, and with more and more blocks put back to float, most
error saved for least arithmetic first.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

from benchmarks.measure.memory import peak_bytes, restore_command
from benchmarks.studies import record
from calibration.calibrate import Floats, Quantizer, calibrate, choose_faces, prepare
from calibration.graph import Graph
from calibration.options import Options
from calibration.quantization import shrink_dictionary
from calibration.ranges import ranges_of
from calibration.sessions import open_run
from calibration.statistics import observe
from runtime import Restorer, read_landmarks
from runtime.bundle.manifest import Quantization, QuantizedBlock
from runtime.bundle.opening import Bundle, open_bundle
from runtime.errors import UsageError
from runtime.images.files import read_image
from runtime.samples.faces import SAMPLES

REFERENCES = 5
OPTIONS = Options(size=64)
BACK = (1, 2, 4, 8)  # blocks put back to float
REST_S = 0.3  # before a turn: threads of the other engine go on spinning for a while


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.int8", __doc__)
    parser.add_argument("--fp32", required=True, type=Path, help="float32 bundle")
    parser.add_argument("--int8", required=True, type=Path, help="INT8 bundle for the CPU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    record.record(parser.prog, args.json, partial(measure, args))


def measure(args: Namespace) -> dict[str, object]:
    fp32, int8 = open_bundle(args.fp32), open_bundle(args.int8)
    if fp32.manifest.weights.sha256 != int8.manifest.weights.sha256:
        raise UsageError(f"{args.int8} was not made from the weights of {args.fp32}")
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=args.json.parent) as folder:
        work = Path(folder)
        made, calibration = _calibration(fp32, work)
        return {
            **record.circumstances("onnxruntime", "dmdnet-runtime"),
            "what": f"one face, {REFERENCES} references, whole call, {args.threads} threads",
            "bytes": {"fp32": _size(fp32), "int8": _size(int8)},
            "calibration": calibration,
            "peak_bytes_of_dmd_restore": {
                "fp32": _peak(fp32, args.threads, work),
                "int8": _peak(int8, args.threads, work),
            },
            "side_by_side": _side_by_side(fp32, int8, args.threads, args.rounds),
            "curve": _curve(fp32, made, args.threads, max(3, args.rounds // 3), work),
        }


def _size(bundle: Bundle) -> int:
    return sum(record.size for record in bundle.manifest.files.values())


def _floats(bundle: Bundle) -> Floats:
    return Floats(bundle.path / "restorer.onnx", bundle.path / "memorizer.onnx")


def _calibration(fp32: Bundle, folder: Path) -> tuple[Quantization, dict[str, object]]:
    """Everything that `dmd-export --int8` does after exporting, with nothing in the cache."""
    start = time.monotonic()
    made = calibrate(
        _floats(fp32),
        folder / "calibrated.onnx",
        choose_faces(OPTIONS),
        OPTIONS,
        folder / "cache",
        fp32.manifest.weights.sha256,
    )
    return made, {
        "faces": made.calibration_faces,
        "seconds": time.monotonic() - start,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _peak(bundle: Bundle, threads: int, folder: Path) -> int:
    return peak_bytes(restore_command(bundle.path, folder / "restored", threads))


def _side_by_side(
    fp32: Bundle, int8: Bundle, threads: int, rounds: int
) -> dict[str, dict[str, object]]:
    """The two bundles through the Restorer, in turns."""
    face = read_image(SAMPLES / "astronaut.png")
    points = read_landmarks(SAMPLES / "astronaut.png.txt")
    times: dict[str, list[float]] = {"fp32": [], "int8": []}
    with (
        Restorer(fp32.path, device="cpu", threads=threads) as one,
        Restorer(int8.path, device="cpu", threads=threads) as other,
    ):
        people = [r.memorize([face] * REFERENCES, [points] * REFERENCES) for r in (one, other)]
        for turn in range(rounds + 1):  # the first is warm-up
            for name, restorer, person in zip(times, (one, other), people, strict=True):
                time.sleep(REST_S)
                start = time.perf_counter()
                restorer.restore_aligned(face, points, person)
                if turn:
                    times[name].append(time.perf_counter() - start)
    return {"int8_over_fp32": _ratio(times["int8"], times["fp32"]), "times_s": {**times}}


def _curve(
    fp32: Bundle, made: Quantization, threads: int, rounds: int, folder: Path
) -> list[dict[str, object]]:
    """Variants of the INT8 graph: share of float32's time, and quality on held-out faces."""
    floats, faces = _floats(fp32), choose_faces(OPTIONS)
    weights, cache = fp32.manifest.weights.sha256, folder / "cache"
    default = prepare(floats, faces, OPTIONS, cache, weights)
    blocks = list(default.graph.blocks)
    costly = [row.name for row in sorted(made.blocks, key=_worth) if row.name in blocks]

    rows: list[dict[str, object]] = []

    def add(name: str, work: Quantizer, chosen: Sequence[str]) -> None:
        path = folder / "variant.onnx"
        work.write(chosen, path)
        row: dict[str, object] = {
            "variant": name,
            "float_blocks": [block for block in blocks if block not in chosen],
            "time_over_fp32": _race(floats.restorer, path, work, threads, rounds),
            "quality": [vars(region) for region in work.quality(path)],
        }
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    add(
        "plain min-max, no equalisation, no bias correction", _plain(floats, default, cache), blocks
    )
    for method in ("minmax", "entropy"):
        add(method, prepare(floats, faces, replace(OPTIONS, method=method), cache, weights), blocks)
    add("percentile, the default", default, blocks)
    for count in BACK:
        left = [block for block in blocks if block not in costly[:count]]
        add(f"the default, {count} of {len(blocks)} blocks in float", default, left)
    add("the dictionary alone", default, [])
    return rows


def _worth(row: QuantizedBlock) -> float:
    """Lowest for most error saved for least arithmetic."""
    return -(10 ** (-row.psnr_db["whole"] / 10)) / max(row.share, 1e-9)


def _plain(floats: Floats, default: Quantizer, cache: Path) -> Quantizer:
    """The same faces, ranges between extremes, channels as they are."""
    graph = Graph(floats.restorer)
    (folder,) = cache.iterdir()
    names = graph.activations(graph.blocks)
    seen = observe(graph, names, default.faces.calibration, floats.memorizer, 0, folder)
    shrink_dictionary(graph)
    no_shifts = {name: np.zeros_like(shift) for name, shift in default.shifts.items()}
    return replace(default, graph=graph, ranges=ranges_of(seen, "minmax"), shifts=no_shifts)


def _race(
    reference: Path, path: Path, work: Quantizer, threads: int, rounds: int
) -> dict[str, object]:
    """Both graphs on one held-out face, in turns."""
    runs = [open_run(file, threads=threads) for file in (reference, path)]
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 1):  # the first is warm-up
        for run, seconds in zip(runs, times, strict=True):
            time.sleep(REST_S)
            start = time.perf_counter()
            run(work.trials[-1].case)
            if turn:
                seconds.append(time.perf_counter() - start)
    return _ratio(times[1], times[0])


def _ratio(times: Sequence[float], reference: Sequence[float]) -> dict[str, object]:
    ratios = [a / b for a, b in zip(times, reference, strict=True)]
    return {
        "median": statistics.median(ratios),
        "quartiles": statistics.quantiles(ratios, n=4),
        "median_s": statistics.median(times),
        "median_s_of_fp32": statistics.median(reference),
    }


if __name__ == "__main__":
    main()
