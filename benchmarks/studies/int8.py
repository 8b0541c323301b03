"""Measure INT8 on the CPU: what calibrating costs, and the curve of quality against time.

    python -m benchmarks.studies.int8 --fp32 BUNDLE --int8 BUNDLE --json FILE

Both bundles must come from the same weights. First the time and memory of a whole calibration with
64 faces are measured. Then variants of the INT8 graph take turns with float32 and are scored on the
held-out faces: without equalisation, as calibrated, and with more and more blocks put back to
float, first those that save most error for least arithmetic. `dmd-bench` measures how fast the
finished bundle is and what memory it takes.
"""

import json
import resource
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

from benchmarks.measure.timing import Work, race
from benchmarks.studies import record
from calibration.calibrate import Floats, Quantizer, calibrate, choose_faces, prepare
from calibration.graph import Graph
from calibration.options import Options
from calibration.quantization import shrink_dictionary
from calibration.ranges import ranges_of
from calibration.sessions import open_run
from calibration.statistics import observe
from runtime.bundle.manifest import Quantization, QuantizedBlock
from runtime.bundle.opening import open_bundle
from runtime.errors import UsageError

OPTIONS = Options(size=64)
BACK = (1, 2, 4, 8)  # blocks put back to float


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.int8", __doc__)
    parser.add_argument("--fp32", required=True, type=Path, help="float32 bundle")
    parser.add_argument("--int8", required=True, type=Path, help="INT8 bundle for the CPU")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of a graph")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each variant")
    args = parser.parse_args()
    record.record(parser.prog, args.json, partial(measure, args))


def measure(args: Namespace) -> dict[str, object]:
    fp32, int8 = open_bundle(args.fp32), open_bundle(args.int8)
    if fp32.manifest.weights.sha256 != int8.manifest.weights.sha256:
        raise UsageError(f"{args.int8} was not made from the weights of {args.fp32}")
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=args.json.parent) as folder:
        work = Path(folder)
        floats = Floats(fp32.path / "restorer.onnx", fp32.path / "memorizer.onnx")
        weights = fp32.manifest.weights.sha256
        made, calibration = _calibration(floats, weights, work)
        return {
            "weights": fp32.manifest.weights,
            "what": f"one held-out face in the graph alone, {args.threads} threads",
            "bytes": {
                name: sum(record.size for record in bundle.manifest.files.values())
                for name, bundle in (("fp32", fp32), ("int8", int8))
            },
            "calibration": calibration,
            "curve": _curve(floats, weights, made, args, work),
        }


def _calibration(
    floats: Floats, weights: str, folder: Path
) -> tuple[Quantization, dict[str, object]]:
    """Everything that `dmd-export --int8` does after exporting, with nothing in the cache."""
    start = time.monotonic()
    faces, out, cache = choose_faces(OPTIONS), folder / "calibrated.onnx", folder / "cache"
    made = calibrate(floats, out, faces, OPTIONS, cache, weights)
    return made, {
        "faces": made.calibration_faces,
        "seconds": time.monotonic() - start,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _curve(
    floats: Floats, weights: str, made: Quantization, args: Namespace, folder: Path
) -> list[dict[str, object]]:
    """Variants of the INT8 graph: share of float32's time, and quality on held-out faces."""
    faces, cache = choose_faces(OPTIONS), folder / "cache"
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
            "time_over_fp32": _race(floats.restorer, path, work, args),
            "quality": [vars(region) for region in work.quality(path)],
        }
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    plain = _plain(floats, default, cache)
    add("plain min-max, no equalisation, no bias correction", plain, blocks)
    for method in ("minmax", "entropy"):
        add(method, prepare(floats, faces, replace(OPTIONS, method=method), cache, weights), blocks)
    add("percentile, the default", default, blocks)
    for count in BACK:
        left = [block for block in blocks if block not in costly[:count]]
        add(f"the default, {count} of {len(blocks)} blocks in float", default, left)
    add("the dictionary alone", default, [])
    return rows


def _worth(row: QuantizedBlock) -> float:
    """A sort key: lowest where most error is saved for least arithmetic."""
    return -(10 ** (-row.psnr_db["whole"] / 10)) / max(row.share, 1e-9)


def _plain(floats: Floats, default: Quantizer, cache: Path) -> Quantizer:
    """The quantizer for the same faces with min-max ranges, and channels as they are."""
    graph = Graph(floats.restorer)
    (folder,) = cache.iterdir()
    names = graph.activations(graph.blocks)
    seen = observe(graph, names, default.faces.calibration, floats.memorizer, 0, folder)
    shrink_dictionary(graph)
    no_shifts = {name: np.zeros_like(shift) for name, shift in default.shifts.items()}
    return replace(default, graph=graph, ranges=ranges_of(seen, "minmax"), shifts=no_shifts)


def _race(reference: Path, path: Path, work: Quantizer, args: Namespace) -> dict[str, object]:
    """Race both graphs on one held-out face."""
    case = work.trials[-1].case
    works: dict[str, Work] = {
        name: partial(open_run(file, threads=args.threads), case)
        for name, file in (("fp32", reference), ("int8", path))
    }
    times = race(works, fewest=args.rounds)
    ratios = np.divide(times["int8"].rounds, times["fp32"].rounds)
    return {
        "median": float(np.median(ratios)),
        "quartiles": np.percentile(ratios, (25, 50, 75)).tolist(),
        "median_s": times["int8"].median,
        "median_s_of_fp32": times["fp32"].median,
    }


if __name__ == "__main__":
    main()
