"""Encoded packets on the disk, in parts that can be deleted one by one while they are joined.

The packets are kept as the encoder gave them. A container would round their times (Matroska), leave
half of them out (NUT), or take few codecs (MP4).
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runtime.errors import OutputError, VideoError
from runtime.storage.local import fault, is_for_nobody

_LEAST = 4 << 10  # bytes of a part
_SHARE = 16  # a part is about this fraction of all that is written of the clip
_MOST = 64 << 20  # bytes of a part


@dataclass(frozen=True)
class Part:
    """A file of packets, one after the other, with nothing between them.

    `size`: in bytes; `sha256`: hexadecimal.
    """

    size: int
    sha256: str


class PartWriter:
    """Writes a segment's packets, one part after the other."""

    def __init__(self, folder: Path, stem: str, before: int) -> None:
        """Begin with nothing; `before`: bytes of the clip's earlier segments."""
        self._folder, self._stem, self._total = folder, stem, before
        self._parts: list[Part] = []
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Write a packet. Raises OSError."""
        if self._file is None:
            self._file = part_file(self._folder, self._stem, len(self._parts)).open("wb")
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)
        self._total += len(data)
        if self._size >= min(max(_LEAST, self._total // _SHARE), _MOST):
            self._end()

    def finish(self) -> tuple[Part, ...]:
        """What was written, when it is on the disk for good. Raises OSError."""
        self._end()
        return tuple(self._parts)

    def discard(self) -> None:
        """Close and delete all that was written."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # of a full disk: it cannot be written to the end
                file.close()
        for number in range(len(self._parts) + 1):
            part_file(self._folder, self._stem, number).unlink(missing_ok=True)

    def _end(self) -> None:
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        self._parts.append(Part(self._size, self._hash.hexdigest()))
        self._hash, self._size = hashlib.sha256(), 0


def part_file(folder: Path, stem: str, number: int) -> Path:
    """Where a part lies."""
    return folder / f"{stem}-{number:05}.part"


def are_whole(folder: Path, stem: str, parts: Sequence[Part]) -> bool:
    """Whether all parts are there, as they were written."""
    return all(
        fault(part_file(folder, stem, number), part.size, part.sha256) is None
        for number, part in enumerate(parts)
    )


def read_parts(
    folder: Path, stem: str, parts: Sequence[Part], sizes: Sequence[int], delete: bool
) -> Iterator[bytes]:
    """The packets, of `sizes` bytes each.

    `delete`: whether a part is deleted when its packets have been taken. Raises OSError.
    """
    wanted = iter(sizes)
    for number, part in enumerate(parts):
        left = part.size
        with part_file(folder, stem, number).open("rb") as file:
            while left > 0:
                size = next(wanted)
                yield file.read(size)
                left -= size
        if delete:
            part_file(folder, stem, number).unlink()


def disk_error(where: Path, error: OSError, more: str) -> OutputError | VideoError:
    """An error of the disk as one of ours: the clip's own, or one that no clip can be written at.

    `where`: the result, or the folder of its segments; `more`: what the reader needs to know, too.
    """
    kind = OutputError if is_for_nobody(where.parent, error) else VideoError
    return kind(f"{where}: {error.strerror or error}; {more}")
