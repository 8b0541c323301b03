"""Pictures by name: files of this machine, and objects behind URLs."""

import os
import re
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from runtime.errors import InvalidImageError, UsageError
from runtime.redaction import public_name
from runtime.storage import stores
from runtime.storage.local import write_atomically
from runtime.storage.temporary import remove_unfinished

MAX_BYTES = 1 << 30
"""Most bytes that are read of one picture file, unless the caller sets another limit.

150 million pixels of three 16-bit channels are 0.9 GB without any compression.
"""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")  # with a chain's `simplecache::s3://`
_WEB_PATH = re.compile(r"https?://[^/?#]*([^?#]*)", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Whether a name is a URL, such as `s3://...` or `https://...`, and not a path.

    `file://` is a path, unless it names another machine. Neither `://` within a path nor `http` at
    its beginning makes it a URL.
    """
    return _URL.match(name) is not None and local(name) == name


def local(name: str) -> str:
    """The path that a `file://` URL of this machine means; any other name as it is."""
    scheme, _, rest = name.partition("://")
    path = rest.removeprefix("localhost")
    return unquote(path) if scheme.lower() == "file" and path.startswith("/") else name


def base_name(name: str) -> str:
    """The last part of a path or URL, without a web URL's query."""
    name = local(name)
    web = _WEB_PATH.match(name)
    return Path(unquote(web[1]) if web else name).name


def join(folder: str, name: str) -> str:
    """The name of a file in a folder or under a URL."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)


def flaw(name: str) -> str | None:
    """Why no file or object can have this name; None if one can."""
    base, shown = base_name(name), public_name(name)
    if not base:
        return f"{shown}: this names no file" if name else "a picture without a name"
    if "\0" in base or "\0" in local(name):
        return f"{shown}: a file name cannot hold a NUL character"
    if not _is_encodable(name):
        return f"{shown}: it holds half of a surrogate pair, which no file's name can"
    return None


def read(name: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a whole file or object of at most `max_bytes`.

    No more is read, whatever the file or the server says about its size. Raises
    `InvalidImageError` that names it, and `UsageError` for a URL of a kind that is not opened.
    """
    name = local(name)
    if wrong := flaw(name):
        raise InvalidImageError(wrong)
    shown = public_name(name)
    try:
        data = stores.download(name, max_bytes) if is_url(name) else _content(name, max_bytes)
    except FileNotFoundError:
        raise InvalidImageError(f"{shown}: no such file") from None
    except OSError as error:
        why = error.strerror or str(error).removeprefix(f"{shown}: ")
        raise InvalidImageError(f"{shown}: cannot be read: {why}") from None
    if data is None:
        raise InvalidImageError(f"{shown}: {too_large(max_bytes)}")
    return data


def too_large(max_bytes: int) -> str:
    """The end of an error message about a picture file that is too large."""
    return f"larger than the limit of {max_bytes} bytes; raise it if you trust the file"


def write(name: str, data: bytes) -> None:
    """Write a file or object whole or not at all. Raises OSError."""
    if is_url(name):
        stores.ask(name, lambda store, path: store.pipe_file(path, data))
    else:
        write_atomically(Path(name), data)


def send(file: Path, url: str) -> None:
    """Copy a file of this machine to a URL, whole or not at all. Raises OSError."""
    stores.ask(url, lambda store, path: store.put_file(str(file), path))


def exists(name: str) -> bool:
    """Whether a file or object exists. Raises OSError where that cannot be known."""
    if is_url(name):
        return stores.ask(name, lambda store, path: bool(store.exists(path)))
    return Path(name).exists()


def same(name: str, other: str) -> bool:
    """Whether two names mean the same file, also by a link, or the same object."""
    if is_url(name) or is_url(other):
        return canonical(name) == canonical(other)
    try:
        return Path(name).samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return False


def canonical(name: str) -> str:
    """A URL with one spelling of its scheme, so that two can be compared; a path as it is."""
    if not is_url(name):
        return name
    scheme = stores.scheme_of(name)
    known = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs"}.get(scheme, scheme)
    return known + name[len(scheme) :]


def make_folder(name: str) -> None:
    """Make an output folder if it is missing; an object store needs none.

    Unfinished files that killed processes left in it are removed. Raises `UsageError` for a file,
    and for a URL to which nothing can be written whole or not at all.
    """
    if is_url(name):
        if stores.scheme_of(name) not in stores.WRITABLE:
            raise UsageError(
                f"{public_name(name)}: --out must be a folder, or one of "
                f"{stores.kinds(stores.WRITABLE)}"
            )
        stores.ask(name, lambda store, path: store.exists(path))  # fails early without its package
        return
    if Path(name).exists() and not Path(name).is_dir():
        raise UsageError(f"{name}: --out must be a folder")
    Path(name).mkdir(parents=True, exist_ok=True)
    remove_unfinished(Path(name))


def matches(argument: str, suffixes: tuple[str, ...]) -> list[str]:
    """The files that an argument names, sorted: a file, or what a folder holds or a glob matches.

    Of a folder only files with one of `suffixes`. Raises `InvalidImageError` if there is none.
    """
    argument = local(argument)
    if "\0" in argument or not _is_encodable(argument):
        return [argument]  # what cannot be read is reported when it is read
    globbed = any(sign in argument for sign in "*?[")
    if is_url(argument):
        # a web server has no folders, and its URLs may hold any sign
        web = stores.scheme_of(argument) in stores.WEB
        found, globbed = [argument], globbed and not web
        if not web:
            found = stores.ask(argument, _listing(globbed, suffixes))
    elif os.path.isdir(argument):  # noqa: PTH112 - unlike Path's, no error for a name too long
        globbed = False
        folder = Path(argument).iterdir()
        found = sorted(str(path) for path in folder if path.suffix.lower() in suffixes)
    elif globbed and not os.path.exists(argument):  # noqa: PTH110 - the same
        found = sorted(path for path in glob(argument, recursive=True) if Path(path).is_file())
    else:
        found = [str(Path(argument))]  # a file that is missing is reported when it is read
    if not found:
        nothing = "nothing matches this pattern" if globbed else "no pictures in this folder"
        raise InvalidImageError(f"{public_name(argument)}: {nothing}")
    return found


def store_of(name: str) -> Any:
    """fsspec's file system of a URL; None for a path."""
    return stores.ask(name, lambda store, _: store) if is_url(name) else None


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _content(path: str, most: int) -> bytes | None:
    """A file's bytes; None where it has more than `most`."""
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            return None
        data = file.read(size + 1)
        if len(data) > size:  # it grows, or is no file: a FIFO or a device
            data += stores.bounded(file.read, most - len(data))
    return data if len(data) <= most else None


def _listing(globbed: bool, suffixes: tuple[str, ...]) -> Callable[[Any, str], list[str]]:
    def listed(store: Any, path: str) -> list[str]:
        if globbed:
            names = [name for name in store.glob(path) if not store.isdir(name)]
        elif store.isdir(path):
            entries = store.ls(path, detail=True)
            files = [entry["name"] for entry in entries if entry["type"] == "file"]
            names = [name for name in files if Path(name).suffix.lower() in suffixes]
        else:
            names = [path]
        return sorted(store.unstrip_protocol(name) for name in names)

    return listed
