"""Dictionaries in system shared memory, which a server on this host reads where they are."""

import errno
import os
import uuid
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np

from runtime.backends.base import Rows
from runtime.backends.dictionary_cache import KeptRows
from runtime.backends.triton.client import CallError, SharedRegion, TritonClient
from runtime.errors import ClosedError, RemoteError, UsageError

_FOLDER = Path("/dev/shm")  # where Linux keeps it


class SharedRows(KeptRows[SharedRegion]):
    """Keeps rows in regions of shared memory, which only processes of this user or root can read.

    A region is removed when it is evicted, when the last call that reads it ends after `close`, or
    with this object or process if nobody closed it. Raises `UsageError` where the server is on
    another host.
    """

    def __init__(self, client: TritonClient, limit: int) -> None:
        if not client.address.is_local():
            raise UsageError(
                f"{client.address.url}: shared memory needs the server on this host; leave "
                "shared_memory out"
            )
        super().__init__(limit)
        self._client = client
        self._closed = False
        self._regions: dict[str, SharedRegion] = {}  # all that exist
        weakref.finalize(self, _free_forgotten, self._regions, client, os.getpid())

    def close(self) -> None:
        self._closed = True
        super().close()

    def introduce(self, region: SharedRegion) -> None:
        """Register a region with the server, if it is not yet. Raises `RemoteError`."""
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

        if self._closed:
            raise ClosedError
        size = sum(rows.nbytes for rows in people)
        name = f"dmdnet-{uuid.uuid4().hex[:16]}"
        try:
            handle = shared_memory.create_shared_memory_region(name, name, size, create_only=True)
        except shared_memory.SharedMemoryException as error:
            raise RemoteError(f"{_FOLDER}: no shared memory ({error.__cause__})") from None
        shape = (1, sum(len(rows) for rows in people), people[0].shape[1])
        region = SharedRegion(name, shape, people[0].dtype, size, handle)
        self._regions[name] = region
        try:
            _fill(_FOLDER / name, people)
        except BaseException:
            self._free(region)
            raise
        return region

    def _free(self, memory: SharedRegion) -> None:
        _free(self._regions, memory, self._client)


def _fill(path: Path, people: tuple[Rows, ...]) -> None:
    """Write through the file: writing into mapped memory without room would kill the process."""
    try:
        _write(path, people)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        size = sum(rows.nbytes for rows in people)
        raise RemoteError(
            f"{_FOLDER}: no room for a dictionary of {size >> 20} MiB; enlarge it, or leave "
            "shared_memory out"
        ) from None


def _write(path: Path, people: tuple[Rows, ...]) -> None:
    with path.open("r+b") as file:
        for rows in people:
            file.write(np.ascontiguousarray(rows).data)


def _free(regions: dict[str, SharedRegion], region: SharedRegion, client: TritonClient) -> None:
    """Remove the region, which needs no server, and then have the server unregister it."""
    from tritonclient.utils import shared_memory

    shared_memory.destroy_shared_memory_region(region.handle)
    regions.pop(region.name, None)
    if region.known:
        with suppress(RemoteError):  # a server that is away has forgotten it anyway
            client.unregister(region)


def _free_forgotten(regions: dict[str, SharedRegion], client: TritonClient, owner: int) -> None:
    """Free what is left if nobody called `close`; a forked child leaves its parent's alone."""
    if os.getpid() == owner:
        for region in list(regions.values()):
            _free(regions, region, client)
