from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.calibrate import Floats, Options, Quantizer, choose_faces, prepare


def test_the_mean_comes_back(bundle: Path, tmp_path: Path) -> None:
    floats = Floats(bundle / "restorer.onnx", bundle / "memorizer.onnx")
    options = Options(size=6)
    work = prepare(floats, choose_faces(options), options, tmp_path / "cache", "weights")
    assert len(work.shifts) == 117

    def cast(quantizer: Quantizer) -> float:
        """Mean signed difference of each colour, in levels."""
        path = tmp_path / "restorer.onnx"
        quantizer.write(work.graph.blocks, path)
        differences = [
            (got.astype(float) - trial.wanted).mean(axis=(0, 1))
            for trial, got in quantizer.restored(path, work.trials)
        ]
        return float(np.abs(np.mean(differences, axis=0)).mean())

    corrected = cast(work)
    twice_wrong = cast(replace(work, shifts={name: -s for name, s in work.shifts.items()}))
    assert corrected < 0.7 * twice_wrong
    assert corrected < 0.4  # levels; a narrow network has little cast to correct
