"""What a long clip takes against a short one: peak memory, and room for temporary files.

Each clip is restored in a process of its own, with an engine that costs nothing.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure.clips import Recipe, one_person, write_clip
from benchmarks.measure.memory import peak_bytes
from benchmarks.studies.video.runs import command
from benchmarks.suites.ceiling import NullEngine

FRAMES = (1_000, 10_000)
MOST_RATIO = 1.05  # of the long clip's memory to the short one's
MOST_ROOM = 1.2  # of temporary files, to the result's size

_SIZE = (640, 360)
_RATE = 25
_LOOK_S = 0.2  # between two looks at the folder


@dataclass(frozen=True)
class Taken:
    """What a clip takes: the peak of memory, and of all files beside it, over the result's size."""

    frames: int
    peak_bytes: int
    result_bytes: int
    most_room_bytes: int

    @property
    def room(self) -> float:
        return self.most_room_bytes / self.result_bytes


def measure(
    bundle: Path, rounds: int, short: int = FRAMES[0], long: int = FRAMES[1]
) -> dict[str, object]:
    """The smallest peak of several runs of each clip; `failures` says which goal was missed."""
    with TemporaryDirectory() as folder:
        runs = {frames: _runs(bundle, Path(folder), frames, rounds) for frames in (short, long)}
    least = [min(each.peak_bytes for each in those) for those in runs.values()]
    ratio = least[1] / least[0]
    room = max(each.room for those in runs.values() for each in those)
    failures = []
    if ratio > MOST_RATIO:
        failures.append(f"{long} frames take {ratio:.3f} times the memory of {short}")
    if room > MOST_ROOM:
        failures.append(f"temporary files take {room:.2f} times the result's size")
    return {
        "what": f"{_SIZE[0]} x {_SIZE[1]}, one face, null engine",
        "frames": (short, long),
        "peak_bytes": least,
        "long_over_short": ratio,
        "room_over_result": room,
        "runs": [each for those in runs.values() for each in those],
        "failures": failures,
    }


def _runs(bundle: Path, folder: Path, frames: int, rounds: int) -> list[Taken]:
    clip = write_clip(folder / f"{frames}.mp4", Recipe(one_person(_SIZE, frames / _RATE)))
    found = []
    for number in range(rounds):
        out = folder / f"{frames}-{number}"
        out.mkdir()
        target = out / "result.mp4"
        with _Watch(out) as watch:
            peak = peak_bytes(command(NullEngine, bundle, clip.path, target))
        found.append(Taken(len(clip.times), peak, target.stat().st_size, watch.most))
        target.unlink()
    return found


class _Watch:
    """Looks at a folder now and then; `most`: the bytes of all files in it, where they were most.

    So the result is one of them: at its end a run may hold temporary files and the result.
    """

    def __init__(self, folder: Path) -> None:
        self.most = 0
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.most = max(self.most, sum(map(_size, self._folder.rglob("*"))))


def _size(path: Path) -> int:
    """Bytes of a file; 0 of a folder, and of a file that is gone meanwhile."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0
