"""A stream of items through three stages: many threads before an engine, and many behind it.

    source -> readers: prepare -> line -> engine: run, in full calls -> writers: finish -> results

Items are prepared and finished in any order. The engine takes their parts in the items' order, and
the results come in that order, too. Everything waits on one condition, which guards all state.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, cast

from runtime.one_by_one import ItemError, together
from runtime.scheduling.background import Background, resting

T = TypeVar("T")  # an item
P = TypeVar("P")  # a prepared item
F = TypeVar("F")  # a part of it, as the engine takes it
R = TypeVar("R")  # the engine's result of a part
D = TypeVar("D")  # the result of an item

# of a call, in items for each of its parts: items without parts do not hold it up for ever
_SPAN = 4


@dataclass(frozen=True)
class Work(Generic[T, P, F, R, D]):
    """What is done with an item; each function may run in many threads at a time.

    Attributes:
        prepare: makes an item ready. Before it takes much memory it calls the function that it is
            given with the item's size: this call waits until there is room.
        parts: what of a prepared item the engine takes; without any it is finished at once.
        run: the engine's results of parts, which may be of several items. Where it fails, it is
            tried with each part alone.
        finish: the result of an item, from its prepared form and the results of its parts.
        fail: the result of an item of which a stage raised an error.
        ends: whether an error ends the stream, as every other item would fail, too.
    """

    prepare: Callable[[T, Callable[[int], None]], P]
    parts: Callable[[P], Sequence[F]]
    run: Callable[[Sequence[F]], Sequence[R]]
    finish: Callable[[T, P, Sequence[R]], D]
    fail: Callable[[T, Exception], D]
    ends: Callable[[Exception], bool]


@dataclass(frozen=True)
class Limits:
    """How much is done at a time.

    Attributes:
        threads: readers; there are as many writers.
        batch: parts in one call of the engine.
        calls: calls of the engine at a time.
        room: sum of the sizes of the items that are on their way; a larger item goes alone.
    """

    threads: int
    batch: int
    calls: int
    room: int

    @property
    def ahead(self) -> int:
        """The most items that are taken from the source before the first of them has a result.

        More than a call may span, so that a call is filled before it is waited for.
        """
        return 2 * self.threads + 2 * _SPAN * self.batch


def stream(
    work: Work[T, P, F, R, D], limits: Limits, items: Iterable[T]
) -> Generator[D, None, None]:
    """Do the work on all items. Yields their results in the items' order.

    An item is taken from `items` when a reader will soon be free for it. What ends the stream is
    raised when the results of all that was done before have been given: no call of the engine
    begins any more, but what the engine has begun is finished.
    """
    yield from _Stream(work, limits).results(items)


@dataclass(eq=False)
class _Entry(Generic[T, P, F, R, D]):
    """An item on its way."""

    item: Any  # a T
    number: int
    size: int = 0  # the room that it holds
    waits: bool = False  # for room
    prepared: Any = None  # a P
    parts: Sequence[F] | None = None  # None until it is prepared
    taken: int = 0  # parts that the engine took
    done: dict[int, R | ItemError] = field(default_factory=dict)  # results of parts, by index
    settled: bool = False
    result: D | None = None  # stays None where its error ends the stream

    @property
    def with_engine(self) -> bool:
        """Whether the engine has all its parts, so that it will be settled."""
        return self.parts is not None and self.taken == len(self.parts)


class _Stream(Generic[T, P, F, R, D]):
    def __init__(self, work: Work[T, P, F, R, D], limits: Limits) -> None:
        self._work, self._limits = work, limits
        self._readers = Background("reader", limits.threads)
        self._engine = Background("engine", limits.calls)
        self._writers = Background("writer", limits.threads)
        self._gathering = threading.Lock()  # a call's parts lie side by side in the line
        self._changed = threading.Condition()
        self._entries: deque[_Entry[T, P, F, R, D]] = deque()  # whose results are not given yet
        self._reading: deque[_Entry[T, P, F, R, D]] = deque()  # not prepared yet
        self._unsized: deque[_Entry[T, P, F, R, D]] = deque()  # which take room in this order
        self._line: deque[_Entry[T, P, F, R, D]] = deque()  # not yet with the engine
        self._room = limits.room
        self._count = 0
        self._exhausted = self._stopped = self._broken = False
        self._end: BaseException | None = None

    def results(self, items: Iterable[T]) -> Generator[D, None, None]:
        source = iter(items)
        with self._readers, self._engine, self._writers:
            for _ in range(self._limits.calls):
                self._engine.submit(self._guarded, self._call_engine)
            try:
                while (entry := self._next(source)) is not None:
                    if entry.result is not None:
                        yield entry.result
            finally:
                self._stop(None)
        if self._end is not None:
            raise self._end

    def _next(self, source: Any) -> _Entry[T, P, F, R, D] | None:
        """The first entry, when it is settled or never will be; reads ahead meanwhile.

        Where it is, one more item is taken before: so as many stay on their way as were needed to
        have it in time, and the results of a slow source, such as a camera, do not wait for others.
        """
        taken = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wants_more() or self._first_is_over())
                if not self._wants_more() or (taken and self._first_is_over()):
                    return self._entries.popleft() if self._entries else None
            taken = True
            try:
                item = next(source)
            except StopIteration:
                with self._changed:
                    self._exhausted = True
                    self._changed.notify_all()
                continue
            except Exception as error:
                self._stop(error)
                continue
            entry: _Entry[T, P, F, R, D] = _Entry(item, self._count)
            del item
            self._count += 1
            with self._changed:
                for queue in (self._entries, self._reading, self._unsized, self._line):
                    queue.append(entry)
                self._changed.notify_all()
            self._readers.submit(self._guarded, self._prepare, entry)

    def _wants_more(self) -> bool:
        few = len(self._reading) < 2 * self._limits.threads
        more = not self._exhausted and not self._stopped
        return more and few and len(self._entries) < self._limits.ahead

    def _first_is_over(self) -> bool:
        if not self._entries:
            return self._exhausted or self._stopped
        first = self._entries[0]
        return first.settled or self._broken or (self._stopped and not first.with_engine)

    def _prepare(self, entry: _Entry[T, P, F, R, D]) -> None:
        try:
            prepared = self._work.prepare(entry.item, partial(self._take_room, entry))
            parts = self._work.parts(prepared)
        except _StoppedError:
            return
        except Exception as error:
            self._fail(entry, error)
            return
        with self._changed:
            self._is_read(entry)
            if self._stopped:
                return
            entry.prepared, entry.parts = prepared, parts
            if not parts:
                self._writers.submit(self._guarded, self._finish, entry)

    def _is_read(self, entry: _Entry[T, P, F, R, D]) -> None:
        for queue in (self._reading, self._unsized):
            if entry in queue:
                queue.remove(entry)
        self._changed.notify_all()

    def _take_room(self, entry: _Entry[T, P, F, R, D], size: int) -> None:
        """Wait for the entry's turn and for room: in order, so that the first always goes on."""

        def has_room() -> bool:
            fits = size <= self._room or self._room == self._limits.room
            return self._stopped or (self._unsized[0] is entry and fits)

        with resting(), self._changed:
            entry.waits = True
            self._changed.notify_all()
            self._changed.wait_for(has_room)
            if self._stopped:
                raise _StoppedError
            entry.waits = False
            self._unsized.popleft()
            entry.size = size
            self._room -= size
            self._changed.notify_all()

    def _call_engine(self) -> None:
        while call := self._gather():
            parts = [cast(Sequence[F], entry.parts)[index] for entry, index in call]
            results = together(self._work.run, parts)
            with self._changed:
                for (entry, index), result in zip(call, results, strict=True):
                    entry.done[index] = result
                    if isinstance(result, Exception) and self._work.ends(result):
                        self._stop(result)  # before the next call is gathered
                    if entry.with_engine and len(entry.done) == entry.taken:
                        self._writers.submit(self._guarded, self._finish, entry)
            del call, parts, results, result, entry  # else the last ones would stay in memory

    def _gather(self) -> list[tuple[_Entry[T, P, F, R, D], int]]:
        """The parts of the next call, each an entry and an index; none when there are no more.

        A call that is not full is one before which there was no room for the next item, one that
        would span too many items, or the last.
        """
        call: list[tuple[_Entry[T, P, F, R, D], int]] = []

        def is_far(entry: _Entry[T, P, F, R, D]) -> bool:
            return bool(call) and entry.number - call[0][0].number >= _SPAN * self._limits.batch

        def is_clear() -> bool:
            """Whether the line's first can be taken, or the call must do without it."""
            while self._line and not is_far(self._line[0]):
                if not (self._line[0].settled or self._line[0].with_engine):
                    break
                self._line.popleft()
            if self._stopped or not self._line:
                return self._stopped or self._exhausted
            first = self._line[0]
            return first.parts is not None or is_far(first) or (bool(call) and first.waits)

        with resting(), self._gathering, self._changed:
            while len(call) < self._limits.batch:
                self._changed.wait_for(is_clear)
                first = self._line[0] if self._line else None
                if self._stopped or first is None or first.parts is None or is_far(first):
                    break
                call.append((first, first.taken))
                first.taken += 1
            while self._stopped and call:  # nobody shall wait for their results
                call.pop()[0].taken -= 1
                self._changed.notify_all()
        return call

    def _finish(self, entry: _Entry[T, P, F, R, D]) -> None:
        results = [entry.done[index] for index in range(entry.taken)]
        good = [result for result in results if not isinstance(result, Exception)]
        bad = [result for result in results if isinstance(result, Exception)]
        if bad:
            self._fail(entry, bad[0])
            return
        try:
            self._settle(entry, self._work.finish(entry.item, entry.prepared, good))
        except Exception as error:
            self._fail(entry, error)

    def _fail(self, entry: _Entry[T, P, F, R, D], error: Exception) -> None:
        if self._work.ends(error):
            self._stop(error)
            self._settle(entry, None)
        else:
            self._settle(entry, self._work.fail(entry.item, error))

    def _settle(self, entry: _Entry[T, P, F, R, D], result: D | None) -> None:
        """Note what became of an entry, and forget everything else about it."""
        with self._changed:
            entry.settled, entry.result = True, result
            entry.item, entry.prepared, entry.parts, entry.done = None, None, None, {}
            self._room += entry.size
            self._is_read(entry)  # where it could not be prepared

    def _stop(self, end: BaseException | None) -> None:
        """Begin nothing more; `end`: what is to be raised, the first counts."""
        with self._changed:
            self._stopped = True
            self._end = self._end or end
            self._changed.notify_all()

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """A step in a thread; what it should not raise ends the stream, which would wait for it."""
        try:
            step(*arguments)
        except BaseException as error:
            self._broken = True  # what the step had in hand will never be settled
            self._stop(error)


class _StoppedError(Exception):
    """The stream ended while an item waited for room."""
