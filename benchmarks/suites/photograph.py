"""One photograph from file to file, stage by stage."""

import time
from pathlib import Path

from runtime.images.files import read_photo, write_image
from runtime.restorer import Restorer

Stages = dict[str, float]
"""Seconds by the name of the stage."""


def photograph(restorer: Restorer, file: Path, out: Path, runs: list[Stages]) -> None:
    """Restore `file` into `out`, and add its stages to `runs`."""
    start = time.perf_counter()
    photo = read_photo(file)
    decoded = time.perf_counter()
    restored = restorer.restore(photo.image)
    done = time.perf_counter()
    write_image(out, restored.image)
    encoded = time.perf_counter()
    stages = {"decode": decoded - start, **restored.timings, "encode": encoded - done}
    device = restorer.device_seconds
    if device is not None and len(restored.faces) < 2:  # it is of the last call
        stages |= {"copy in": device.copy_in, "copy out": device.copy_out}
        stages["network"] -= device.copy_in + device.copy_out
    runs.append(stages)
