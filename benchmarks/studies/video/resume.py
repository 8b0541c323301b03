"""A run that is killed in the middle and resumed, against one that nobody disturbed.

The engine gives the negative of each face: a face that the second run follows, smooths or fades in
any other way than the first would have differs in many pixels.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure.clips import Recipe, one_person, write_clip
from benchmarks.measure.scenes import Scene
from benchmarks.studies.video.engines import NegativeEngine
from benchmarks.studies.video.runs import command, run

KILLED_AT = (0.3, 0.6, 0.9)  # of all frames
MOST_AGAIN_S = 10.0  # seconds of clip that may be done again

_SIZE = (320, 240)
_RATE = 25


@dataclass(frozen=True)
class Resumed:
    """What became of a run that was killed when `done` frames were finished.

    `resumed`: the frames that the next run did not have to do. `different`: the frames of the
    result that are not those of an undisturbed run, or have another time.
    """

    done: int
    resumed: int
    again_s: float
    different: int


def measure(
    bundle: Path, seconds: float, killed_at: Sequence[float] = KILLED_AT
) -> dict[str, object]:
    """Kill a run at several moments; `failures` says what differs, and what is done too often."""
    found, failures = [], []
    with TemporaryDirectory() as folder:
        place = Path(folder)
        clip = write_clip(place / "clip.mp4", Recipe(_two_shots(seconds)))
        frames = len(clip.times)
        run(command(NegativeEngine, bundle, clip.path, place / "whole.mp4"))
        whole = decoded(place / "whole.mp4")
        for share in killed_at:
            target = place / "killed.mp4"
            words = command(NegativeEngine, bundle, clip.path, target)
            done, _ = run(words, kill_after=round(share * frames))
            if target.exists():
                failures.append(f"killed at {share}: the result was there before it was whole")
            again = command(NegativeEngine, bundle, clip.path, target, resume=True)
            _, resumed = run(again)
            mended = decoded(target)
            different = sum(one != other for one, other in zip(whole, mended, strict=False))
            different += abs(len(whole) - len(mended))
            one = Resumed(done, resumed, (done - resumed) / _RATE, different)
            target.unlink()
            found.append(one)
            if one.different:
                failures.append(f"killed at {share}: {one.different} frames differ")
            if one.again_s > MOST_AGAIN_S:
                failures.append(f"killed at {share}: {one.again_s:.1f} s were done again")
    return {
        "what": f"{_SIZE[0]} x {_SIZE[1]}, {frames} frames: killed, resumed, compared",
        "killed": found,
        "failures": failures,
    }


def decoded(path: Path) -> list[tuple[Fraction, str]]:
    """The seconds and the SHA-256 of the values of each frame of a clip."""
    import av

    with av.open(str(path)) as container:
        return [
            (
                Fraction(frame.pts or 0) * (frame.time_base or 1),
                hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest(),
            )
            for frame in container.decode(video=0)
        ]


def _two_shots(seconds: float) -> Scene:
    """The same person before and after a cut in the middle."""
    (shot,) = one_person(_SIZE, seconds / 2).shots
    return Scene(_SIZE, (shot, replace(shot, seed=1)))
