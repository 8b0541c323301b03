"""A cache of specific dictionaries in the engine's memory: a video sends its dictionary once."""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from runtime.backends.base import Rows

Memory = TypeVar("Memory")


@dataclass
class _Entry(Generic[Memory]):
    people: tuple[Rows, ...]  # kept, so that no other array gets its id
    users: int
    memory: Memory | None = None  # until the rows are there
    settled: threading.Event = field(default_factory=threading.Event)  # copied, or given up

    @property
    def nbytes(self) -> int:
        return sum(rows.nbytes for rows in self.people)


class KeptRows(ABC, Generic[Memory]):
    """Keeps rows in the engine's memory between calls; the least recently used are freed first.

    `limit`: bytes of rows that stay while no call uses them. Rows are known again by their arrays'
    identity. Safe to use from many threads: rows are copied once, whoever asks for them meanwhile,
    and they are copied and freed outside the lock.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._freed, self._freeing = threading.Condition(self._lock), 0
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
            yield [self._enter(part, held) for part in parts]
        finally:
            with self._lock:
                for entry in held:
                    entry.users -= 1
            self._shrink()

    def close(self) -> None:
        """Free what no call is using, and keep nothing from now on; the device must be current."""
        with self._lock:
            self._limit = 0
        self._shrink()

    @abstractmethod
    def _put(self, people: tuple[Rows, ...]) -> Memory:
        """Memory filled with the rows; several threads may ask at a time, for different ones."""

    @abstractmethod
    def _free(self, memory: Memory) -> None: ...

    def _make_room(self) -> None:
        """Free all that no call is using, for a `_put` that finds no memory."""
        self._shrink(0)
        with self._freed:  # what other threads are freeing is memory, too
            self._freed.wait_for(lambda: not self._freeing)

    def _enter(self, people: tuple[Rows, ...], held: list[_Entry[Memory]]) -> Memory:
        key = tuple(id(rows) for rows in people)
        while True:
            with self._lock:
                entry = self._entries.get(key)
                first = entry is None
                if entry is None:
                    entry = self._entries[key] = _Entry(people, 0)
                entry.users += 1
                held.append(entry)
                self._entries.move_to_end(key)
            if first:
                return self._fill(key, entry)
            # nobody waits for one who waits: rows are copied as soon as they are entered
            entry.settled.wait()
            if entry.memory is not None:
                return entry.memory
            # whoever copied it gave up, and has the error: try it ourselves

    def _fill(self, key: tuple[int, ...], entry: _Entry[Memory]) -> Memory:
        try:
            memory = entry.memory = self._put(entry.people)
            with self._lock:
                self.copies += 1
            return memory
        except BaseException:
            with self._lock:
                del self._entries[key]
            raise
        finally:
            entry.settled.set()

    def _shrink(self, limit: int | None = None) -> None:
        """Free idle entries, oldest first, until `limit` bytes hold the rest."""
        dropped: list[Memory] = []  # freed outside the lock, since a device may take its time
        with self._lock:
            total, limit = self.nbytes, self._limit if limit is None else limit
            for key, entry in list(self._entries.items()):
                if total <= limit:
                    break
                if not entry.users:
                    total -= entry.nbytes
                    del self._entries[key]
                    dropped.append(cast(Memory, entry.memory))
                    entry.memory = None  # who has held the entry may keep it
            self._freeing += (count := len(dropped))
        try:
            while dropped:
                self._free(dropped.pop(0))
        finally:
            dropped.clear()  # memory that goes with its object is free from here on
            with self._freed:
                self._freeing -= count
                self._freed.notify_all()
