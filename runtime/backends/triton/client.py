"""Calls to a Triton server: one deadline for all retries of a call, and errors as `RemoteError`."""

import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.backends.triton.address import AUTHORIZATION, Address, Remote
from runtime.errors import (
    ClosedError,
    DeviceError,
    DmdnetWarning,
    EngineCallError,
    RemoteError,
    UsageError,
)

_FAREWELL_S = 2.0
_FIRST_DELAY_S = 0.5  # before the first retry; doubled for each further one
# gRPC's own limit is 4 MB a message, and it would look for a lost server ever more rarely
_CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5000),  # despite its name, also the time limit of connecting
    ("grpc.max_reconnect_backoff_ms", 200),
)
_TLS_SIGNS = ("ssl", "tls", "handshake", "certificate")
# Triton's messages to all whose requests it joined with one that made the call fail
_BROKEN_BATCH = ("Failed to process the request(s)", "is not healthy")

_T = TypeVar("_T")


class CallError(RemoteError):
    """A call that failed; `status` is gRPC's, such as "UNAVAILABLE"."""

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class RefusedCallError(CallError, EngineCallError):
    """The server refused or failed this one call, and may take others."""


@dataclass
class SharedRegion:
    """Shared memory that holds an input in place of an array: some rows as (1, K, D)."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    handle: Any
    known: bool = False  # to the server that runs now


class TritonClient:
    """A connection, opened on first use and again when it broke; safe to use from many threads.

    Raises `DeviceError` if tritonclient is not installed, `UsageError` for a `Remote.ca` that
    cannot be used.
    """

    def __init__(self, address: Address, remote: Remote) -> None:
        try:
            import tritonclient.grpc as tritonclient
            from tritonclient.utils import InferenceServerException
        except ImportError:
            raise DeviceError(
                "tritonclient is not installed: install dmdnet-runtime[triton]"
            ) from None
        if remote.ca is not None and not address.secure:
            raise UsageError(
                f"{address.url}: a CA (Remote(ca=...), --remote-ca) needs a grpcs:// address"
            )
        self.address, self._remote = address, remote
        self._tritonclient, self._failed = tritonclient, InferenceServerException
        self._headers = {"authorization": remote.authorization} if remote.authorization else None
        if self._headers and not address.secure and not address.is_local():
            warnings.warn(
                f"{address.url}: the authorization is sent unencrypted; use grpcs:// to encrypt it",
                DmdnetWarning,
                stacklevel=2,
            )
        if remote.ca is not None:
            _check_certificates(remote.ca)
        self._client = self._connection()

    def config(self) -> Any:
        """The model's configuration, a ModelConfig of Triton's protocol."""
        name, version = self.address.model, self.address.version
        return self._call(self._client.get_model_config, name, version).config

    def versions(self) -> list[str]:
        """The versions of the model that are served."""
        name, version = self.address.model, self.address.version
        return list(self._call(self._client.get_model_metadata, name, version).versions)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any] | SharedRegion],
        parameters: Mapping[str, str] | None = None,
    ) -> Any:
        """Run `model`, in the address's version. Returns tritonclient's InferResult."""
        tensors = [self._tensor(name, value) for name, value in inputs.items()]

        def infer(client_timeout: float, **more: Any) -> Any:
            return self._client.infer(
                model,
                tensors,
                self.address.version,
                parameters=dict(parameters or {}),
                client_timeout=client_timeout,
                timeout=int(client_timeout * 1e6),  # then the server drops it, too
                **more,
            )

        return self._call(infer)

    def register(self, region: SharedRegion) -> None:
        """Register shared memory with the server, unless it is registered already."""
        register = self._client.register_system_shared_memory
        try:
            self._call(register, region.name, f"/{region.name}", region.nbytes)
        except CallError as error:
            if error.status != "ALREADY_EXISTS":
                raise

    def unregister(self, region: SharedRegion) -> None:
        """Unregister shared memory, in one short try over a connection of its own.

        The last call of a Restorer may end after `close`, when the client's connection is gone.
        """
        with self._connection() as client:
            try:
                client.unregister_system_shared_memory(
                    region.name, headers=self._headers, client_timeout=_FAREWELL_S
                )
            except self._failed as error:
                status = str(error.status()).removeprefix("StatusCode.")
                raise self._named(status, error.message() or "", 0) from None

    def close(self) -> None:
        """End the calls in flight, which raise `ClosedError`; so do all later ones."""
        self._client.close()

    def _connection(self) -> Any:
        return self._tritonclient.InferenceServerClient(
            self.address.target,
            ssl=self.address.secure,
            root_certificates=None if self._remote.ca is None else str(self._remote.ca),
            channel_args=_CHANNEL,
        )

    def _tensor(self, name: str, value: NDArray[Any] | SharedRegion) -> Any:
        from tritonclient.utils import np_to_triton_dtype

        tensor = self._tritonclient.InferInput(name, value.shape, np_to_triton_dtype(value.dtype))
        if isinstance(value, np.ndarray):
            tensor.set_data_from_numpy(value)
        else:
            tensor.set_shared_memory(value.name, value.nbytes)
        return tensor

    def _call(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Call, and retry where the connection or a stranger's request failed: it does no harm."""
        end = time.monotonic() + self._remote.timeout
        delay, tries = _FIRST_DELAY_S, 0
        while True:
            left = max(end - time.monotonic(), 0.001)
            try:
                return work(*arguments, headers=self._headers, client_timeout=left)
            except ValueError:  # gRPC's for a closed channel
                raise ClosedError from None
            except self._failed as error:
                status = str(error.status()).removeprefix("StatusCode.")
                if status == "CANCELLED":  # the channel was closed while the call was in flight
                    raise ClosedError from None
                said = error.message() or ""
                again = _may_pass(status, said) and tries < self._remote.retries
                if not again or time.monotonic() + delay > end:
                    raise self._named(status, said, tries) from None
            time.sleep(delay)
            tries, delay = tries + 1, delay * 2

    def _named(self, status: str, message: str, retries: int) -> CallError:
        said = " ".join(message.split()).removesuffix(".")[:400]
        url, model = self.address.url, self.address.model
        tried = f", after {retries} retries" if retries else ""
        if status in ("NOT_FOUND", "UNAVAILABLE") and "model" in said:
            line = f"the server has no model {model} ready ({said}); see its log"
        elif status == "UNAVAILABLE" and any(sign in said.lower() for sign in _TLS_SIGNS):
            line = (
                f"no encrypted connection ({said}); give the authority that signed its certificate "
                "by Remote(ca=...) or --remote-ca"
            )
        elif status == "UNAVAILABLE":
            line = (
                f"cannot be reached{tried} ({said}); is the server up, and is this its gRPC port?"
            )
        elif status == "DEADLINE_EXCEEDED":
            line = (
                f"no answer within {self._remote.timeout:g} s; allow more by Remote(timeout=...) "
                "or --remote-timeout"
            )
        elif status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            line = f"access denied ({said}); see Remote(authorization=...) and {AUTHORIZATION}"
        else:
            return RefusedCallError(f"{url}: refused ({status}: {said})", status)
        return CallError(f"{url}: {line}", status)


def _may_pass(status: str, said: str) -> bool:
    """Whether a failure says nothing about the request, so that the same one may succeed later."""
    broken = status == "INTERNAL" and any(sign in said for sign in _BROKEN_BATCH)
    return broken or status == "UNAVAILABLE"


def _check_certificates(file: str | Path) -> None:
    """Raise `UsageError` for a bad file, of which gRPC would say only that it cannot connect."""
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise UsageError(f"{file}: not a PEM file of certificates") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
