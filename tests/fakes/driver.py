"""`pycuda.driver` in host memory, stricter than the real one.

What a stream is given runs only when it is waited for, so that a forgotten `synchronize` gives
wrong numbers. Everything but `Device` wants the context to be current in the thread.
"""

import ctypes
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Error(Exception):
    pass


class MemoryError(Error):
    pass


class LogicError(Error):
    pass


class Allocation:
    def __init__(self, driver: "FakeDriver", nbytes: int) -> None:
        self._driver, self.nbytes = driver, nbytes
        self._bytes = np.full(nbytes, 255, np.uint8)

    def __int__(self) -> int:
        return self._bytes.ctypes.data

    def free(self) -> None:
        self._driver.check()
        del self._driver.live[int(self)]


class Stream:
    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._work: list[Callable[[], object]] = []

    def add(self, work: Callable[[], object]) -> None:
        self._work.append(work)

    def synchronize(self) -> None:
        work, self._work = self._work, []
        for each in work:
            each()


class Event:
    def __init__(self) -> None:
        self._time: float | None = None

    def record(self, stream: Stream) -> None:
        stream.add(self._happen)

    def time_since(self, earlier: "Event") -> float:
        assert self._time is not None
        assert earlier._time is not None
        return 1000 * (self._time - earlier._time)

    def _happen(self) -> None:
        self._time = time.monotonic()


class FakeDriver:
    """Stands in for the module; `limit` is the device's memory in bytes."""

    Error, MemoryError, LogicError = Error, MemoryError, LogicError

    def __init__(self, limit: int = 1 << 40) -> None:
        self.limit = limit
        self.live: dict[int, Allocation] = {}
        self.streams: dict[int, Stream] = {}
        self.to_device = 0  # bytes copied
        self._stack = threading.local()
        self._handles = itertools.count(1)
        self._lock = threading.Lock()
        driver = self

        class Context:
            def push(self) -> None:
                driver._contexts().append(self)

            @staticmethod
            def pop() -> None:
                driver._contexts().pop()

        self.Context = Context
        self._context = Context()

    def init(self) -> None:
        pass

    def Device(self, number: int) -> "FakeDriver":  # noqa: N802
        assert number == 0
        return self

    def retain_primary_context(self) -> Any:
        return self._context

    def mem_alloc(self, nbytes: int) -> "Allocation":
        self.check()
        with self._lock:
            if sum(a.nbytes for a in self.live.values()) + nbytes > self.limit:
                raise MemoryError("cuMemAlloc failed: out of memory")
            allocation = Allocation(self, nbytes)
            self.live[int(allocation)] = allocation
            return allocation

    def pagelocked_empty(self, shape: int, dtype: Any) -> NDArray[Any]:
        self.check()
        return np.full(shape, 255, dtype)

    def Stream(self) -> Any:  # noqa: N802
        self.check()
        stream = Stream(next(self._handles))
        self.streams[stream.handle] = stream
        return stream

    def Event(self) -> "Event":  # noqa: N802
        self.check()
        return Event()

    def memcpy_htod(self, memory: Any, array: NDArray[Any]) -> None:
        self.check()
        assert array.flags.c_contiguous
        self.to_device += array.nbytes
        ctypes.memmove(int(memory), array.ctypes.data, array.nbytes)

    def memcpy_htod_async(self, memory: Any, array: NDArray[Any], stream: Any) -> None:
        self.check()
        stream.add(lambda: self.memcpy_htod(memory, array))

    def memcpy_dtoh_async(self, array: NDArray[Any], memory: Any, stream: Any) -> None:
        self.check()
        stream.add(lambda: ctypes.memmove(array.ctypes.data, int(memory), array.nbytes))

    def memcpy_dtod_async(self, to: Any, memory: Any, nbytes: int, stream: Any) -> None:
        self.check()
        stream.add(lambda: ctypes.memmove(int(to), int(memory), nbytes))

    def check(self) -> None:
        if not self._contexts():
            raise LogicError("invalid device context")

    def _contexts(self) -> list[Any]:
        if not hasattr(self._stack, "contexts"):
            self._stack.contexts = []
        contexts: list[Any] = self._stack.contexts
        return contexts
