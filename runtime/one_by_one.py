"""Work on many items, of which one that fails does not stop the others: its error is its result."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from runtime.errors import (
    ClosedError,
    DmdnetError,
    DmdnetWarning,
    EngineCallError,
    RemoteError,
    UsageError,
    error_line,
)

ItemError = Exception
"""An error in an item's place: a `DmdnetError`, or what an app's own engine or detector raised."""

T = TypeVar("T")
R = TypeVar("R")


def one_by_one(work: Callable[[T], R], items: Sequence[T | ItemError]) -> list[R | ItemError]:
    """The result of each item, or its error; an item that is an error already stays one."""

    def of(item: T | ItemError) -> R | ItemError:
        if isinstance(item, Exception):
            return item
        try:
            return work(item)
        except Exception as error:
            return error

    return [of(item) for item in items]


def together(
    work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T | ItemError]
) -> list[R | ItemError]:
    """The same as `one_by_one`, for work that takes many items and returns a result for each.

    Where it fails, it is tried on each item alone, so that only the item at fault gets the error;
    but not where no item can succeed, as when a server cannot be reached.
    """
    good = [item for item in items if not isinstance(item, Exception)]
    if not good:
        return list(items)  # type: ignore[arg-type]  # nothing but errors
    results: list[R | ItemError]
    try:
        results = list(work(good))
    except Exception as error:
        if len(good) == 1 or _out_of_reach(error):
            results = [error for _ in good]
        else:
            results = one_by_one(lambda item: work([item])[0], good)
    left: Iterator[R | ItemError] = iter(results)
    return [item if isinstance(item, Exception) else next(left) for item in items]


def all_or_good(
    work: Callable[[T], R], items: Sequence[T], what: str, skip_bad: bool
) -> dict[str, R]:
    """The result of each item by its name, "reference 3" where `what` is "reference".

    The first error is raised, with the name. `skip_bad`: an item that fails is left out with a
    `DmdnetWarning` instead, unless all do; a `UsageError`, which concerns all, is always raised.
    """
    good: dict[str, R] = {}
    for index, item in enumerate(items):
        name = f"{what} {index}"
        try:
            good[name] = work(item)
        except UsageError:
            raise
        except Exception as error:  # of this item, whoever raised it
            if not skip_bad or (not good and index == len(items) - 1):
                if len(items) > 1:
                    put_name(error, name)
                raise
            warnings.warn(f"left out: {name}: {error_line(error)}", DmdnetWarning, stacklevel=3)
    return good


def put_name(error: ItemError, what: str) -> None:
    """Add to an error what it is about, such as "face 3".

    A `DmdnetError` says so at the beginning of its text; any other error keeps its text, and
    says so in a note, which a traceback shows.
    """
    if isinstance(error, DmdnetError):
        error.args = (f"{what}: {error}",)
    else:
        error.add_note(f"{what}: {error_line(error)}")


@contextmanager
def about(what: str, kind: type[DmdnetError]) -> Iterator[None]:
    """Errors of this kind in the block say what they are about; "" adds nothing."""
    try:
        yield
    except kind as error:
        if what:
            put_name(error, what)
        raise


def _out_of_reach(error: Exception) -> bool:
    gone = isinstance(error, (ClosedError, RemoteError))
    return gone and not isinstance(error, EngineCallError)
