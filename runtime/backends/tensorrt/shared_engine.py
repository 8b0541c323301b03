"""An engine that many threads share: each call has an execution context to itself."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from runtime.backends.base import DeviceSeconds
from runtime.backends.tensorrt.contexts import LoadedEngine
from runtime.backends.tensorrt.lane import Inputs, Lane, Resident
from runtime.errors import ClosedError, DeviceMemoryError, DmdnetWarning, EngineCallError

_LANES = 2  # while one copies or waits for the host, the other computes


class SharedEngine:
    """A loaded engine with its lanes (execution contexts), safe to use from many threads.

    It starts with one lane, and opens another where a thread would have to wait, if the GPU has
    memory for it. After `close`, `run` raises `ClosedError`.
    """

    def __init__(self, loaded: LoadedEngine) -> None:
        self.record = loaded.record
        self.last: DeviceSeconds | None = None
        self._loaded: LoadedEngine | None = loaded  # None once closed: it holds the weights' memory
        self._changed = threading.Condition()
        self._idle = [Lane(loaded)]
        self._lanes, self._most = 1, _LANES

    def run(self, inputs: Inputs, resident: Resident) -> NDArray[Any]:
        """The output of one engine call; the GPU context must be current in the thread."""
        with self._lane() as lane:
            result = lane.run(inputs, resident)
            self.last = result.seconds
        # new memory is slow to fill: another thread may have the lane meanwhile
        array = result.array.copy()
        lane.give_back(result)
        return array

    def information(self) -> str:
        """The engine's layers, as JSON of TensorRT's engine inspector."""
        with self._lane() as lane:
            loaded = self._loaded
            if loaded is None:
                raise ClosedError
            trt = loaded.edition.module
            inspector = loaded.engine.create_engine_inspector()
            inspector.execution_context = lane.context  # with its shapes, formats are known
            text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
            inspector.execution_context = None
            return str(text)

    def close(self) -> None:
        """Free the idle lanes; those at work are freed when they come back.

        The GPU context must be current in the thread.
        """
        with self._changed:
            loaded, self._loaded = self._loaded, None
            while self._idle:
                self._idle.pop().free()
            self._changed.notify_all()
        if loaded is not None and loaded.cache:
            loaded.cache.save()

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        lane = self._take()
        try:
            yield lane
        finally:
            with self._changed:
                if self._loaded is None:
                    lane.free()
                else:
                    self._idle.append(lane)
                self._changed.notify()

    def _take(self, may_open: bool = True) -> Lane:
        with self._changed:
            while not self._idle and self._loaded is not None:
                if may_open and self._lanes < self._most:
                    break
                self._changed.wait()
            loaded = self._loaded
            if loaded is None:
                raise ClosedError
            if self._idle:
                return self._idle.pop()
            self._lanes += 1
        try:  # outside the lock: opening takes long, and the others go on
            return self._opened(loaded)
        except EngineCallError as error:
            warnings.warn(
                f"threads take turns on 1 execution context: {error}", DmdnetWarning, stacklevel=2
            )
        return self._take(may_open=False)

    def _opened(self, loaded: LoadedEngine) -> Lane:
        """One more lane, which is counted already."""
        try:
            lane = Lane(loaded)
        except BaseException as error:
            with self._changed:
                self._lanes -= 1
                if isinstance(error, DeviceMemoryError):
                    self._most = self._lanes
                self._changed.notify()
            raise
        if self._loaded is None:  # closed meanwhile; where it is closed now, the call ends first
            lane.free()
            raise ClosedError
        return lane
