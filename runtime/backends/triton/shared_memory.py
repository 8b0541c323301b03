"""Dictionaries in system shared memory, which a server on this host reads where they are."""

import shutil
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np

from runtime.backends.base import Rows
from runtime.backends.dictionary_cache import KeptRows
from runtime.backends.triton.client import CallError, SharedRegion, TritonClient
from runtime.errors import RemoteError, UsageError

_FOLDER = Path("/dev/shm")  # where Linux keeps it


class SharedRows(KeptRows[SharedRegion]):
    """Regions by the rows in them; only this user's processes, and root's, can read them.

    Raises `UsageError` where the server is on another host.
    """

    def __init__(self, client: TritonClient, limit: int) -> None:
        if not client.address.is_local():
            raise UsageError(
                f"{client.address.url}: shared memory needs the server on this host; leave "
                "shared_memory out"
            )
        super().__init__(limit)
        self._client = client

    def introduce(self, region: SharedRegion) -> None:
        """Make the region known to the server. Raises `RemoteError`."""
        if region.known:
            return
        try:
            self._client.register(region)
        except CallError as error:
            if error.status not in ("INTERNAL", "INVALID_ARGUMENT"):
                raise
            raise RemoteError(
                f"{error}: the server cannot open this process's shared memory; run it as the same "
                "user (a container: --ipc=host), or leave shared_memory out"
            ) from None
        region.known = True

    def _put(self, people: tuple[Rows, ...]) -> SharedRegion:
        from tritonclient.utils import shared_memory

        size = sum(rows.nbytes for rows in people)
        free = shutil.disk_usage(_FOLDER).free
        if size > free:  # else the process would die while it writes
            raise RemoteError(
                f"{_FOLDER}: {free >> 20} MiB free, a dictionary of {size >> 20} MiB; enlarge it, "
                "or leave shared_memory out"
            )
        name = f"dmdnet-{uuid.uuid4().hex[:16]}"
        handle = shared_memory.create_shared_memory_region(name, name, size, create_only=True)
        shared_memory.set_shared_memory_region(handle, [np.ascontiguousarray(r) for r in people])
        shape = (1, sum(len(rows) for rows in people), people[0].shape[1])
        return SharedRegion(name, shape, people[0].dtype, size, handle)

    def _free(self, memory: SharedRegion) -> None:
        from tritonclient.utils import shared_memory

        if memory.known:
            with suppress(RemoteError):  # a server that is away has forgotten it anyway
                self._client.unregister(memory)
        shared_memory.destroy_shared_memory_region(memory.handle)
