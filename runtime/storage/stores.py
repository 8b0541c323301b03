"""Web servers and object stores, through fsspec: which are opened, and calls to them."""

from collections.abc import Callable
from typing import Any, TypeVar

from runtime.errors import InvalidImageError, UsageError
from runtime.redaction import public_name, without_secrets
from runtime.text import squeezed

WEB = ("http", "https")

WRITABLE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Stores where an object appears when its upload is complete: a killed writer leaves no part."""

_CHUNK = 1 << 20

_T = TypeVar("_T")


def scheme_of(url: str) -> str:
    """What stands before `://`, in lower case."""
    return url.partition("://")[0].lower()


def kinds(schemes: tuple[str, ...]) -> str:
    """A list of schemes for a message, such as "http://, https://"."""
    return ", ".join(f"{scheme}://" for scheme in schemes)


def ask(url: str, question: Callable[[Any, str], _T]) -> _T:
    """Call `question` with the URL's fsspec store and its path there, and return the answer.

    What the store raises becomes an OSError with one line of text.

    Only `WEB` and `WRITABLE` are opened: other protocols of fsspec run, cache or unpack something
    on this machine. Raises `UsageError` for these, and where fsspec or the store's package is not
    installed.
    """
    scheme, shown = scheme_of(url), public_name(url)
    if scheme == "file":
        raise UsageError(f"{shown}: a file on another machine; write file:///PATH for this one")
    if scheme not in WEB + WRITABLE:
        raise UsageError(
            f"{shown}: {scheme}:// URLs are not opened, only file://, {kinds(WEB + WRITABLE)}, and "
            "no chains of URLs"
        )
    try:
        from fsspec import get_filesystem_class
    except ImportError:
        raise UsageError(
            f"{shown}: URLs need fsspec; install it, or dmdnet-runtime[ray], which brings it"
        ) from None
    url = scheme + url[len(scheme) :]
    # what arrives should be as large as what was sent
    options = {"headers": {"Accept-Encoding": "identity"}} if scheme in WEB else {}
    try:
        kind = get_filesystem_class(scheme)  # unlike fsspec's own opening, this follows no chain
        store = kind(**kind._get_kwargs_from_urls(url), **options)
        path = kind._strip_protocol(url)
    except (ImportError, ValueError) as error:  # s3fs is missing; the URL cannot be one
        raise UsageError(f"{shown}: {without_secrets(str(error))}") from None
    except Exception as error:
        raise _refused(url, error) from error
    try:
        return question(store, path)
    except (FileNotFoundError, InvalidImageError):
        raise
    except Exception as error:  # each store raises classes of its own, few of them OSErrors
        raise _refused(url, error) from error


def download(url: str, most: int) -> bytes | None:
    """The whole object; None where it has more than `most` bytes, of which no more are kept."""

    def whole(store: Any, path: str) -> bytes:
        if scheme_of(url) not in WEB:
            return bytes(store.cat_file(path, start=0, end=most + 1))
        # a size is given so that nobody asks for it; a server that compresses all the same is
        # counted by what comes out
        with store.open(path, "rb", block_size=0, size=1) as reply:
            return bounded(reply.read, most)

    data = ask(url, whole)
    return data if len(data) <= most else None


def bounded(read: Callable[[int], bytes], most: int) -> bytes:
    """Call `read` until its end, but stop after one byte more than `most`."""
    data = bytearray()
    while len(data) <= most and (part := read(min(_CHUNK, most + 1 - len(data)))):
        data += part
    return bytes(data)


def _refused(url: str, error: Exception) -> OSError:
    text = squeezed(without_secrets(str(error)))
    query = url.partition("?")[2]
    if query:  # a store may name it without the rest of the URL
        text = text.replace(query, "***")
    return OSError(f"{public_name(url)}: {type(error).__name__}: {text}")
