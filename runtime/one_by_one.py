"""Work on many items in which one that fails spoils no other: its error stands in its place."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from runtime.errors import DmdnetError

ItemError = DmdnetError | MemoryError
"""What may stand in an item's place."""

_ERRORS = (DmdnetError, MemoryError)  # anything else is a bug

T = TypeVar("T")
R = TypeVar("R")


def one_by_one(work: Callable[[T], R], items: Sequence[T | ItemError]) -> list[R | ItemError]:
    """The result of each item, or its error; an item that is an error already stays one."""

    def of(item: T | ItemError) -> R | ItemError:
        if isinstance(item, _ERRORS):
            return item
        try:
            return work(item)
        except _ERRORS as error:
            return error

    return [of(item) for item in items]


def together(
    work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T | ItemError]
) -> list[R | ItemError]:
    """As `one_by_one`, by a work that takes many items and returns a result for each.

    Where it fails on all of them, it is tried on each alone, so that only the item that makes it
    fail gets the error.
    """
    good = [item for item in items if not isinstance(item, _ERRORS)]
    if not good:
        return list(items)  # type: ignore[arg-type]  # nothing but errors
    results: list[R | ItemError]
    try:
        results = list(work(good))
    except _ERRORS as error:
        alone = len(good) == 1
        results = [error] if alone else one_by_one(lambda item: work([item])[0], good)
    left: Iterator[R | ItemError] = iter(results)
    return [item if isinstance(item, _ERRORS) else next(left) for item in items]
