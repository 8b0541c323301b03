"""The stream of items: order, full calls, what happens side by side, room, and ends."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from runtime.errors import DeviceError
from runtime.scheduling.stages import Limits, Work, stream

LIMITS = Limits(threads=3, batch=4, calls=1, room=100)
_WAIT_S = 60  # for what happens at once, unless it never does
pytestmark = pytest.mark.usefixtures("no_thread_is_left")

Room = Callable[[int], None]


def work(**changes: Any) -> Work[int, list[int], int, int, str]:
    """Item n has n % 3 parts, all n; the engine doubles them, and the result is their text."""
    plain: Work[int, list[int], int, int, str] = Work(
        prepare=lambda item, room: [item] * (item % 3),
        parts=lambda prepared: prepared,
        run=lambda parts: [2 * part for part in parts],
        finish=lambda item, prepared, results: f"{item}: {list(results)}",
        fail=lambda item, error: f"{item}! {error}",
        ends=lambda error: isinstance(error, DeviceError),
    )
    return replace(plain, **changes)


def wanted(item: int) -> str:
    return f"{item}: {[2 * item] * (item % 3)}"


def until_the_end(results: Iterator[str]) -> tuple[list[str], BaseException | None]:
    """The results that came, and what ended the stream."""
    found: list[str] = []
    try:
        for result in results:
            found.append(result)
    except (Exception, SystemExit) as error:
        return found, error
    return found, None


def test_results_come_in_order_and_calls_are_full() -> None:
    calls: list[list[int]] = []

    def prepare(item: int, room: Room) -> list[int]:
        time.sleep(0.002 * (item * 7 % 5))
        return [item] * (item % 3)

    def run(parts: Sequence[int]) -> list[int]:
        calls.append(list(parts))
        return [2 * part for part in parts]

    results = list(stream(work(prepare=prepare, run=run), LIMITS, range(50)))
    assert results == [wanted(item) for item in range(50)]
    assert [part for call in calls for part in call] == [
        item for item in range(50) for _ in range(item % 3)
    ]
    assert {len(call) for call in calls[:-1]} == {4}


def test_two_calls_share_an_items_parts() -> None:
    """An item of more parts than two calls take, and the calls run side by side."""
    both = threading.Barrier(2)

    def run(parts: Sequence[int]) -> list[int]:
        both.wait(_WAIT_S)
        return [2 * part for part in parts]

    eight = work(prepare=lambda item, room: [item, item + 1] * 4, run=run)
    results = list(stream(eight, replace(LIMITS, calls=2), range(3)))
    assert results == [f"{item}: {[2 * item, 2 * item + 2] * 4}" for item in range(3)]


@pytest.mark.parametrize("stage", ["prepare", "finish", "run"])
def test_an_error_is_its_items_own(stage: str) -> None:
    def failing(given: Any, *more: Any) -> Any:
        if 4 in given if isinstance(given, Sequence) else given == 4:
            raise ValueError("bad")
        return getattr(work(), stage)(given, *more)

    results = list(stream(work(**{stage: failing}), LIMITS, range(9)))
    assert results[4] == "4! bad"
    assert results[:4] + results[5:] == [wanted(item) for item in range(9) if item != 4]


def test_an_item_that_never_comes_holds_up_no_other() -> None:
    """Nor its error, which comes late."""
    done, late = [], threading.Event()

    def prepare(item: int, room: Room) -> list[int]:
        if item == 0 and not late.wait(_WAIT_S):
            raise AssertionError("the others waited")
        if item == 0:
            raise ValueError("late")
        return []

    def finish(item: int, prepared: list[int], results: Sequence[int]) -> str:
        done.append(item)
        if len(done) == 9:
            late.set()
        return wanted(3 * item)

    results = list(stream(work(prepare=prepare, finish=finish), LIMITS, range(10)))
    assert results[0] == "0! late"
    assert len(results) == 10


def test_the_engine_works_beside_the_rest() -> None:
    """While one call runs, what follows is prepared and what went before is finished."""
    ready, finished = [threading.Event() for _ in range(6)], [threading.Event() for _ in range(6)]

    def prepare(item: int, room: Room) -> list[int]:
        ready[item].set()
        return [item]

    def run(parts: Sequence[int]) -> list[int]:
        (item,) = parts
        assert item == 5 or ready[item + 1].wait(_WAIT_S)
        assert item == 0 or finished[item - 1].wait(_WAIT_S)
        return [item]

    def finish(item: int, prepared: list[int], results: Sequence[int]) -> str:
        finished[item].set()
        return str(item)

    limits = replace(LIMITS, threads=1, batch=1)
    results = list(stream(work(prepare=prepare, run=run, finish=finish), limits, range(6)))
    assert results == list("012345")


def test_readers_and_writers_work_side_by_side() -> None:
    reading, writing = threading.Barrier(3), threading.Barrier(3)

    def prepare(item: int, room: Room) -> list[int]:
        reading.wait(_WAIT_S)
        return []

    def finish(item: int, prepared: list[int], results: Sequence[int]) -> str:
        writing.wait(_WAIT_S)
        return str(item)

    assert len(list(stream(work(prepare=prepare, finish=finish), LIMITS, range(9)))) == 9


@pytest.mark.parametrize("stage", ["prepare", "finish", "run"])
def test_what_ends_the_stream(stage: str) -> None:
    """The results of what was done before are given; nothing waits for what never comes."""
    never, calls, late = threading.Event(), [], []

    def prepare(item: int, room: Room) -> list[int]:
        if item == 5 and not never.wait(_WAIT_S):
            late.append(item)
        if item == 4 and stage == "prepare":
            raise DeviceError("gone")
        return [item]

    def run(parts: Sequence[int]) -> list[int]:
        calls.append(list(parts))
        if parts == [4] and stage == "run":
            raise DeviceError("gone")
        return list(parts)

    def finish(item: int, prepared: list[int], results: Sequence[int]) -> str:
        if item == 4 and stage == "finish":
            raise DeviceError("gone")
        return str(item)

    limits = replace(LIMITS, batch=1)
    kind = work(prepare=prepare, run=run, finish=finish)
    found, end = until_the_end(stream(kind, limits, range(9)))
    assert repr(end) == "DeviceError('gone')"
    assert not late
    never.set()
    assert found == [str(item) for item in range(len(found))]
    if stage != "prepare":  # which may be before the first call of the engine
        assert len(found) == 4
    assert [5] not in calls


def test_what_ends_the_stream_while_a_call_is_half_full() -> None:
    """The part that was gathered already belongs to no call any more, and nobody waits for it."""

    def prepare(item: int, _: Room) -> list[int]:
        if item == 1:
            time.sleep(0.01)
            raise DeviceError("gone")
        return [item]

    def run() -> None:
        limits = Limits(threads=1, batch=4, calls=2, room=100)
        ends.append(until_the_end(stream(work(prepare=prepare), limits, [0, 1]))[1])

    ends: list[BaseException | None] = []
    for _ in range(20):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(_WAIT_S)
        assert not thread.is_alive()
    assert all(isinstance(end, DeviceError) for end in ends)


def test_what_the_source_raises_comes_after_the_results() -> None:
    def source() -> Iterator[int]:
        yield 0
        assert settled.wait(60)
        raise ValueError("no more")

    settled = threading.Event()

    def finish(item: int, *_: object) -> str:
        settled.set()
        return wanted(item)

    results, end = until_the_end(stream(work(finish=finish), Limits(1, 1, 1, 100), source()))
    assert results == [wanted(0)]
    assert isinstance(end, ValueError)


def test_the_engines_calls_that_run_are_finished() -> None:
    """Two calls run when one of them ends the stream."""
    both, ended = threading.Barrier(2), threading.Event()

    def run(parts: Sequence[int]) -> list[int]:
        if len(parts) == 2:  # and not when each part is tried alone
            both.wait(_WAIT_S)
        if 0 in parts:
            raise DeviceError("gone")
        if 2 in parts:
            ended.wait(_WAIT_S)
        return [2 * part for part in parts]

    def ends(error: Exception) -> bool:
        ended.set()
        return True

    limits = replace(LIMITS, batch=2, calls=2)
    kind = work(prepare=lambda item, room: [item], run=run, ends=ends)
    found, end = until_the_end(stream(kind, limits, range(20)))
    assert repr(end) == "DeviceError('gone')"
    assert found == ["1: [2]", "2: [4]", "3: [6]"]


def test_what_no_step_may_raise() -> None:
    """It is raised, and does not leave the caller waiting."""

    def run(parts: Sequence[int]) -> list[int]:
        raise SystemExit(3)

    assert isinstance(until_the_end(stream(work(run=run), LIMITS, range(9)))[1], SystemExit)


def test_room() -> None:
    """What is on its way is never more; what is larger goes alone; and nothing locks up."""
    sizes = [30, 30, 50, 300, 20, 20, 20, 20, 90, 10, 60, 60, 100, 1]
    lock, used, most = threading.Lock(), 0, 0

    def prepare(item: int, room: Room) -> list[int]:
        nonlocal used, most
        room(sizes[item])
        with lock:
            used += sizes[item]
            assert used <= 100 or used == sizes[item]
            most = max(most, used)
        time.sleep(0.002)
        return [item] * (item % 3)

    def finish(item: int, prepared: list[int], results: Sequence[int]) -> str:
        nonlocal used
        time.sleep(0.002)
        with lock:
            used -= sizes[item]
        return wanted(item)

    kind = work(prepare=prepare, finish=finish)
    results = list(stream(kind, LIMITS, range(len(sizes))))
    assert results == [wanted(item) for item in range(len(sizes))]
    assert most == 300


def test_room_that_an_error_leaves() -> None:
    def prepare(item: int, room: Room) -> list[int]:
        room(80)
        raise ValueError("bad")

    assert len(list(stream(work(prepare=prepare), LIMITS, range(9)))) == 9


def test_a_call_that_is_never_full() -> None:
    """One item in fifty has a part: what has none does not hold it up for ever."""
    calls = []

    def run(parts: Sequence[int]) -> list[int]:
        calls.append(list(parts))
        return list(parts)

    kind = work(prepare=lambda item, room: [item] * (item % 50 == 0), run=run)
    assert len(list(stream(kind, LIMITS, range(200)))) == 200
    assert calls == [[0], [50], [100], [150]]


def test_a_slow_source_gets_its_results_at_once() -> None:
    """As a camera's: a result that is there waits for one more item, and not for many."""
    taken: list[int] = []
    finished = [threading.Event() for _ in range(20)]

    def source() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item
            assert finished[item].wait(_WAIT_S)

    def finish(item: int, prepared: list[int], results: Sequence[int]) -> str:
        finished[item].set()
        return wanted(item)

    limits = replace(LIMITS, batch=1)
    for count, _ in enumerate(stream(work(finish=finish), limits, source()), start=1):
        assert len(taken) <= count + 6  # and not as many as `ahead`, 14
    assert count == 20


def test_the_source_is_not_read_far_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in range(500):
            taken.append(item)
            yield item

    for count, _ in enumerate(stream(work(), LIMITS, source()), start=1):
        assert len(taken) <= count + LIMITS.ahead
    assert count == 500


class Pixels(list[int]):
    """What can be asked whether it is still held."""


def test_what_is_finished_is_forgotten() -> None:
    """Though its result has to wait for that of the first."""
    made: list[weakref.ref[Pixels]] = []
    first = threading.Event()

    def prepare(item: int, room: Room) -> Pixels:
        if item == 0:
            first.wait(_WAIT_S)
        pixels = Pixels([] if item < 3 else [item])
        made.append(weakref.ref(pixels))
        return pixels

    def finish(item: int, prepared: list[int], results: Sequence[int]) -> str:
        if item != 2:
            return str(item)
        end = time.monotonic() + _WAIT_S
        while len(made) < 2 or sum(each() is not None for each in made) > 1:
            assert time.monotonic() < end
            time.sleep(0.01)
        first.set()
        return "2"

    results = list(stream(work(prepare=prepare, finish=finish), LIMITS, range(3)))
    assert results == list("012")


def test_closing_it_early() -> None:
    with closing(stream(work(), LIMITS, iter(range(10**9)))) as results:
        assert next(results) == wanted(0)
