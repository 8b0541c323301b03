"""Pictures by name: files of this machine, and objects behind URLs, through fsspec."""

from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from runtime.errors import InvalidImageError, UsageError
from runtime.storage.local import write_atomically

# an object appears there when its upload is complete; elsewhere a writer that dies leaves a part
_WRITABLE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")

_T = TypeVar("_T")


def is_url(name: str) -> bool:
    """Whether fsspec is asked for it: `s3://...`, `https://...`; not `file://`."""
    return "://" in name


def local(name: str) -> str:
    """`file://` URLs as the path that they mean, anything else as it is."""
    return unquote(urlsplit(name).path) if name.startswith("file://") else name


def base_name(name: str) -> str:
    """The last part of a path or URL, without a URL's query."""
    return Path(unquote(urlsplit(name).path) if name.startswith("http") else name).name


def join(folder: str, name: str) -> str:
    """A file in a folder or under a URL."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)


def read(name: str) -> bytes:
    """The whole file or object. Raises `InvalidImageError` that names it."""
    try:
        if is_url(name):
            return _ask(name, lambda store, path: bytes(store.cat_file(path)))
        return Path(name).read_bytes()
    except FileNotFoundError:
        raise InvalidImageError(f"{name}: no such file") from None
    except OSError as error:
        raise InvalidImageError(f"{name}: cannot be read: {error.strerror or error}") from None


def write(name: str, data: bytes) -> None:
    """Write it whole or not at all. Raises OSError."""
    if is_url(name):
        _ask(name, lambda store, path: store.pipe_file(path, data))
    else:
        write_atomically(Path(name), data)


def exists(name: str) -> bool:
    """Whether the file or object is there. Raises OSError where that cannot be known."""
    if is_url(name):
        return _ask(name, lambda store, path: bool(store.exists(path)))
    return Path(name).exists()


def make_folder(name: str) -> None:
    """Make an output folder where it is missing; object stores have none to make.

    Raises `UsageError` for a file, or a URL that cannot be written whole or not at all.
    """
    if is_url(name):
        if name.split("://")[0] not in _WRITABLE:
            kinds = ", ".join(f"{kind}://" for kind in _WRITABLE)
            raise UsageError(f"{name}: --out must be a folder, or one of {kinds}")
        _ask(name, lambda store, path: store.exists(path))  # fails early without its package
        return
    if Path(name).exists() and not Path(name).is_dir():
        raise UsageError(f"{name}: --out must be a folder")
    Path(name).mkdir(parents=True, exist_ok=True)


def matches(argument: str, suffixes: tuple[str, ...]) -> list[str]:
    """A file as given, the files of a folder with one of `suffixes`, or what a glob matches.

    Sorted. Raises `InvalidImageError` for an argument that gives nothing.
    """
    argument = local(argument)
    globbed = any(sign in argument for sign in "*?[")
    if is_url(argument):
        # a web server has no folders, and its URLs may hold any sign
        found, globbed = [argument], globbed and not argument.startswith("http")
        if not argument.startswith("http"):
            found = _ask(argument, lambda store, path: _listed(store, path, globbed, suffixes))
    elif Path(argument).is_dir():
        globbed = False
        folder = Path(argument).iterdir()
        found = sorted(str(path) for path in folder if path.suffix.lower() in suffixes)
    elif globbed and not Path(argument).exists():
        found = sorted(path for path in glob(argument, recursive=True) if Path(path).is_file())
    else:
        found = [str(Path(argument))]  # a file that is missing is reported when it is read
    if not found:
        nothing = "nothing matches" if globbed else "no pictures in this folder"
        raise InvalidImageError(f"{argument}: {nothing}")
    return found


def store_of(name: str) -> Any:
    """fsspec's file system of a URL; None for a path."""
    return _ask(name, lambda store, _: store) if is_url(name) else None


def _listed(store: Any, path: str, globbed: bool, suffixes: tuple[str, ...]) -> list[str]:
    if globbed:
        names = [name for name in store.glob(path) if not store.isdir(name)]
    elif store.isdir(path):
        files = [entry["name"] for entry in store.ls(path, detail=True) if entry["type"] == "file"]
        names = [name for name in files if Path(name).suffix.lower() in suffixes]
    else:
        names = [path]
    return sorted(store.unstrip_protocol(name) for name in names)


def _ask(url: str, question: Callable[[Any, str], _T]) -> _T:
    """Put a question to the URL's store; what it raises becomes OSError with a line of text."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UsageError(
            f"{url}: URLs need fsspec: install it, or dmdnet-runtime[ray], which has it"
        ) from None
    try:
        store, path = url_to_fs(url)
    except (ImportError, ValueError) as error:  # s3fs is missing; no such protocol
        raise UsageError(f"{url}: {error}") from None
    try:
        return question(store, path)
    except FileNotFoundError:
        raise
    except Exception as error:  # each store raises classes of its own, few of them OSErrors
        raise OSError(f"{url}: {type(error).__name__}: {error}") from error
