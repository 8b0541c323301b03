"""The cache of specific dictionaries in GPU memory."""

from typing import Any

import numpy as np

from runtime.backends.base import Rows
from runtime.backends.dictionary_cache import KeptRows
from runtime.errors import ClosedError
from runtime.machine.gpu import NON_BLOCKING, GpuContext

ADVICE = "lower dictionary_cache, use fewer references, or free the GPU"


class ResidentRows(KeptRows[Any]):
    """Keeps rows in GPU memory, a pycuda.driver.DeviceAllocation for each person.

    They are copied there on a stream of their own, beside the calls that are running.

    The GPU context must be current in the thread that calls. `hold` raises `DeviceMemoryError`, and
    `ClosedError` for new rows after `close`.
    """

    def __init__(self, gpu: GpuContext, limit: int) -> None:
        super().__init__(limit)
        self._gpu = gpu
        # the legacy stream would wait for all other streams, and they for it
        with gpu, gpu.errors_as_ours(ADVICE):
            self._stream: Any = gpu.driver.Stream(NON_BLOCKING)

    def close(self) -> None:
        super().close()
        self._stream = None  # destroyed here, where the GPU context is current

    def _put(self, people: tuple[Rows, ...]) -> Any:
        (rows,) = people
        driver, stream = self._gpu.driver, self._stream
        if stream is None:
            raise ClosedError
        try:
            memory = driver.mem_alloc(rows.nbytes)
        except driver.MemoryError:
            self._make_room()
            with self._gpu.errors_as_ours(ADVICE):
                memory = driver.mem_alloc(rows.nbytes)
        try:
            source = np.ascontiguousarray(rows)  # must stay until the copy is done
            driver.memcpy_htod_async(memory, source, stream)
            stream.synchronize()  # no lane's stream waits for this one
        except BaseException:
            memory.free()  # else lost: the traceback keeps it beyond this context
            raise
        return memory

    def _free(self, memory: Any) -> None:
        memory.free()
