"""An iterator that a thread runs ahead: order, how far, errors, and that it is left."""

import threading
from collections.abc import Iterator

import pytest

from runtime.scheduling.ahead import ahead

_WAIT_S = 60


def test_items_come_in_order_from_another_thread() -> None:
    threads: set[int] = set()

    def items() -> Iterator[int]:
        for item in range(50):
            threads.add(threading.get_ident())
            yield item

    assert list(ahead(items(), 3)) == list(range(50))
    assert threading.get_ident() not in threads
    assert len(threads) == 1


def test_so_many_are_made_ready_and_no_more() -> None:
    made: list[int] = []
    ready = [threading.Event() for _ in range(10)]

    def items() -> Iterator[int]:
        for item in range(10):
            made.append(item)
            ready[item].set()
            yield item

    found = ahead(items(), 3)
    assert next(found) == 0
    assert ready[3].wait(_WAIT_S)
    assert made == [0, 1, 2, 3]
    found.close()


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 0
        yield 1
        raise ValueError("no more")

    found = ahead(items(), 4)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_closing_waits_until_the_thread_has_left_the_items() -> None:
    inside, go_on = threading.Event(), threading.Event()
    left: list[bool] = []

    def items() -> Iterator[int]:
        yield 0
        inside.set()
        assert go_on.wait(_WAIT_S)
        left.append(True)
        yield 1

    found = ahead(items(), 1)
    assert next(found) == 0
    assert inside.wait(_WAIT_S)
    threading.Timer(0.05, go_on.set).start()
    found.close()
    assert left


def test_an_item_that_takes_long_is_told_that_nobody_asks_for_more() -> None:
    inside, left = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        inside.set()
        assert left.wait(_WAIT_S)

    found = ahead(items(), 1, left)
    assert next(found) == 0
    assert inside.wait(_WAIT_S)
    found.close()
