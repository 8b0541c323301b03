"""An engine that many threads share: each call has an execution context to itself."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from runtime.backends.base import DeviceSeconds
from runtime.backends.tensorrt.lane import Inputs, Lane, LoadedEngine, Resident
from runtime.errors import ClosedError, DeviceMemoryError, DmdnetWarning

_LANES = 2  # while one copies or waits for the host, the other computes


class SharedEngine:
    """A loaded engine with its lanes (execution contexts), safe to use from many threads.

    It starts with one lane, and opens another where a thread would have to wait, if the GPU has
    memory for it. After `close`, `run` raises `ClosedError`.
    """

    def __init__(self, loaded: LoadedEngine) -> None:
        self.record = loaded.record
        self.last: DeviceSeconds | None = None
        self._loaded = loaded
        self._changed = threading.Condition()
        self._idle = [Lane(loaded)]
        self._lanes, self._most = 1, _LANES
        self._closed = False

    def run(self, inputs: Inputs, resident: Resident) -> NDArray[Any]:
        """The output of one engine call; the GPU context must be current in the thread."""
        with self._lane() as lane:
            result, self.last = lane.run(inputs, resident)
            return result

    def information(self) -> str:
        """The engine's layers, as JSON of TensorRT's engine inspector."""
        trt = self._loaded.edition.module
        with self._lane() as lane:
            inspector = self._loaded.engine.create_engine_inspector()
            inspector.execution_context = lane.context  # with its shapes, formats are known
            text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
            inspector.execution_context = None
            return str(text)

    def close(self) -> None:
        """Free the idle lanes; those at work are freed when they come back.

        The GPU context must be current in the thread.
        """
        with self._changed:
            self._closed = True
            while self._idle:
                self._idle.pop().free()
            self._changed.notify_all()

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        lane = self._take()
        try:
            yield lane
        finally:
            with self._changed:
                if self._closed:
                    lane.free()
                else:
                    self._idle.append(lane)
                self._changed.notify()

    def _take(self) -> Lane:
        with self._changed:
            while True:
                if self._closed:
                    raise ClosedError
                if self._idle:
                    return self._idle.pop()
                if self._lanes < self._most:
                    try:
                        lane = Lane(self._loaded)
                    except DeviceMemoryError as error:
                        self._most = self._lanes
                        warnings.warn(
                            f"threads take turns on {self._lanes} execution context: {error}",
                            DmdnetWarning,
                            stacklevel=2,
                        )
                        continue
                    self._lanes += 1
                    return lane
                self._changed.wait()
