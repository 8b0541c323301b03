"""Downloads from a server that does what a test wants it to."""

import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from export.model import checkpoint
from export.model.checkpoint import load_weights
from export.model.download import Source, download
from export.model.torch_file import read_tensors
from runtime import CheckpointError, CheckpointUnavailableError
from runtime.storage.local import sha256_of
from tests.conftest import ROOT

TAG = '"first"'


class Handler(BaseHTTPRequestHandler):
    """Answers as the `Web` that it belongs to says."""

    web: "Web"

    def do_GET(self) -> None:
        self.web.requests.append(dict(self.headers))
        self.web.answer(self)

    def log_message(self, *_: object) -> None:
        pass

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Headers by name with _ for -, and the body; no length is added."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


class Web:
    """The server: its file with ranges, unless a test sets another `answer`."""

    def __init__(self, data: bytes) -> None:
        self.data, self.tag = data, TAG
        self.requests: list[dict[str, str]] = []
        self.answer: Callable[[Handler], None] = self.whole
        self.url = ""

    def whole(self, handler: Handler, sent: int | None = None) -> None:
        """What is asked for, as it should be; `sent`: bytes until the connection breaks."""
        wanted = handler.headers.get("Range")
        if wanted is None or handler.headers.get("If-Range") != self.tag:
            length = str(len(self.data))
            handler.send(self.data[:sent], ETag=self.tag, Content_Length=length)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(self.data):
            handler.send(b"", 416, Content_Range=f"bytes */{len(self.data)}")
            return
        place = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        rest = self.data[start:]
        handler.send(
            rest[:sent], 206, ETag=self.tag, Content_Range=place, Content_Length=str(len(rest))
        )

    @property
    def ranges(self) -> list[str | None]:
        return [request.get("Range") for request in self.requests]


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrow_checkpoint: Path) -> Iterator[Web]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    web = Web(narrow_checkpoint.read_bytes())
    handler = type("Bound", (Handler,), {"web": web})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        web.url = f"http://127.0.0.1:{server.server_port}/a.pth"
        yield web
        server.shutdown()
        thread.join()


@pytest.fixture
def cached(tmp_path: Path) -> Callable[[], list[Path]]:
    """What is in the cache, but for the locks."""

    def files() -> list[Path]:
        found = (tmp_path / "dmdnet-runtime").iterdir()
        return sorted(path for path in found if path.suffix != ".lock")

    return files


Cached = Callable[[], list[Path]]


def fetch(url: str) -> Path:
    """As `load_weights` does it, but any tensors are good enough."""

    def check(path: Path) -> None:
        with path.open("rb") as file:
            read_tensors(file, str(path), dict)

    return download(Source.parse(url), check)


def test_download_once(web: Web, cached: Cached, narrow_checkpoint: Path) -> None:
    record = load_weights(web.url).record
    assert record.sha256 == sha256_of(narrow_checkpoint)
    assert record.source == web.url
    (file,) = cached()
    assert file.read_bytes() == web.data
    load_weights(web.url)
    assert web.ranges == [None]
    assert web.requests[0]["Accept-Encoding"] == "identity"


def break_off(web: Web, sent: int = 1000) -> None:
    """A first attempt, of which so many bytes came."""
    web.answer = lambda handler: web.whole(handler, sent)
    with pytest.raises(CheckpointUnavailableError, match=f"broke after {sent} of {len(web.data)}"):
        load_weights(web.url)
    web.answer = web.whole
    web.requests.clear()


def test_download_is_resumed(web: Web, cached: Cached) -> None:
    break_off(web)
    part, tag = cached()
    assert (part.read_bytes(), tag.read_text()) == (web.data[:1000], TAG)
    fetch(web.url)
    assert web.ranges == ["bytes=1000-"]
    assert web.requests[0]["If-Range"] == TAG
    (file,) = cached()
    assert file.read_bytes() == web.data


def test_it_can_break_more_than_once(web: Web, cached: Cached) -> None:
    break_off(web)
    web.answer = lambda handler: web.whole(handler, 500)
    with pytest.raises(CheckpointUnavailableError, match=f"broke after 1500 of {len(web.data)}"):
        fetch(web.url)
    web.answer = web.whole
    fetch(web.url)
    assert web.ranges == ["bytes=1000-", "bytes=1500-"]


def test_a_file_that_changed_meanwhile(web: Web, cached: Cached) -> None:
    break_off(web)
    web.tag = '"second"'
    fetch(web.url)
    (file,) = cached()
    assert file.read_bytes() == web.data


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Range": "bytes 0-9/10"},
        {"Content_Range": "bytes 999-2000/2001"},
        {"Content_Range": "bytes 1000-2000/*"},
        {"Content_Range": "nonsense"},
        {},
        {"Content_Range": "bytes 1000-{last}/{size}", "ETag": '"second"'},
    ],
)
def test_a_rest_that_is_another(web: Web, cached: Cached, headers: dict[str, str]) -> None:
    """The server ignores If-Range, or begins elsewhere; the file is fetched from its beginning."""
    break_off(web)
    size = len(web.data)
    sent = {name: value.format(last=size - 1, size=size) for name, value in headers.items()}

    def other(handler: Handler) -> None:
        if handler.headers.get("Range"):
            handler.send(bytes(size - 1000), 206, Content_Length=str(size - 1000), **sent)
        else:
            web.whole(handler)

    web.answer = other
    fetch(web.url)
    assert web.ranges == ["bytes=1000-", None]
    (file,) = cached()
    assert file.read_bytes() == web.data


def test_nothing_is_left_to_fetch(web: Web, cached: Cached) -> None:
    """416 says so only where the server's size is the one that is there."""
    break_off(web)
    cached()[0].write_bytes(web.data)  # the last attempt was killed before it gave the name
    fetch(web.url)
    assert web.ranges == [f"bytes={len(web.data)}-"]
    (file,) = cached()
    file.unlink()
    break_off(web)
    cached()[0].write_bytes(web.data + b"more")
    fetch(web.url)
    assert web.ranges == [f"bytes={len(web.data) + 4}-", None]
    (file,) = cached()
    assert file.read_bytes() == web.data


def test_a_part_of_an_unknown_version_is_not_continued(web: Web, cached: Cached) -> None:
    break_off(web)
    cached()[1].unlink()  # as an older version left it
    fetch(web.url)
    assert web.ranges == [None]


PAGE = b"<html><form>Please log in"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda h: h.send(PAGE, Content_Type="text/html"), r"downloaded .text/html. is no check"),
        (lambda h: h.send(PAGE, Content_Length=str(len(PAGE))), "not a PyTorch file"),
        (lambda h: h.send(h.web.data[:-9]), "not a PyTorch file"),  # cut, and no length
        (lambda h: h.send(h.web.data[:100_000]), "not a PyTorch file"),
        (lambda h: h.send(b""), "not a PyTorch file"),
        (lambda h: h.send(h.web.data + b"more"), "not a PyTorch file"),
        (lambda h: h.send(h.web.data, Content_Length="abc"), "invalid Content-Length"),
        (lambda h: h.send(h.web.data, Content_Length="-5"), "invalid Content-Length"),
        (lambda h: h.send(h.web.data, Content_Length="1" * 30), "invalid Content-Length"),
        (lambda h: h.send(h.web.data, Content_Length="5", content_length="6"), "invalid Content-L"),
        (lambda h: h.send(h.web.data, Content_Length="5"), "not a PyTorch file"),
        (lambda h: h.send(b"", Content_Length=str(6 << 30)), "larger than 5368709120 bytes"),
        (lambda h: h.send(zlib.compress(h.web.data), Content_Encoding="gzip"), "compressed, which"),
        (lambda h: h.send(b"5\r\nabc", Transfer_Encoding="chunked"), "IncompleteRead"),
        (lambda h: h.send(b"zz\r\nabc", Transfer_Encoding="chunked"), "IncompleteRead"),
        (lambda h: h.send(h.web.data, 206, Content_Range="bytes 0-9/10"), "answers 206"),
        (lambda h: h.send(b"", 204), "answers 204"),
        (lambda h: h.send(b"", 404), "404 Not Found"),
        (lambda h: h.send(b"", 416, Content_Range="bytes */0"), "416 Requested"),
        (lambda h: h.send(b"", 503), "503 Service Unavailable"),
        (lambda h: h.send(b"", 302, Location="file:///etc/passwd"), "302 Found"),
        (lambda h: h.send(b"", 302, Location="ftp://127.0.0.1/x"), "redirects to a URL that"),
        (lambda h: h.send(b"", 302, Location="data:,x"), "302 Found"),
        (lambda h: h.send(b"", 302, Location="http://[x"), "ValueError"),
        (lambda h: h.send(b"", 302, Location=h.web.url), "302 Found"),  # in a circle
        (lambda h: h.wfile.write(b"nonsense\r\n\r\n"), "BadStatusLine"),
        (lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200), "HTTPException"),
        (lambda h: None, "RemoteDisconnected|without response"),
    ],
)
def test_what_is_no_checkpoint_gets_no_name(
    web: Web, cached: Cached, answer: Callable[[Handler], None], says: str
) -> None:
    web.answer = answer
    with pytest.raises(CheckpointUnavailableError, match=says) as caught:
        fetch(web.url)
    assert "\n" not in str(caught.value)
    assert all(".part" in file.name for file in cached())
    web.answer = web.whole
    fetch(web.url)  # and the next attempt begins anew
    (file,) = cached()
    assert file.read_bytes() == web.data


def test_endless_replies_end(web: Web, cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.model.download.LARGEST", 3 << 20)
    block = bytes(1 << 20)

    def endless(handler: Handler) -> None:
        handler.send(block)
        try:
            while True:
                handler.wfile.write(block)
        except OSError:
            ended.set()

    ended = threading.Event()
    web.answer = endless
    with pytest.raises(CheckpointUnavailableError, match="it is larger than 3145728 bytes"):
        fetch(web.url)
    assert ended.wait(30)
    assert cached() == []


def test_another_networks_weights(web: Web, cached: Cached, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    web.data = (tmp_path / "other.pth").read_bytes()
    with pytest.raises(CheckpointUnavailableError, match="DMDNet: not DMDNet's weights: missing"):
        load_weights(web.url)
    assert cached() == []


def test_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CheckpointUnavailableError, match=r"refused.*put it at .*DMDNET_CHECKPOINT"):
        load_weights("http://127.0.0.1:9/none.pth")  # nobody listens on the discard port
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CheckpointUnavailableError, match="Not a directory"):
        load_weights("http://127.0.0.1:9/none.pth")


def test_a_broken_file_in_the_cache(web: Web, cached: Cached) -> None:
    load_weights(web.url)
    (file,) = cached()
    file.write_bytes(PAGE)
    with pytest.raises(CheckpointError, match=f"{file.name}: not a PyTorch .*; remove this file"):
        load_weights(web.url)
    file.unlink()
    load_weights(web.url)


def test_the_published_file_is_verified(
    web: Web, cached: Cached, narrow_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "PUBLISHED_URL", web.url)
    monkeypatch.delenv("DMDNET_CHECKPOINT", raising=False)
    with pytest.raises(CheckpointUnavailableError, match="its SHA-256 is not 70dae"):
        load_weights()
    assert cached() == []
    monkeypatch.setattr(checkpoint, "PUBLISHED_SHA256", sha256_of(narrow_checkpoint))
    load_weights()
    (file,) = cached()
    assert file.name == "a.pth"
    file.write_bytes(web.data[:-1])
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_weights()


@pytest.mark.parametrize(
    "url",
    [
        *("http://[x", "http://", "https:///x", "http:x", "http://h:99999/x", "http://h:x/y"),
        *("ftp://h/x", "file:///etc/passwd", "s3://b/x", "://", "http://h/a b", "http://h/\n"),
        *("http://h/\x00", "http://h/\xe9", "http://me:secret@[h/x", "http://me:secret@h:p/x"),
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(CheckpointError, match="the checkpoint's URL") as caught:
        load_weights(url)
    assert "secret" not in str(caught.value)


def test_passwords_and_tokens(web: Web, cached: Cached) -> None:
    """They go to the server that they are meant for, and into no message and no record."""
    secret = web.url.replace("://", "://me:se%40cret@") + "?token=secret"
    other = web.url.replace("127.0.0.1", "localhost")
    record = load_weights(secret).record
    assert record.source == web.url
    assert web.requests[0]["Authorization"] == "Basic bWU6c2VAY3JldA=="  # me:se@cret
    cached()[0].unlink()

    def moved(handler: Handler) -> None:
        if handler.headers["Host"].startswith("127"):
            handler.send(b"", 302, Location=other)
        else:
            web.whole(handler)

    web.answer = moved
    load_weights(secret)
    assert "Authorization" not in web.requests[-1]
    cached()[0].unlink()
    for answer in (
        lambda handler: handler.send(PAGE),
        lambda handler: handler.send(b"", 403),
        lambda handler: handler.send(b"", 302, Location="http://me:secret@h:p/"),
    ):
        web.answer = answer
        with pytest.raises(CheckpointUnavailableError) as caught:
            load_weights(secret)
        assert "secret" not in str(caught.value)
        assert "se%40cret" not in str(caught.value)


def test_two_at_once(web: Web, cached: Cached) -> None:
    """One process downloads; others wait, and say so."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly(handler: Handler) -> None:
        begun.set()
        go_on.wait(30)
        web.whole(handler)

    web.answer = slowly
    code = "import sys\nfrom export.model.checkpoint import load_weights\nload_weights(sys.argv[1])"
    words = [sys.executable, "-W", "always", "-c", code, web.url]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(load_weights, web.url)
        assert begun.wait(30)
        with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as second:
            assert second.stderr is not None
            heard = second.stderr.readline()
            go_on.set()
            rest = second.stderr.read()
        first.result()
    assert second.returncode == 0, heard + rest
    assert "another process is downloading it; waiting" in heard
    assert len(web.requests) == 1
    assert len(cached()) == 1


def test_waiting_is_for_a_living_process_only(web: Web, cached: Cached) -> None:
    """The lock of a process that is killed is free at once."""
    begun, go_on = threading.Event(), threading.Event()

    def stuck(handler: Handler) -> None:
        begun.set()
        go_on.wait(30)

    web.answer = stuck
    code = "import sys\nfrom export.model.checkpoint import load_weights\nload_weights(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", code, web.url], cwd=ROOT) as first:
        assert begun.wait(60)
        first.kill()
    web.answer = web.whole
    load_weights(web.url)
    go_on.set()
    assert len(cached()) == 1
