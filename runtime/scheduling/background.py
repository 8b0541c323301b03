"""Background threads that the process need not wait for when it ends."""

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")

_END_S = 10.0  # a call of a large engine on a slow machine takes 7
_ending = False


class Background:
    """Begins tasks one after the other, in so many daemon threads.

    Python waits for the threads of a `ThreadPoolExecutor`, so that a server that never answers, or
    a FIFO without a writer, would keep the process alive for ever. Leaving the `with` block drops
    the tasks that have not begun, and waits for nothing.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._left = threading.Event()
        self._threads = threads
        for _ in range(threads):
            _Thread(target=self._run, name=name, daemon=True).start()

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        for _ in range(self._threads):
            self._waiting.put(None)

    def submit(self, work: Callable[..., _T], *arguments: object) -> "Future[_T]":
        """Begin a task after all that were submitted before; the Future has its result or error."""
        future: Future[_T] = Future()
        self._waiting.put((future, lambda: work(*arguments)))
        return future

    def _run(self) -> None:
        while (task := self._waiting.get()) is not None and not self._left.is_set():
            future, work = task
            _begin()
            try:
                future.set_result(work())
            except BaseException as error:  # it is raised where the result is asked for
                future.set_exception(error)
            del task, future, work  # else the last picture would stay in memory
            _rest()


def interruptibly(work: Callable[..., _T], *arguments: object) -> _T:
    """The result of `work`, run in another thread: Ctrl-C works even while a C++ library waits.

    Python runs its signal handlers only in the main thread, between two steps of Python code.
    """
    with Background("waited for") as thread:
        return thread.submit(work, *arguments).result()


def background_work() -> bool:
    """Whether a thread of a `Background` is still running."""
    return any(isinstance(thread, _Thread) for thread in threading.enumerate())


@contextmanager
def resting() -> Iterator[None]:
    """Within the block, a thread of a `Background` only waits for what other threads do."""
    _rest()
    try:
        yield
    finally:
        _begin()


@atexit.register
def settle() -> None:
    """Let the threads end what they are at, for some seconds, and begin nothing more.

    For the end of a process that Python clears up: it unwinds threads that come back from C++ then,
    which aborts the process.
    """
    global _ending
    _ending = True
    end = time.monotonic() + _END_S
    while time.monotonic() < end and any(
        isinstance(thread, _Thread) and thread.at_work for thread in threading.enumerate()
    ):
        time.sleep(0.01)


class _Thread(threading.Thread):
    """Known by its class among all threads of the process."""

    at_work = False


def _begin() -> None:
    thread = threading.current_thread()
    if isinstance(thread, _Thread):
        thread.at_work = True
        if _ending:
            thread.at_work = False
            threading.Event().wait()  # for the end of the process


def _rest() -> None:
    thread = threading.current_thread()
    if isinstance(thread, _Thread):
        thread.at_work = False
