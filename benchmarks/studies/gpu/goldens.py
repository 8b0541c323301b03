"""Restored faces against the goldens, which are what the authors' own code gives."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import quality
from runtime import Restorer, read_landmarks
from runtime.errors import BenchmarkError
from runtime.images.files import read_image


@dataclass(frozen=True)
class Found:
    """A restored face against a golden: the largest difference in levels of 255, and how often."""

    golden: str
    kind: str  # "generic" or "specific"
    max_levels: float
    psnr_db: float  # 100 if nothing differs
    share_off: float  # of the values


def make_checkpoint(shared: Path, out: Path) -> None:
    """Write the weights with which the goldens were made."""
    import torch

    script = shared / "reference" / "make_checkpoint.py"
    spec = importlib.util.spec_from_file_location("make_checkpoint", script)
    if spec is None or spec.loader is None or not script.exists():
        raise BenchmarkError(f"{script} is missing: give --shared the folder of the research data")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.save(module.synthetic_state_dict(0), out)


def compare(shared: Path, bundle: Path, device: str) -> Iterator[Found]:
    """Restore the face of each golden on the device, and compare.

    Raises `BenchmarkError` if there is none.
    """
    folder = shared / "reference/golden"
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise BenchmarkError(f"{folder}: there are no goldens, NAME.npz, in it")
    with Restorer(bundle, device=device) as restorer:
        for path in paths:
            golden = np.load(path)
            person, number = str(golden["lq"]).removesuffix(".png").split("_")
            face = read_image(shared / "faces/degraded" / str(golden["lq"]))
            points = read_landmarks(_landmarks(shared, f"{person}/{number}.png"))
            alone = restorer.restore_aligned(face, points)
            yield _found(path.stem, "generic", alone, golden["generic"])
            if "references" in golden:
                names = [str(name) for name in golden["references"]]
                identity = restorer.memorize(
                    [read_image(shared / "faces/references" / name) for name in names],
                    [read_landmarks(_landmarks(shared, name)) for name in names],
                )
                restored = restorer.restore_aligned(face, points, identity)
                yield _found(path.stem, "specific", restored, golden["specific"])


def _landmarks(shared: Path, name: str) -> Path:
    return shared / "faces/landmarks" / f"{name}.txt"


def _found(name: str, kind: str, restored: NDArray[np.uint8], golden: NDArray[np.int16]) -> Found:
    expected = np.rint((golden.astype(np.float64) / 32767 + 1) * 127.5).transpose(1, 2, 0)
    colours = np.ascontiguousarray(restored[:, :, ::-1])
    off = np.abs(colours - expected)
    decibels = min(quality.EQUAL_DB, cv2.PSNR(colours, expected.astype(np.uint8)))
    return Found(name, kind, float(off.max()), decibels, float((off > 0).mean()))
