"""The options of `dmd-export --int8`; light to import, so that `--help` is instant."""

from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UsageError

METHODS = ("entropy", "percentile", "minmax")
"""How the range of an activation is chosen (`calibration.ranges`)."""
TARGETS = ("cpu", "tensorrt")
"""What runs the INT8 graph (`calibration.quantization`)."""


@dataclass(frozen=True)
class Options:
    """Which faces to calibrate with, and how.

    `faces` and `size` as in `calibration.faces.face_set`; `min_psnr_db`: the mean PSNR that the
    quality gate requires. Raises `UsageError` for an unknown method or target, or a size below 1.
    """

    faces: Path | None = None
    size: int = 32
    method: str = "percentile"
    target: str = "cpu"
    min_psnr_db: float = 35.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"method must be one of {', '.join(METHODS)}, not {self.method!r}")
        if self.target not in TARGETS:
            raise UsageError(f"target must be one of {', '.join(TARGETS)}, not {self.target!r}")
        if self.size < 1:
            raise UsageError(f"calibration size must be 1 or more, not {self.size}")
