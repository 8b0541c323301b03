"""An iterator that a thread runs ahead of whoever asks for its items."""

import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from runtime.scheduling.background import Background

T = TypeVar("T")

_END: Any = object()


def ahead(
    items: Iterator[T], count: int, left: threading.Event | None = None
) -> Generator[T, None, None]:
    """The items, of which up to `count` are made ready in a thread before they are asked for.

    When the generator is closed, the thread has left `items`, so that what they read from can be
    closed, too. What they raise is raised here, in its place.

    `left`: set when nobody asks for more, so that an item that takes long can end early.
    """
    left = left or threading.Event()

    def following() -> T:
        return _END if left.is_set() else next(items, _END)

    with Background("ahead") as thread:
        waiting = deque(thread.submit(following) for _ in range(count))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(following))
                yield item
        finally:
            left.set()
            for future in waiting:
                future.exception()  # waits for it
