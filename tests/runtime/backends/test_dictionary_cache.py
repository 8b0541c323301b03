"""The cache of dictionaries: who waits for whom while rows are copied."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from runtime.backends.base import Rows
from runtime.backends.dictionary_cache import KeptRows


@dataclass
class Copies:
    """What a cache's copies do: they begin, wait until they may go on, and fail if told to.

    `freeing`: the memory that is freed as slowly.
    """

    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    slow: Rows | None = None
    fail: bool = False
    freeing: int | None = None


class Kept(KeptRows[int]):
    """Rows whose memory is a number."""

    def __init__(self, copies: Copies, limit: int = 1 << 20) -> None:
        super().__init__(limit)
        self._told, self.freed = copies, 0

    def make_room(self) -> None:
        """As a `_put` does that finds no memory."""
        self._make_room()

    def _put(self, people: tuple[Rows, ...]) -> int:
        if people[0] is self._told.slow:
            self._told.begun.set()
            assert self._told.go_on.wait(20)
            if self._told.fail:
                self._told.fail = False
                raise MemoryError
        return int(people[0][0, 0])

    def _free(self, memory: int) -> None:
        if memory == self._told.freeing:
            self._told.begun.set()
            assert self._told.go_on.wait(20)
        self.freed += 1


def rows(number: int) -> Rows:
    return np.full((2, 4), number, np.float32)


def test_a_new_person_keeps_nobody_waiting() -> None:
    alice, bob = rows(1), rows(2)
    copies = Copies(slow=bob)
    kept = Kept(copies)
    with kept.hold([(alice,)]):
        pass
    with ThreadPoolExecutor(2) as pool:
        try:
            holding = pool.submit(lambda: kept.hold([(bob,)]).__enter__())
            assert copies.begun.wait(20)

            def reads_alice() -> list[int]:
                with kept.hold([(alice,)]) as memories:
                    return memories

            assert pool.submit(reads_alice).result(5) == [1]
        finally:
            copies.go_on.set()
        assert holding.result(20) == [2]
    assert kept.copies == 2


def test_freeing_keeps_nobody_waiting() -> None:
    alice, bob = rows(1), rows(2)
    copies = Copies(freeing=1)
    kept = Kept(copies, limit=bob.nbytes)

    def hold(person: Rows) -> list[int]:
        with kept.hold([(person,)]) as memories:
            return memories

    hold(alice)
    with ThreadPoolExecutor(2) as pool:
        try:
            pushing_out = pool.submit(hold, bob)
            assert copies.begun.wait(20)
            assert pool.submit(hold, bob).result(5) == [2]
            assert not pushing_out.done()
        finally:
            copies.go_on.set()
        assert pushing_out.result(20) == [2]
    assert kept.freed == 1


def test_what_others_are_freeing_is_waited_for() -> None:
    """A `_put` that finds no memory makes room, and memory that is being freed is room, too."""
    alice, bob = rows(1), rows(2)
    copies = Copies(freeing=1)
    kept = Kept(copies, limit=bob.nbytes)

    def hold(person: Rows) -> None:
        with kept.hold([(person,)]):
            pass

    hold(alice)
    with ThreadPoolExecutor(2) as pool:
        try:
            pushing_out = pool.submit(hold, bob)
            assert copies.begun.wait(20)
            making_room = pool.submit(kept.make_room)
            with pytest.raises(TimeoutError):
                making_room.result(0.2)
        finally:
            copies.go_on.set()
        making_room.result(20)
        pushing_out.result(20)
    assert kept.freed == 2


class Memory:
    """Is free when nobody has it any more."""


class Dropped(KeptRows[Memory]):
    """Rows whose memory goes with its object, as ONNX Runtime's does.

    `left`: how many of them were there whenever memory was announced as free.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.alive, self.left = weakref.WeakSet[Memory](), list[int]()
        dropped = self

        class Freed(threading.Condition):
            def notify_all(self) -> None:
                dropped.left.append(len(dropped.alive))
                super().notify_all()

        self._freed = Freed(self._lock)

    def _put(self, people: tuple[Rows, ...]) -> Memory:
        memory = Memory()
        self.alive.add(memory)
        return memory

    def _free(self, memory: Memory) -> None:
        pass


def test_memory_is_gone_when_it_is_announced_as_free() -> None:
    kept, (alice, bob, carol) = Dropped(limit=2 * rows(1).nbytes), map(rows, (1, 2, 3))
    for person in (alice, bob, carol):
        with kept.hold([(person,)]) as memories:
            memories.clear()
    assert kept.left == [1, 2, 2]  # alice's had to go
    kept.close()
    assert kept.left[-1] == 0


@pytest.mark.parametrize("fails", [False, True])
def test_one_copy_for_all_who_ask(fails: bool) -> None:
    """Where the copy fails, its thread has the error, and another copies again."""
    alice = rows(1)
    copies = Copies(slow=alice, fail=fails)
    kept = Kept(copies, limit=0)

    def read() -> list[int] | str:
        try:
            with kept.hold([(alice,), (alice,)]) as memories:
                return memories
        except MemoryError:
            return "failed"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read)
        assert copies.begun.wait(20)
        second = pool.submit(read)
        copies.go_on.set()
        assert first.result(20) == ("failed" if fails else [1, 1])
        assert second.result(20) == [1, 1]
    assert kept.freed == kept.copies
    assert kept.nbytes == 0
