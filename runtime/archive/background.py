"""A thread beside the main one, which nobody has to wait for when the process is to end."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")


class Background:
    """Does one thing after the other in a daemon thread.

    A thread of `ThreadPoolExecutor` is joined at its end and at the interpreter's, and so a server
    that never answers, or a FIFO without a writer, would keep the process for ever. Leaving the
    `with` block drops what is not begun and waits for nothing.
    """

    def __init__(self, name: str) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._left = threading.Event()
        self._thread = _Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._waiting.put(None)

    def submit(self, work: Callable[..., _T], *arguments: object) -> "Future[_T]":
        """Do it when all that was submitted before is done; the Future has its result or error."""
        future: Future[_T] = Future()
        self._waiting.put((future, lambda: work(*arguments)))
        return future

    def _run(self) -> None:
        while (task := self._waiting.get()) is not None and not self._left.is_set():
            future, work = task
            try:
                future.set_result(work())
            except BaseException as error:  # it is raised where the result is asked for
                future.set_exception(error)
            del task, future, work  # else the last picture would stay in memory


def interruptibly(work: Callable[..., _T], *arguments: object) -> _T:
    """The work's result; Ctrl-C is heard meanwhile, also where a library in C++ waits without end.

    Python's signal handlers run only between two steps of Python in the main thread.
    """
    with Background("waited for") as thread:
        return thread.submit(work, *arguments).result()


def background_work() -> bool:
    """Whether a thread of a `Background` is still in the middle of something."""
    return any(isinstance(thread, _Thread) for thread in threading.enumerate())


class _Thread(threading.Thread):
    """Known by its class among all threads of the process."""
