"""Impossible names, URLs that are refused, and the limit on how much of a picture is read."""

import gzip
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtime.errors import DmdnetError, InvalidImageError, UsageError
from runtime.images.files import read_photo
from runtime.storage import locations as storage
from tests.conftest import SAMPLES
from tests.fuzz.kinds import web

SUFFIXES = (".png",)
PICTURE = SAMPLES / "astronaut.png"


class Server(BaseHTTPRequestHandler):
    """Answers with one picture, or a megabyte that is a thousand as gzip, asked for or not."""

    asked: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.headers["Accept-Encoding"])
        if "refused" in self.path:
            self.send_error(403)
            return
        data = PICTURE.read_bytes()
        self.send_response(200)
        if "bomb" in self.path:
            data = gzip.compress(b"\0" * 50_000_000)
            self.send_header("Content-Encoding", "gzip")
        if "endless" not in self.path:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(data)
            while "endless" in self.path:
                self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "a picture without a name"),
        ("https://host/", "https://host/: this names no file"),
        ("a\0.png", "NUL"),
        ("file:///a%00.png", "NUL"),
        ("http://host/a%00.png", "NUL"),
        ("a\ud800.png", "surrogate"),
        ("http://host/a\ud800.png", "surrogate"),
        ("http://[x/a.png", r"http://\[x/a.png: cannot be read"),
        ("https://:::/a.png", "cannot be read"),
        ("http://host:99999/a.png", "cannot be read"),
        ("file://host/a.png", "file on another machine"),
        ("file://a.png", "file on another machine"),
        ("x" * 300, "File name too long"),
        ("none.png", "no such file"),
        ("/", "names no file"),
        ("/tmp", "Is a directory"),
    ],
)
def test_names_that_cannot_be_read(name: str, says: str) -> None:
    with pytest.raises(DmdnetError, match=says):
        storage.read(name)
    if len(name) > 100:  # it is an error when it is read, and ends no run before
        assert storage.matches(name, SUFFIXES) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "zip://a.png::http://127.0.0.1:9/a.zip",
        "zip://a.png::/a.zip",
        "simplecache::http://127.0.0.1:9/a.png",
        "filecache::/a.png",
        "memory://a.png",
        "reference://a.png",
        "tar://a.png::file:///a.tar",
        "github://a:b@c/d.png",
        "local://a.png",
        "dask://a.png",
        "generic://a.png",
        "sftp://host/a.png",
        "ssh://host/a.png",
        "data://text,x",
        "jupyter://host/a.png",
        "nope://a.png",
        "::http://a.png",
    ],
)
def test_only_listed_protocols_are_opened(name: str) -> None:
    if not name.startswith(("filecache", "::")):  # these are paths, of no file
        with pytest.raises(UsageError, match="are not opened, only file://, http://, https://, s3"):
            storage.read(name)
        with pytest.raises(UsageError, match="are not opened"):
            storage.matches(name, SUFFIXES)
        with pytest.raises(UsageError, match="--out must be a folder, or one of s3://"):
            storage.make_folder(name)
    with pytest.raises(DmdnetError):
        storage.read(name)


def test_a_chain_inside_a_url_is_a_part_of_its_path(url: str) -> None:
    """fsspec alone would open the zip file that the server has."""
    name = f"{url}/x::zip://y/a.png"
    assert storage.read(name) == PICTURE.read_bytes()
    assert storage.base_name(name) == "a.png"


def test_what_a_name_means(tmp_path: Path) -> None:
    names = {
        "http#1?.png": "http#1?.png",
        "https folder/a#b.png": "a#b.png",
        "./http://x/a#b.png": "a#b.png",
        "http://x/a%20b.png?c#d": "a b.png",
        "HTTP://x/a.png?b=/c.png": "a.png",
        "http://[x/a.png": "a.png",
        "s3://x/a#b?.png": "a#b?.png",
    }
    assert {name: storage.base_name(name) for name in names} == names
    assert storage.local("file:///a%20b/c#d?.png") == "/a b/c#d?.png"
    assert storage.local("FILE://localhost/a.png") == "/a.png"
    for name in ("a/http://b", "http.png", "http:", "http:/a", "/a://b", "file:///a"):
        assert not storage.is_url(name)
    for name in ("http#1.png", "caf\udce9.png", "x" * 246 + ".png"):
        (tmp_path / name).write_bytes(b"whole")
        assert storage.read(str(tmp_path / name)) == b"whole"
        assert storage.read(f"file://{tmp_path}/{name}") == b"whole"
    found = storage.matches(str(tmp_path), SUFFIXES)
    assert len(found) == 3
    for name in found:
        storage.write(name, b"other")
        assert storage.read(name) == b"other"
    assert len(storage.matches(str(tmp_path), SUFFIXES)) == 3


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"12345")
    assert storage.read(str(file), 5) == b"12345"
    says = "larger than the limit of 4 bytes"
    with pytest.raises(InvalidImageError, match=rf"a\.png: {says}; raise it"):
        storage.read(str(file), 4)
    with pytest.raises(InvalidImageError, match=says):
        read_photo(file, max_bytes=4)
    with pytest.raises(InvalidImageError, match="larger than the limit of 3000000 bytes"):
        storage.read("/dev/zero", 3_000_000)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for size in (2_000_000, 2_000_001):
        writer = threading.Thread(target=_fill, args=(fifo, size))
        writer.start()
        if size == 2_000_000:
            assert storage.read(str(fifo), 2_000_000) == b"x" * size
        else:
            with pytest.raises(InvalidImageError, match="larger than"):
                storage.read(str(fifo), 2_000_000)
        writer.join()


def _fill(fifo: Path, size: int) -> None:
    with suppress(BrokenPipeError):
        fifo.write_bytes(b"x" * size)


def test_a_web_server_is_read_up_to_the_limit(url: str) -> None:
    """Also one that compresses what nobody asked for, or never ends."""
    whole = PICTURE.read_bytes()
    assert storage.read(f"{url}/a.png", len(whole)) == whole
    assert set(Server.asked) == {"identity"}
    for name in ("a.png", "endless.png", "bomb.png"):
        with pytest.raises(InvalidImageError, match=rf"{name}: larger than the limit of 100000"):
            storage.read(f"{url}/{name}", 100_000)


def test_errors_hide_what_opens_a_url(url: str) -> None:
    address = url.removeprefix("http://")
    with pytest.raises(InvalidImageError) as raised:
        storage.read(f"http://me:secret@{address}/refused.png?sig=secret%2B")
    assert "secret" not in str(raised.value)
    assert f"http://***@{address}/refused.png?***: " in str(raised.value)
    assert "403" in str(raised.value)


def test_an_error_does_not_repeat_what_a_server_sent() -> None:
    with web.serving() as script:
        script.data = os.urandom(20_000)
        script.replies[:] = [web.Reply(length="0")]
        with pytest.raises(InvalidImageError, match="ClientResponseError") as raised:
            storage.read(script.url)
    assert len(str(raised.value)) < 1000
