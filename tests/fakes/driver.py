"""`pycuda.driver` in host memory, stricter than the real one.

What a stream is given runs only when it is waited for, so that a forgotten `synchronize` gives
wrong numbers. Everything but `Device` wants the context to be current in the thread.
"""

import ctypes
import itertools
import threading
import time
import weakref
from collections import Counter
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
        self._driver.check_captures()
        if self._driver.live.pop(int(self), None) is None:
            raise LogicError("cuMemFree failed: invalid argument")


class Handle:
    """Of a stream or event; goes with its object where the context is current, else it is lost."""

    def __init__(self, driver: "FakeDriver") -> None:
        self._driver, self.handle = driver, next(driver.numbers)
        driver.handles.add(self.handle)

    def __del__(self) -> None:
        if self._driver.is_current():
            self._driver.handles.discard(self.handle)


class Stream(Handle):
    def __init__(self, driver: "FakeDriver", flags: int) -> None:
        super().__init__(driver)
        self.flags = flags
        self.captured: list[Callable[[], object]] | None = None  # while a capture goes on
        self._work: list[Callable[[], object]] = []
        self._lock = threading.Lock()  # whoever waits, waits for all

    def add(self, work: Callable[[], object]) -> None:
        (self._work if self.captured is None else self.captured).append(work)

    def synchronize(self) -> None:
        with self._lock:
            work, self._work = self._work, []
            for each in work:
                each()


class Event(Handle):
    def __init__(self, driver: "FakeDriver") -> None:
        super().__init__(driver)
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
        self.streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        self.handles: set[int] = set()  # of streams and events that are not destroyed
        self.numbers = itertools.count(1)
        self.pagelocked: list[weakref.ref[NDArray[Any]]] = []
        self.to_device = 0  # bytes copied
        self.calls = Counter[str]()  # how often each function was called
        self._stack = threading.local()
        self._captures: dict[int, tuple[int, int]] = {}  # stream: thread and mode
        self._spoilt = False  # the captures that go on now
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
        self.check("mem_alloc")
        self.check_captures()
        with self._lock:
            if sum(a.nbytes for a in self.live.values()) + nbytes > self.limit:
                raise MemoryError("cuMemAlloc failed: out of memory")
            allocation = Allocation(self, nbytes)
            self.live[int(allocation)] = allocation
            return allocation

    def pagelocked_empty(self, shape: int, dtype: Any) -> NDArray[Any]:
        self.check("pagelocked_empty")
        self.check_captures()
        array = np.full(shape, 255, dtype)
        self.pagelocked.append(weakref.ref(array))
        return array

    def Stream(self, flags: int = 0) -> Any:  # noqa: N802
        self.check()
        stream = Stream(self, flags)
        self.streams[stream.handle] = stream
        return stream

    def Event(self) -> "Event":  # noqa: N802
        self.check()
        return Event(self)

    def memcpy_htod_async(self, memory: Any, array: NDArray[Any], stream: Any) -> None:
        self.check("memcpy_htod_async")

        def copy() -> None:
            self.to_device += array.nbytes
            ctypes.memmove(int(memory), array.ctypes.data, array.nbytes)

        assert array.flags.c_contiguous
        stream.add(copy)

    def memcpy_dtoh_async(self, array: NDArray[Any], memory: Any, stream: Any) -> None:
        self.check("memcpy_dtoh_async")
        stream.add(lambda: ctypes.memmove(array.ctypes.data, int(memory), array.nbytes))

    def memcpy_dtod_async(self, to: Any, memory: Any, nbytes: int, stream: Any) -> None:
        self.check("memcpy_dtod_async")
        stream.add(lambda: ctypes.memmove(int(to), int(memory), nbytes))

    def check(self, called: str | None = None) -> None:
        if called is not None:
            self.calls[called] += 1
        if not self.is_current():
            raise LogicError("invalid device context")

    def is_current(self) -> bool:
        return bool(self._contexts())

    def check_captures(self) -> None:
        """Refuse an allocation or a free where a capture's mode (0, 1 or 2) does."""
        thread = threading.get_ident()
        for capturing, mode in list(self._captures.values()):
            if mode == 0 or (mode == 1 and capturing == thread):
                self._spoilt = True
                raise LogicError("operation not permitted when stream is capturing")

    def wait_for_all(self) -> bool:
        """As TensorRT does to open something; False where that ends a capture, and itself fails."""
        self._spoilt = bool(self._captures)
        return not self._spoilt

    def begin_capture(self, stream: Any, mode: int) -> None:
        assert stream.captured is None
        assert stream.flags == 1, "the legacy stream's work would end the capture"
        stream.captured = []
        self._captures[stream.handle] = (threading.get_ident(), mode)

    def end_capture(self, stream: Any) -> tuple[int, list[Callable[[], object]]]:
        """The driver's answer, and the captured work."""
        if stream.captured is None:
            return 401, []
        work, stream.captured = stream.captured, None
        del self._captures[stream.handle]
        spoilt, self._spoilt = self._spoilt, self._spoilt and bool(self._captures)
        return 901 if spoilt else 0, work

    def _contexts(self) -> list[Any]:
        if not hasattr(self._stack, "contexts"):
            self._stack.contexts = []
        contexts: list[Any] = self._stack.contexts
        return contexts


class FakeGraphs:
    """The functions of libcuda that capture CUDA graphs, on the streams of a `FakeDriver`.

    `errors`: what functions answer in place of their work, by their names.
    """

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.errors: dict[str, int] = {}
        self.live: dict[int, list[Callable[[], object]]] = {}  # graphs, and what can be launched
        self._numbers = itertools.count(1)

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:  # noqa: N802
        self.driver.check("cuStreamBeginCapture")
        if code := self.errors.get("cuStreamBeginCapture_v2"):
            return code
        self.driver.begin_capture(self.driver.streams[stream.value], mode)
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        code, work = self.driver.end_capture(self.driver.streams[stream.value])
        code = self.errors.get("cuStreamEndCapture") or code
        if not code:
            self._keep(graph, work)
        return code

    def cuGraphInstantiateWithFlags(self, to: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        assert flags.value == 0
        if code := self.errors.get("cuGraphInstantiateWithFlags"):
            return code
        self._keep(to, self.live[graph.value])
        return 0

    def cuGraphLaunch(self, graph: Any, stream: Any) -> int:  # noqa: N802
        self.driver.check("cuGraphLaunch")
        if code := self.errors.get("cuGraphLaunch"):
            return code
        for work in self.live[graph.value]:
            self.driver.streams[stream.value].add(work)
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        del self.live[graph.value]
        return 0

    def cuGraphExecDestroy(self, graph: Any) -> int:  # noqa: N802
        self.driver.check()
        if code := self.errors.get("cuGraphExecDestroy"):
            return code
        del self.live[graph.value]
        return 0

    def _keep(self, to: Any, work: list[Callable[[], object]]) -> None:
        to._obj.value = number = next(self._numbers)
        self.live[number] = work
