"""Specific dictionaries that stay on the GPU between calls, so that a video pays its copy once."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.backends import Rows
from runtime.cuda import Device

ADVICE = "lower dictionary_cache, use fewer references, or free the GPU"


@dataclass
class _Entry:
    rows: Rows  # kept, so that no other array gets its id
    memory: Any  # pycuda.driver.DeviceAllocation
    users: int


class ResidentRows:
    """Rows on the device by the array that they came from; the least recently used go first.

    `limit` bytes hold what no call is using just now. Safe to use from many threads.
    """

    def __init__(self, device: Device, limit: int) -> None:
        self._device, self._limit = device, limit
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self.copies = 0  # to the device, since the beginning

    @property
    def nbytes(self) -> int:
        """Bytes on the device now."""
        return sum(entry.rows.nbytes for entry in self._entries.values())

    @contextmanager
    def hold(self, people: Sequence[Rows]) -> Iterator[list[Any]]:
        """Where each person's rows are on the device; they stay there inside the `with` block.

        The device must be current in this thread. Raises `DeviceMemoryError`.
        """
        held: list[_Entry] = []
        try:
            with self._lock:
                for rows in people:
                    held.append(self._enter(rows))
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

    def _enter(self, rows: Rows) -> _Entry:
        entry = self._entries.get(id(rows))
        if entry is None:
            driver = self._device.driver
            try:
                memory = driver.mem_alloc(rows.nbytes)
            except driver.MemoryError:
                self._shrink(0)
                with self._device.out_of_memory_as(ADVICE):
                    memory = driver.mem_alloc(rows.nbytes)
            try:
                # on the null stream, which comes before what other streams do next
                driver.memcpy_htod(memory, np.ascontiguousarray(rows))
            except BaseException:
                memory.free()  # else lost: the traceback keeps it beyond this context
                raise
            self.copies += 1
            entry = self._entries[id(rows)] = _Entry(rows, memory, 0)
        self._entries.move_to_end(id(rows))
        entry.users += 1
        return entry

    def _shrink(self, limit: int) -> None:
        """Free idle entries, oldest first, until `limit` bytes hold the rest."""
        total = self.nbytes
        for key, entry in list(self._entries.items()):
            if total <= limit:
                return
            if not entry.users:
                total -= entry.rows.nbytes
                entry.memory.free()
                del self._entries[key]
