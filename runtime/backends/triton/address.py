"""A model server in place of a bundle: its address, and how to talk to it."""

import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from runtime.errors import UsageError

SCHEMES = ("grpc", "grpcs")
AUTHORIZATION = "DMDNET_AUTHORIZATION"
"""Environment variable from which the commands take `Remote.authorization`."""

# parameters in the configuration of the model that apps call
MANIFEST_PARAMETER = "manifest"
RESTORER = "restorer"
MEMORIZER = "memorizer"
MAX_BATCH = "max_batch"
MAX_REFERENCES = "max_references"

_LONGEST_S = 1_000_000


@dataclass(frozen=True)
class Remote:
    """How a `Restorer` talks to a server.

    Args:
        timeout: seconds for one engine call with all its retries; over 0, at most 1,000,000.
        retries: how often a call is tried again after a connection failed or broke. No other
            failure is tried again.
        ca: PEM file of the authority that signed the server's certificate, for "grpcs://"; None
            means the authorities that gRPC knows.
        authorization: value of the `authorization` header, such as "Bearer TOKEN". It is in no
            message and in no `repr`.
        shared_memory: send each dictionary once, through shared memory; the server must run on
            this host.

    Raises `UsageError` for values outside these bounds.
    """

    timeout: float = 30.0
    retries: int = 3
    ca: str | Path | None = None
    authorization: str | None = field(default=None, repr=False)
    shared_memory: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= _LONGEST_S or self.retries < 0:
            raise UsageError(
                f"timeout must be over 0 s, {_LONGEST_S} s at most, and retries 0 or more, not "
                f"{self.timeout}, {self.retries}"
            )
        text = self.authorization
        if text and not (text.isascii() and text.isprintable()):
            raise UsageError("the authorization must be one line of ASCII text")


@dataclass(frozen=True)
class Address:
    """`grpc://HOST:PORT/MODEL[/VERSION]`, or `grpcs://` for TLS; `version` "" is the newest."""

    url: str
    host: str
    port: int
    model: str
    version: str
    secure: bool

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises `UsageError`."""
        wanted = f"{url}: not grpc://HOST:PORT/MODEL or grpc://HOST:PORT/MODEL/VERSION"
        try:
            parts = urlsplit(url)  # refuses "grpc://[x" itself
            host, port = parts.hostname, parts.port
        except ValueError:
            raise UsageError(wanted) from None
        if parts.username is not None or parts.password is not None:
            raise UsageError("a server's URL must hold no password: use the authorization header")
        path = re.fullmatch(r"/([A-Za-z0-9_.-]+)(?:/([0-9]{1,18}))?/?", parts.path)
        named = host and re.fullmatch(r"[A-Za-z0-9._:-]+", host)
        if not (host and named and port and path) or parts.query or parts.fragment:
            raise UsageError(wanted)
        return cls(url, host, port, path[1], path[2] or "", parts.scheme == "grpcs")

    @property
    def target(self) -> str:
        """`HOST:PORT` as gRPC takes it, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def is_local(self) -> bool:
        """Whether the host is this one: only its own addresses can be bound."""
        try:
            found = socket.getaddrinfo(self.host, 0, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # the second for a name such as "a..b"
            return False
        for family, kind, _, _, place in found:
            with socket.socket(family, kind) as probe, suppress(OSError):
                probe.bind(place)
                return True
        return False


def is_server_address(bundle: str | Path) -> bool:
    """Whether what stands for a bundle is a model server's address, `grpc://` or `grpcs://`."""
    return isinstance(bundle, str) and bundle.startswith(tuple(f"{s}://" for s in SCHEMES))
