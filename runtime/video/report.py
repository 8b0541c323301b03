"""What became of a clip: who was followed from when to when, and how long it all took."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.dictionary import SpecificDictionary
    from runtime.video.tracks.seen import TrackedFace


@dataclass(frozen=True)
class VideoTrack:
    """A face that was followed through a part of a clip.

    Attributes:
        number: of the track, from 0 in the order of appearance; what `only` means.
        begin: when the face is first seen, in seconds from the beginning of the clip.
        end: when it is last seen.
        frames: in which it was restored.
        name: who it is: one of the people, or the person who was given by hand; None for nobody.
            Where it changed, that of most restored frames, and the report has a warning.
        distance: to the references of the nearest of the people; None where it was not compared,
            or another person was given by hand.
        guess: the nearest person, where that may be who it is, but nobody was chosen.
    """

    number: int
    begin: float
    end: float
    frames: int
    name: str | None
    distance: float | None
    guess: str | None


@dataclass(frozen=True)
class VideoReport:
    """A clip that was restored.

    Attributes:
        frames: of the result.
        resumed: those of them that an earlier run had done.
        tracks: the faces that were followed, in the order of appearance.
        seconds: that this run took.
        timings: seconds of work by stage, "decode", "find", "follow", "cut", "network", "paste",
            "encode" and "join"; stages overlap, so that together they may be more than `seconds`.
        warnings: what was not done as asked, whose track's name changed, and where the clip is
            damaged; a sentence each.
    """

    frames: int
    resumed: int
    tracks: tuple[VideoTrack, ...]
    seconds: float
    timings: Mapping[str, float]
    warnings: tuple[str, ...]


class Clock:
    """Seconds of each stage; threads add to it side by side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the seconds of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        with self._lock:
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @property
    def seconds(self) -> dict[str, float]:
        with self._lock:
            return dict(self._seconds)

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start


@dataclass(frozen=True)
class _Stay:
    """A part of a track in which it had one name.

    `shown`, `restored`: frames. `distance`, `guess`: of its last frame.
    """

    name: str | None
    begin: float
    end: float
    shown: int
    restored: int
    distance: float | None
    guess: str | None


class Log:
    """What is known of the tracks so far; its state is kept with each segment of the result."""

    def __init__(self, state: Sequence[Mapping[str, Any]] = ()) -> None:
        self._tracks = {each["number"]: [_Stay(**stay) for stay in each["stays"]] for each in state}

    def add(self, at: float, faces: "Sequence[TrackedFace]", restored: Sequence[int]) -> None:
        """Note a frame: its time, its faces, and the tracks that were restored in it."""
        for one in faces:
            face, stays = one.face, self._tracks.setdefault(one.track, [])
            if not stays or stays[-1].name != face.name:
                stays.append(_Stay(face.name, at, at, 0, 0, None, None))
            last = stays[-1]
            stays[-1] = replace(
                last,
                end=at,
                shown=last.shown + 1,
                restored=last.restored + (one.track in restored),
                distance=None if face.distance is None else round(float(face.distance), 3),
                guess=face.guess,
            )

    def state(self) -> list[dict[str, Any]]:
        """For JSON; a new `Log` goes on from it."""
        return [
            {"number": number, "stays": [asdict(stay) for stay in stays]}
            for number, stays in self._tracks.items()
        ]

    def tracks(self, by_hand: "SpecificDictionary | None") -> tuple[VideoTrack, ...]:
        """All tracks by number. `by_hand`: the dictionary that all were restored with, if any."""
        found = []
        for number, stays in sorted(self._tracks.items()):
            frames, name = sum(stay.restored for stay in stays), _name(stays)
            last = next(stay for stay in reversed(stays) if stay.name == name)
            distance, guess = last.distance, last.guess
            if by_hand is not None and frames:
                voted, name, guess = name, by_hand.name or None, None
                distance = distance if name == voted else None
            found.append(
                VideoTrack(number, stays[0].begin, stays[-1].end, frames, name, distance, guess)
            )
        return tuple(found)

    def changes(self) -> tuple[str, ...]:
        """A sentence for each restored track whose name changed."""
        return tuple(
            f"track {number} is {_name(stays) or 'nobody'} in most frames, but was restored as "
            + ", ".join(f"{stay.name or 'nobody'} from {stay.begin:.2f} s" for stay in stays)
            for number, stays in sorted(self._tracks.items())
            if len(stays) > 1 and any(stay.restored for stay in stays)
        )


def _name(stays: Sequence[_Stay]) -> str | None:
    """The name of most restored frames, or of most frames where none was; the later of equals."""
    restored: Counter[str | None] = Counter()
    shown: Counter[str | None] = Counter()
    for stay in stays:
        restored[stay.name] += stay.restored
        shown[stay.name] += stay.shown
    return max(
        (stay.name for stay in reversed(stays)), key=lambda name: (restored[name], shown[name])
    )
