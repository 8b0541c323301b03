"""A web server that answers as a script says: headers, statuses, cut bodies, ranges, redirects."""

import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.fuzz.mutations import Draw

_LENGTHS = ("right", "half", "double", "abc", "-5", "", "1, 2", "9" * 30, "0", "twice", "none")
_RANGES = ("right", "bytes 0-9/10", "bytes */10", "x", "bytes 5-1/3", "bytes -1--1/-1", "none", "*")
# fmt: off
_STATUSES = (
    "200 OK", "206 Partial Content", "416 Range Not Satisfiable", "404 Not Found",
    "204 No Content", "500 \x1b[31mred", "302 Found", "301 Moved", "abc", "999 Odd",
    "200", "", "100 Continue",
)
# fmt: on
_PLACES = ("file:///etc/hostname", "ftp://127.0.0.1:1/x", "http://[x", "/again", "", "data:,x")
# fmt: off
_EXTRA = (
    "Content-Type: text/html", "Content-Encoding: gzip", "Transfer-Encoding: chunked",
    "ETag: x", 'ETag: "\x1b[2J"', "X: " + "y" * 70_000, "no colon", ": empty",
    "Connection: keep-alive", "Transfer-Encoding: gzip", "Content-Encoding: br",
    "Last-Modified: never",
)
# fmt: on


@dataclass(frozen=True)
class Reply:
    """One answer. `body` is what is sent: "whole", "half", "tail", "html", "empty" or "more"."""

    status: str = "200 OK"
    length: str = "right"
    range: str = "right"
    extra: tuple[str, ...] = ()
    place: str = ""
    body: str = "whole"


@dataclass
class Script:
    """What the server says next; when that is used up, it is an honest server of `data`."""

    url: str
    data: bytes = b""
    replies: list[Reply] = field(default_factory=list)


@st.composite
def replies(draw: Draw) -> Reply:
    """An answer in which at least one thing may be wrong."""

    def mostly(usual: str, others: Sequence[str]) -> str:
        return str(draw(st.just(usual) | st.sampled_from(others)))

    return Reply(
        mostly("200 OK", _STATUSES),
        mostly("right", _LENGTHS),
        mostly("right", _RANGES),
        tuple(draw(st.lists(st.sampled_from(_EXTRA), max_size=2))),
        draw(st.sampled_from(_PLACES)),
        mostly("whole", ("half", "tail", "html", "empty", "more", "other")),
    )


@contextmanager
def serving() -> Iterator[Script]:
    """A server on this machine that follows the script."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        script = Script(f"http://127.0.0.1:{listening.getsockname()[1]}/model.pth")

        def serve() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                threading.Thread(target=_answer, args=(connection, script), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield script
        listening.shutdown(socket.SHUT_RDWR)


def _answer(connection: socket.socket, script: Script) -> None:
    """Each in a thread: a client that gave up may keep its connection."""
    with connection, suppress(OSError):
        connection.settimeout(10)
        asked = b""
        while b"\r\n\r\n" not in asked and (more := connection.recv(65536)):
            asked += more
        if not asked:
            return
        found = re.search(rb"(?i)\r\nrange: *bytes=(\d+)-", asked)
        start = int(found[1]) if found else 0
        if script.replies:
            connection.sendall(_hostile(script.replies.pop(0), script.data, start))
        else:
            connection.sendall(_honest(script.data, start))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # else what was sent may be lost
            pass


def _honest(data: bytes, start: int) -> bytes:
    size = len(data)
    if start >= size > 0 and start:
        head = f"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\n"
        return f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
    status = f"206 Partial Content\r\nContent-Range: bytes {start}-{size - 1}/{size}"
    head = f"HTTP/1.1 {status if start else '200 OK'}\r\nContent-Length: {size - start}\r\n"
    return f'{head}ETag: "honest"\r\nConnection: close\r\n\r\n'.encode() + data[start:]


def _hostile(reply: Reply, data: bytes, start: int) -> bytes:
    html = b"<!doctype html><title>Log in</title>" * 9
    body = {
        "whole": data[start:] if reply.status.startswith("206") else data,
        "half": data[: len(data) // 2],
        "tail": data[len(data) // 2 :],
        "html": html,
        "empty": b"",
        "more": data + b"more",
        "other": bytes(reversed(data)),
    }[reply.body]
    lines = [f"HTTP/1.1 {reply.status}", "Connection: close", *reply.extra]
    numbers = {"right": len(body), "half": len(body) // 2, "double": 2 * len(body)}
    if reply.length == "twice":
        lines += [f"Content-Length: {len(body)}", f"Content-Length: {len(body) // 2}"]
    elif reply.length != "none":
        lines.append(f"Content-Length: {numbers.get(reply.length, reply.length)}")
    if reply.range != "none":
        right = f"bytes {start}-{len(data) - 1}/{len(data)}"
        lines.append(f"Content-Range: {right if reply.range == 'right' else reply.range}")
    if reply.place:
        lines.append(f"Location: {reply.place}")
    return "\r\n".join([*lines, "", ""]).encode() + body
