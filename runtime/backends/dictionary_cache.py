"""A cache of specific dictionaries in the engine's memory: a video sends its dictionary once."""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from runtime.backends.base import Rows

Memory = TypeVar("Memory")


@dataclass
class _Entry(Generic[Memory]):
    people: tuple[Rows, ...]  # kept, so that no other array gets its id
    memory: Memory
    users: int

    @property
    def nbytes(self) -> int:
        return sum(rows.nbytes for rows in self.people)


class KeptRows(ABC, Generic[Memory]):
    """Keeps rows in the engine's memory between calls; the least recently used are freed first.

    `limit`: bytes of rows that stay while no call uses them. Rows are known again by their arrays'
    identity. Safe to use from many threads.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[int, ...], _Entry[Memory]] = OrderedDict()
        self.copies = 0  # to the engine, since the beginning

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        return sum(entry.nbytes for entry in self._entries.values())

    @contextmanager
    def hold(self, parts: Sequence[tuple[Rows, ...]]) -> Iterator[list[Memory]]:
        """The memory of each part, which is not freed before the `with` block ends.

        A part is one person's rows, or those of several below each other.
        """
        held: list[_Entry[Memory]] = []
        try:
            with self._lock:
                for part in parts:
                    held.append(self._enter(part))
            yield [entry.memory for entry in held]
        finally:
            with self._lock:
                for entry in held:
                    entry.users -= 1
                self._shrink(self._limit)

    def close(self) -> None:
        """Free what no call is using, and keep nothing from now on; the device must be current."""
        with self._lock:
            self._limit = 0
            self._shrink(0)

    @abstractmethod
    def _put(self, people: tuple[Rows, ...]) -> Memory:
        """Memory filled with the rows."""

    @abstractmethod
    def _free(self, memory: Memory) -> None: ...

    def _enter(self, people: tuple[Rows, ...]) -> _Entry[Memory]:
        key = tuple(id(rows) for rows in people)
        entry = self._entries.get(key)
        if entry is None:
            memory = self._put(people)
            self.copies += 1
            entry = self._entries[key] = _Entry(people, memory, 0)
        self._entries.move_to_end(key)
        entry.users += 1
        return entry

    def _shrink(self, limit: int) -> None:
        """Free idle entries, oldest first, until `limit` bytes hold the rest."""
        total = self.nbytes
        for key, entry in list(self._entries.items()):
            if total <= limit:
                return
            if not entry.users:
                total -= entry.nbytes
                del self._entries[key]
                self._free(entry.memory)
