"""The cache of specific dictionaries in GPU memory."""

from typing import Any

import numpy as np

from runtime.backends.base import Rows
from runtime.backends.dictionary_cache import KeptRows
from runtime.machine.gpu import GpuContext

ADVICE = "lower dictionary_cache, use fewer references, or free the GPU"


class ResidentRows(KeptRows[Any]):
    """Keeps rows in GPU memory, a pycuda.driver.DeviceAllocation for each person.

    The GPU context must be current in the thread that calls. `hold` raises `DeviceMemoryError`.
    """

    def __init__(self, gpu: GpuContext, limit: int) -> None:
        super().__init__(limit)
        self._gpu = gpu

    def _put(self, people: tuple[Rows, ...]) -> Any:
        (rows,) = people
        driver = self._gpu.driver
        try:
            memory = driver.mem_alloc(rows.nbytes)
        except driver.MemoryError:
            self._shrink(0)
            with self._gpu.errors_as_ours(ADVICE):
                memory = driver.mem_alloc(rows.nbytes)
        try:
            # on the null stream, which comes before what other streams do next
            driver.memcpy_htod(memory, np.ascontiguousarray(rows))
        except BaseException:
            memory.free()  # else lost: the traceback keeps it beyond this context
            raise
        return memory

    def _free(self, memory: Any) -> None:
        memory.free()
