"""Time of each stage for a photograph: twelve faces of 48-400 px on 4000 x 3000.

    python -m benchmarks.studies.photographs --bundle BUNDLE --json FILE

The faces are the two samples, shrunk onto a smooth background. What is not the network (detect,
align, paste) is given as a share of the network's own time.
"""

import statistics
from functools import partial
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.studies import record
from runtime import Restorer
from runtime.images.files import read_image
from runtime.samples.faces import SAMPLES

SIZE = (4000, 3000)
FACE = 300  # width of the face in a sample crop, in pixels


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.photographs", __doc__)
    parser.add_argument("--bundle", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    measured = partial(measure, args.bundle, args.threads, args.rounds)
    record.record(parser.prog, args.json, measured)


def measure(bundle: Path, threads: int, rounds: int) -> dict[str, object]:
    """Median seconds of each stage over `rounds` after a warm-up."""
    photo = composite()
    with Restorer(bundle, device="cpu", threads=threads) as restorer:
        results = [restorer.restore(photo) for _ in range(rounds + 1)][1:]
    stages = results[0].timings
    median = {s: statistics.median(r.timings[s] for r in results) for s in stages}
    beyond = [(sum(r.timings.values()) / r.timings["network"]) - 1 for r in results]
    return {
        **record.circumstances("onnxruntime", "opencv-python", "dmdnet-runtime"),
        "what": f"12 faces of 48-400 px on {SIZE[0]} x {SIZE[1]}, {threads} threads",
        "rounds": rounds,
        "faces_found": len(results[0].faces),
        "faces_restored": len(results[0].restored),
        "median_s": median,
        "beyond_network_share": {"median": statistics.median(beyond), "all": beyond},
    }


def composite() -> NDArray[np.uint8]:
    """BGR (3000, 4000, 3) with twelve faces in a grid."""
    coarse = np.random.default_rng(1).integers(60, 200, (30, 40, 3)).astype(np.uint8)
    canvas = np.asarray(cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)
    crops = [read_image(SAMPLES / name) for name in ("astronaut.png", "grace_hopper.png")]
    for index, side in enumerate(np.linspace(48, 400, 12)):
        scale = side / FACE
        face = np.asarray(crops[index % 2], np.uint8)
        small = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        x, y = index % 4 * 1000 + 20, index // 4 * 1000 + 20
        canvas[y : y + len(small), x : x + len(small)] = small
    return canvas


if __name__ == "__main__":
    main()
