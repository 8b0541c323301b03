from collections.abc import Sequence

import pytest

from runtime.errors import (
    ClosedError,
    DmdnetWarning,
    InvalidImageError,
    RemoteError,
    UsageError,
)
from runtime.one_by_one import ItemError, all_or_good, one_by_one, put_name, together

BAD = InvalidImageError("bad")


def halves(numbers: Sequence[int]) -> list[int]:
    """Refuses all of them where one is odd."""
    if any(number % 2 for number in numbers):
        raise BAD
    return [number // 2 for number in numbers]


def test_an_error_stands_in_its_items_place() -> None:
    assert one_by_one(lambda number: halves([number])[0], [2, 3, 4]) == [1, BAD, 2]
    assert together(halves, [2, 3, 4]) == [1, BAD, 2]
    assert together(halves, []) == []


def test_all_or_those_that_are_good() -> None:
    def half(number: int) -> int:
        if number < 0:
            raise UsageError("below zero")
        if number % 2:
            raise InvalidImageError("odd")
        return number // 2

    assert all_or_good(half, [2, 4], "number", False) == {"number 0": 1, "number 1": 2}
    with pytest.raises(InvalidImageError, match=r"^number 1: odd$"):
        all_or_good(half, [2, 3], "number", False)
    with pytest.raises(InvalidImageError, match=r"^odd$"):
        all_or_good(half, [3], "number", True)
    with pytest.warns(DmdnetWarning) as heard:
        assert all_or_good(half, [3, 4], "number", True) == {"number 1": 2}
    assert [str(each.message) for each in heard] == ["left out: number 0: odd"]
    with (
        pytest.warns(DmdnetWarning, match="number 0"),
        pytest.raises(InvalidImageError, match=r"^number 1: odd$"),
    ):
        all_or_good(half, [3, 5], "number", True)
    with pytest.raises(UsageError, match=r"^below zero$"):
        all_or_good(half, [2, -2], "number", True)


def test_an_error_stays_and_is_not_worked_on() -> None:
    early: ItemError = MemoryError()
    items: list[int | ItemError] = [early, 2, 3]
    assert one_by_one(lambda number: halves([number])[0], items) == [early, 1, BAD]
    assert together(halves, items) == [early, 1, BAD]
    assert together(halves, items[:1]) == [early]


def test_one_item_is_not_tried_twice() -> None:
    calls = []

    def fail(numbers: Sequence[int]) -> list[int]:
        calls.append(list(numbers))
        raise BAD

    assert together(fail, [1]) == [BAD]
    assert calls == [[1]]
    assert together(fail, [1, 2]) == [BAD, BAD]
    assert calls == [[1], [1, 2], [1], [2]]


def test_whatever_is_raised_stands_in_the_items_place() -> None:
    assert [type(each) for each in one_by_one(lambda number: 1 // number, [0, 1])] == [
        ZeroDivisionError,
        int,
    ]


@pytest.mark.parametrize("error", [ClosedError(), RemoteError("cannot be reached")])
def test_an_engine_out_of_reach_is_not_tried_again(error: Exception) -> None:
    calls = []

    def fail(numbers: Sequence[int]) -> list[int]:
        calls.append(list(numbers))
        raise error

    assert together(fail, [1, 2]) == [error, error]
    assert calls == [[1, 2]]


def test_an_error_says_what_it_is_about() -> None:
    ours, theirs = InvalidImageError("bad"), KeyError("x")
    put_name(ours, "face 3")
    put_name(theirs, "face 3")
    assert str(ours) == "face 3: bad"
    assert theirs.args == ("x",)
    assert theirs.__notes__ == ["face 3: KeyError: 'x'"]
