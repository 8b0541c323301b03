"""What lies in the folder of a clip's segments: records, their key, and the files' names."""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.storage.temporary import NAME
from runtime.video.files.encoding import Plan
from runtime.video.files.parts import Part, are_whole
from runtime.video.files.source import Source

KEY, LOCK = "clip.json", "lock"
_FIRST = re.compile(f"lock|{NAME.pattern}")  # what may lie there before clip.json does
_OURS = re.compile(rf"{_FIRST.pattern}|clip\.json|\d{{8,}}(-\d{{5,}}\.part|\.record|\.state)")
_VERSION = 2  # of what lies in the folder
_HEAD = 1 << 20  # bytes of the source's beginning and end that are hashed
_MOST = 1 << 28  # bytes of a state when it is unpacked, of some 80 kB for each face

Numbers = NDArray[np.int64]
"""Of all pictures of a clip, which would take five times the memory as Python's numbers."""


@dataclass(frozen=True, eq=False)
class Record:
    """A finished segment.

    Attributes:
        first: number of its first picture.
        pts: timestamps of its pictures, in the order of showing.
        durations: of its pictures, as the source says; 0 where it does not.
        packets: in the order of decoding, a row each: which of the pictures, how many bytes,
            whether it is a key frame.
        parts: the files of its packets.
        extradata: what the encoder says to decoders beforehand, hexadecimal.
        tag: the four letters by which it names its codec in a container; "" where it does not.
        fingerprint: of the last picture as it was decoded.
        longest: `VideoPicture.longest` of its last picture.
        damage: what was found damaged so far, as `Source.damage`.
    """

    first: int
    pts: Numbers
    durations: Numbers
    packets: Numbers
    parts: list[Part]
    extradata: str
    tag: str
    fingerprint: int
    longest: int
    damage: list[tuple[float, str]]

    @property
    def stem(self) -> str:
        """How the names of its files begin."""
        return stem(self.first)

    @property
    def after(self) -> int:
        """Number of the first picture after it."""
        return self.first + len(self.pts)


def segments_of(target: Path) -> Path:
    """The folder of a result's segments."""
    return Path(f"{target}.segments")


def stem(first: int) -> str:
    """How the names of a segment's files begin; `first`: number of its first picture."""
    return f"{first:08}"


def record_file(folder: Path, first: int) -> Path:
    """Where a segment's record lies."""
    return folder / f"{stem(first)}.record"


def state_file(folder: Path, first: int) -> Path:
    """Where the state before a picture lies."""
    return folder / f"{stem(first)}.state"


def packed(state: Mapping[str, Any]) -> bytes:
    """What lies in the file of a state."""
    return zlib.compress(json.dumps(state).encode())


def packed_record(record: Record) -> bytes:
    """What lies in the file of a record."""
    return msgspec.json.encode(record, enc_hook=lambda numbers: numbers.tolist())


def is_ours(file: Path) -> bool:
    """Whether the name of a file is one of those here."""
    return _OURS.fullmatch(file.name) is not None


def is_first(file: Path) -> bool:
    """Whether the name of a file is one of those that lie here before the key does."""
    return _FIRST.fullmatch(file.name) is not None


def finished(folder: Path) -> tuple[list[Record], dict[str, Any] | None]:
    """The undamaged segments from the first picture on, and the state behind the last of them.

    No state, if there are none.
    """
    records: list[Record] = []
    while (record := _whole(folder, records[-1].after if records else 0)) is not None:
        records.append(record)
    while records:
        if (state := _state(folder, records[-1].after)) is not None:
            return records, state
        records.pop()  # a run that ended between two segments left no state behind it
    return [], None


def _state(folder: Path, before: int) -> dict[str, Any] | None:
    """The state before a picture, if it is there and undamaged."""
    try:
        data = state_file(folder, before).read_bytes()
        state = json.loads(zlib.decompressobj().decompress(data, _MOST))
    except (OSError, ValueError, zlib.error):
        return None
    return state if isinstance(state, dict) else None


def _array(kind: Any, value: list[Any]) -> Numbers:
    numbers = np.array(value)
    if numbers.dtype != np.int64:
        raise ValueError("not all of them are whole numbers of 64 bits")
    return numbers


def _whole(folder: Path, first: int) -> Record | None:
    """The segment that begins with a picture, if it is there and undamaged."""
    try:
        data = record_file(folder, first).read_bytes()
        record = msgspec.json.decode(data, type=Record, dec_hook=_array)
    except (OSError, msgspec.DecodeError):
        return None
    count = record.pts.size
    shapes = record.pts.shape, record.durations.shape, record.packets.shape
    if record.first != first or not count or shapes != ((count,), (count,), (count, 3)):
        return None
    fits = np.array_equal(np.sort(record.packets[:, 0]), np.arange(count))
    return record if fits and are_whole(folder, record.stem, record.parts) else None


def key_of(source: Source, plan: Plan, options: Mapping[str, Any]) -> dict[str, Any]:
    """All that a segment depends on, as JSON gives it back."""
    import av

    path = Path(source.path)
    found = path.stat()
    with path.open("rb") as file:
        ends = file.read(_HEAD)
        file.seek(max(0, found.st_size - _HEAD))
        ends += file.read(_HEAD)
    try:
        release = version("dmdnet-runtime")
    except PackageNotFoundError:  # used from a folder
        release = ""
    settings = {**asdict(plan), "time_base": str(plan.time_base), "notes": []}
    key = {
        "version": [_VERSION, release, av.__version__],
        "source": [found.st_size, found.st_mtime_ns, hashlib.sha256(ends).hexdigest()],
        "part": [str(source.start), str(source.end)],
        "plan": settings,
        "options": options,
    }
    given: dict[str, Any] = json.loads(json.dumps(key))
    return given
