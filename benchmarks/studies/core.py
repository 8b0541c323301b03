"""Time of a specific restoration: the float32 bundle against our PyTorch module, side by side.

    python -m benchmarks.studies.core --checkpoint synthetic --bundle BUNDLE --json FILE

Both restore the same face with the same five references, `--threads` CPU threads each, in turns, so
that a slower minute of the machine slows both; the first round of each is not counted. PyTorch
runs the same arithmetic as the bundle, eagerly and without gradients. A batch of four faces in one
engine call takes its turn too, counted a face.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from benchmarks.measure.timing import seconds_of
from benchmarks.studies import record
from export.model.checkpoint import load_weights
from export.model.graphs import RestorerGraph
from runtime import Restorer, component_boxes, read_landmarks
from runtime.errors import UsageError
from runtime.images.files import read_image
from runtime.samples.faces import SAMPLES

REFERENCES = 5
BATCH = 4


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.core", __doc__)
    parser.add_argument("--checkpoint", required=True, help="as for dmd-export")
    parser.add_argument("--bundle", required=True, type=Path, help="made from that checkpoint")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    measured = partial(measure, args.checkpoint, args.bundle, args.threads, args.rounds)
    record.record(parser.prog, args.json, measured)


def measure(checkpoint: str, bundle: Path, threads: int, rounds: int) -> dict[str, object]:
    """Seconds a face of each in turns, `rounds` times after a warm-up, and the median ratio."""
    torch.set_num_threads(threads)
    weights = load_weights(checkpoint)
    graph = RestorerGraph(weights.network)
    with Restorer(bundle, device="cpu", threads=threads, max_batch=BATCH) as restorer:
        if restorer.manifest.weights.sha256 != weights.record.sha256:
            raise UsageError(f"{bundle} was not made from {checkpoint}")
        face = read_image(SAMPLES / "astronaut.png")
        points = read_landmarks(SAMPLES / "astronaut.png.txt")
        identity = restorer.memorize([face] * REFERENCES, [points] * REFERENCES)
        tensors = [
            torch.from_numpy(np.ascontiguousarray(face[None, :, :, ::-1], dtype=np.uint8)),
            torch.from_numpy(component_boxes(points)[None]),
            torch.from_numpy(identity.rows.copy()),
            torch.ones(1, REFERENCES),
        ]

        def eager() -> object:
            with torch.inference_mode():
                return graph(*tensors)

        def exported() -> object:
            return restorer.restore_aligned(face, points, identity)

        def batched() -> object:
            return restorer.restore_batch([face] * BATCH, [points] * BATCH, [identity] * BATCH)

        runs: dict[str, tuple[Callable[[], object], int]] = {
            "pytorch": (eager, 1),
            "onnxruntime": (exported, 1),
            f"onnxruntime, batch of {BATCH}": (batched, BATCH),
        }
        warm_up = {name: seconds_of(work) / faces for name, (work, faces) in runs.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, (work, faces) in runs.items():
                times[name].append(seconds_of(work) / faces)
    ratios = [o / p for o, p in zip(times["onnxruntime"], times["pytorch"], strict=True)]
    return {
        **record.circumstances("torch", "onnxruntime", "dmdnet-runtime"),
        "what": f"one face, {REFERENCES} references, float32, whole call, {threads} threads",
        "rounds": rounds,
        "warm_up_s": warm_up,
        "median_s": {name: statistics.median(values) for name, values in times.items()},
        "onnxruntime_over_pytorch": {
            "median": statistics.median(ratios),
            "quartiles": statistics.quantiles(ratios, n=4),
        },
        "times_s": times,
    }


if __name__ == "__main__":
    main()
