"""Checkpoints from the web: downloaded once into the user's cache, and checked before use."""

import base64
import hashlib
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import filelock
import platformdirs

from export.model.torch_file import LARGEST
from runtime.errors import CheckpointError, CheckpointUnavailableError, DmdnetWarning
from runtime.storage.local import sha256_of

_SCHEMES = ("http", "https")
_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte
_NAME = 100  # characters of the URL's file name that are kept in the cache


@dataclass(frozen=True)
class Source:
    """A checkpoint's URL.

    `shown`: the URL without password and query, which may be a token. `sha256`: the file's hash;
    None if it is unknown. `authorization`: the header for the password in the URL, or "".
    """

    url: str
    shown: str
    sha256: str | None
    authorization: str

    @classmethod
    def parse(cls, url: str, sha256: str | None = None) -> "Source":
        """Read a URL; raises `CheckpointError` unless it is http:// or https:// with a host."""
        try:
            parts = urlsplit(url)
            host, port, user = parts.hostname, parts.port, parts.username
        except ValueError:
            host = None
        if not host or parts.scheme not in _SCHEMES:
            raise CheckpointError(
                "the checkpoint's URL is not http://HOST/... or https://HOST/...; other files are "
                "named by their path"
            )
        if not re.fullmatch(r"[!-~]+", url):
            raise CheckpointError(
                "the checkpoint's URL has spaces or signs that are not ASCII; write them as %20"
            )
        host = f"[{host}]" if ":" in host else host
        place = host if port is None else f"{host}:{port}"
        login = f"{unquote(user or '')}:{unquote(parts.password or '')}"
        return cls(
            urlunsplit((parts.scheme, place, parts.path, parts.query, "")),
            urlunsplit((parts.scheme, place, parts.path, "", "")),
            sha256,
            "" if user is None else f"Basic {base64.b64encode(login.encode()).decode()}",
        )

    def cached(self) -> Path:
        """Path of the file in the user's cache once it is downloaded."""
        name = Path(urlsplit(self.url).path).name[-_NAME:] or "checkpoint.pth"
        if self.sha256 is None:
            name = f"{hashlib.sha256(self.url.encode()).hexdigest()[:12]}-{name}"
        return Path(platformdirs.user_cache_dir("dmdnet-runtime")) / name


def is_url(checkpoint: str) -> bool:
    """Whether a checkpoint is named by a URL, of whatever scheme."""
    return "://" in checkpoint or checkpoint.lower().startswith(tuple(f"{s}:" for s in _SCHEMES))


def download(source: Source, check: Callable[[Path], object]) -> Path:
    """Return the cached file of `source`; download it, or the rest of it, if it is not there.

    `check` must raise `CheckpointError` for a downloaded file that is no checkpoint: the file is
    then removed. One process downloads a file while others wait for it.

    Raises `CheckpointUnavailableError`, which says where to put the file, if the download fails,
    and `CheckpointError` for a cached file with another SHA-256 than expected.
    """
    target = source.cached()
    try:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with _alone(source, target.with_name(f".{target.name}.lock")):
                if not target.exists():
                    _Download(source, target).run(check)
        broken = source.sha256 is not None and sha256_of(target) != source.sha256
    except (OSError, HTTPException, ValueError, NotImplementedError) as error:
        raise CheckpointUnavailableError(
            f"cannot download {source.shown} ({_reason(error)}); get the file elsewhere and put it "
            f"at {target}, or name it with --checkpoint or DMDNET_CHECKPOINT"
        ) from None
    if broken:
        raise CheckpointError(f"{target}: its SHA-256 is not {source.sha256}; remove the file")
    return target


@contextmanager
def _alone(source: Source, path: Path) -> Iterator[None]:
    """One process at a time; the lock of one that dies is free."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        warnings.warn(
            f"{source.shown}: another process is downloading it; waiting for that",
            DmdnetWarning,
            stacklevel=4,
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _UnusableError(OSError):
    """What the server sends cannot be used; the message says why."""


class _Download:
    """A download under way: NAME.part, and in NAME.part.tag the version of the file it is of."""

    def __init__(self, source: Source, target: Path) -> None:
        self._source, self._target = source, target
        self._part = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.part.tag")
        self._type = ""  # of its content, as the server says

    def run(self, check: Callable[[Path], object]) -> None:
        """Fetch the file, check it, and only then give it its name."""
        have = self._part.stat().st_size if self._part.exists() and self._tag.exists() else 0
        if not (have and self._fetch(have)):
            self._fetch(0)
        wrong = None
        if self._source.sha256 is not None and sha256_of(self._part) != self._source.sha256:
            wrong = f"its SHA-256 is not {self._source.sha256}"
        else:
            try:
                check(self._part)
            except CheckpointError as error:
                wrong = str(error).removeprefix(f"{self._part}: ")
        if wrong is not None:
            self._forget()
            raise CheckpointUnavailableError(
                f"{self._source.shown}: the file that was downloaded{self._type} is no checkpoint "
                f"of DMDNet: {wrong}; it was removed"
            )
        self._part.replace(self._target)
        self._tag.unlink(missing_ok=True)

    def _fetch(self, have: int) -> bool:
        """Get all from byte `have` on; False where the server has no such rest of this file."""
        request = urllib.request.Request(self._source.url)
        request.add_header("Accept-Encoding", "identity")
        if self._source.authorization:  # not for another host that this one points to
            request.add_unredirected_header("Authorization", self._source.authorization)
        tag = self._tag.read_text() if have else ""
        if have:
            request.add_header("Range", f"bytes={have}-")
            request.add_header("If-Range", tag)
        try:
            response = urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                    return error.headers.get("Content-Range") == f"bytes */{have}"
                raise
        with response:
            headers, total = response.headers, _length(response.headers)
            if response.status == HTTPStatus.PARTIAL_CONTENT and have:
                found = re.fullmatch(
                    rf"bytes {have}-\d+/(\d{{1,18}})", headers["Content-Range"] or ""
                )
                if found is None or _version(headers) not in (tag, None):
                    return False
                total = int(found[1])
            elif response.status == HTTPStatus.OK:
                have = 0
            else:
                raise _UnusableError(f"the server answers {response.status}")
            if headers.get("Content-Encoding", "identity") != "identity":
                raise _UnusableError("the server sends it compressed, which was not asked for")
            if have == 0:
                self._begin(headers)
            self._write(response, have, total)
        return True

    def _begin(self, headers: HTTPMessage) -> None:
        """A new part; it has no tag while it might still be another file's."""
        self._forget()
        self._type = f" ({kind[:60]})" if (kind := headers.get("Content-Type")) else ""
        self._part.touch()
        version = _version(headers)
        if version is not None:
            self._tag.write_text(version)

    def _write(self, response: Any, have: int, total: int | None) -> None:
        from tqdm import tqdm

        bar = tqdm(
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            desc=self._target.name,
            disable=None,
        )
        with self._part.open("ab") as file, bar:
            while have <= LARGEST and (total or 0) <= LARGEST and (chunk := response.read(_CHUNK)):
                file.write(chunk)
                bar.update(len(chunk))
                have += len(chunk)
        if max(have, total or 0) > LARGEST:
            self._forget()
            raise _UnusableError(f"it is larger than {LARGEST} bytes, which no checkpoint is")
        if total is not None and have != total:
            raise _UnusableError(f"the connection broke after {have} of {total} bytes")

    def _forget(self) -> None:
        self._tag.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http:// and https:// only; urllib alone would also go to ftp://."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if urlsplit(newurl).scheme not in _SCHEMES:
            raise _UnusableError("the server redirects to a URL that is not http:// or https://")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _length(headers: HTTPMessage) -> int | None:
    """Content-Length; None without one, or in chunks, which end by themselves."""
    given = set(headers.get_all("Content-Length", ()))
    if not given or headers.get("Transfer-Encoding", "").lower() == "chunked":
        return None
    if len(given) != 1 or not re.fullmatch(r"[0-9]{1,18}", length := given.pop()):
        raise _UnusableError("the server states an invalid Content-Length")
    return int(length)


def _version(headers: HTTPMessage) -> str | None:
    """What tells this version of the file from others byte by byte, as If-Range takes it."""
    tag = headers.get("ETag") or ""
    version = headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
    return version if version and re.fullmatch(r"[ -~]{1,200}", version) else None


def _reason(error: Exception) -> str:
    """Why it failed, without the URL, which Python puts into some of its texts."""
    if isinstance(error, urllib.error.HTTPError):
        known = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
        return known.get(error.code, str(error.code))
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    if isinstance(error, OSError) and not isinstance(error, (HTTPException, urllib.error.URLError)):
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return type(error).__name__
