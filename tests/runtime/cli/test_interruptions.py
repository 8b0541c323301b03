"""Ctrl-C and SIGTERM end a command that waits for what never comes, and no file is left."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import SAMPLES

FACE = SAMPLES / "astronaut.png"
_LIMIT_S = 20  # it ends within two seconds, or before this was mended never

Begun = Callable[[], None]


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[str]]:
    text = [str(word) for word in words]
    pipe = subprocess.PIPE
    with subprocess.Popen(text, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def program(name: str) -> Path:
    return Path(sys.executable).with_name(name)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Where nobody writes."""
    os.mkfifo(tmp_path / "x.png")
    return tmp_path / "x.png"


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def wait_for_reader(fifo: Path) -> int:
    """Returns when the FIFO is opened to be read; what is returned keeps it open."""
    for _ in range(600):
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # ENXIO: nobody reads
            time.sleep(0.1)
    raise AssertionError(f"nobody reads {fifo}")


def ends(process: subprocess.Popen[str], number: signal.Signals, prog: str, out: Path) -> None:
    """It ends by the signal, with one line, and leaves nothing in `out`."""
    process.send_signal(number)
    printed, said = process.communicate(timeout=_LIMIT_S)
    assert said.splitlines()[-1] == f"{prog}: interrupted; no half-written file is left"
    assert "Traceback" not in said
    assert (printed, process.returncode) == ("", 130)
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_picture_that_never_comes(
    number: signal.Signals, fifo: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [fifo, "--bundle", bundle, "--out", out]
    with running(program("dmd-restore"), *words) as process:
        end = wait_for_reader(fifo)
        ends(process, number, "dmd-restore", out)
    os.close(end)


@pytest.mark.parametrize("file", ["x.png", "x.parquet"])
def test_a_server_that_never_answers(
    file: str, silent: socket.socket, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/{file}"
    with running(program("dmd-restore"), url, "--bundle", bundle, "--out", out) as process:
        silent.accept()
        ends(process, signal.SIGTERM, "dmd-restore", out)


def test_a_model_server_that_never_answers(silent: socket.socket, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient")
    url = f"grpc://127.0.0.1:{silent.getsockname()[1]}/dmdnet"
    out = tmp_path / "out"
    with running(program("dmd-restore"), FACE, "--bundle", url, "--out", out) as process:
        silent.accept()
        ends(process, signal.SIGINT, "dmd-restore", out)


def test_a_reference_that_never_comes(fifo: Path, bundle: Path, tmp_path: Path) -> None:
    words = [FACE, fifo, "--bundle", bundle, "--out", tmp_path / "a.safetensors"]
    with running(program("dmd-enroll"), *words) as process:
        end = wait_for_reader(fifo)
        ends(process, signal.SIGINT, "dmd-enroll", tmp_path / "none")
    os.close(end)
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("option", ["--identity", "--landmarks"])
def test_a_pipe_in_place_of_a_file(option: str, fifo: Path, bundle: Path, tmp_path: Path) -> None:
    """It is refused, and not waited for."""
    words = [FACE, option, fifo, "--bundle", bundle, "--out", tmp_path / "out"]
    with running(program("dmd-restore"), *words) as process:
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    (line,) = said.splitlines()
    assert str(fifo) in line


def test_a_download_that_never_ends(silent: socket.socket, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.pth"
    with running(
        program("dmd-export"), "--checkpoint", url, "--out", tmp_path / "bundle"
    ) as process:
        connection, _ = silent.accept()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nPK")
        ends(process, signal.SIGTERM, "dmd-export", tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


SLOW_DISK = """
import os, sys, time

def fsync(descriptor):
    print("writing", flush=True)
    time.sleep(1e6)

os.fsync = fsync
from runtime.cli.restore import main
sys.argv[0] = "dmd-restore"
main()
"""


def test_a_disk_that_never_is_done(bundle: Path, tmp_path: Path) -> None:
    """The temporary file of the writing thread is gone, too."""
    out = tmp_path / "out"
    words = [FACE, "--bundle", bundle, "--out", out]
    with running(sys.executable, "-c", SLOW_DISK, *words) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert [file.suffix for file in out.iterdir()] == [".tmp"]
        ends(process, signal.SIGINT, "dmd-restore", out)


BROKEN_ENGINE = """
import sys
from runtime.backends.onnxruntime import OnnxRuntimeBackend
from runtime.errors import DeviceError

work, left = OnnxRuntimeBackend.restore, [None] * int(sys.argv.pop(1))

def restore(self, *arguments):
    if not left:
        raise DeviceError("the device is gone")
    left.pop()
    return work(self, *arguments)

OnnxRuntimeBackend.restore = restore
from runtime.cli.restore import main
sys.argv[0] = "dmd-restore"
main()
"""


def test_an_engine_that_fails_while_a_picture_never_comes(
    fifo: Path, bundle: Path, tmp_path: Path
) -> None:
    """Here nobody interrupts: the error itself ends it, and not after the other picture."""
    words = [FACE, fifo, "--bundle", bundle, "--out", tmp_path / "out"]
    with running(sys.executable, "-c", BROKEN_ENGINE, 0, *words) as process:
        said = process.communicate(timeout=60)[1]
        assert said == "dmd-restore: the device is gone\n"
        assert process.returncode == 1


def test_nothing_is_lost_when_the_engine_fails(bundle: Path, tmp_path: Path) -> None:
    """What was done before and what had failed are told, then why it ends."""
    for name in "bcd":
        (tmp_path / f"{name}.png").write_bytes(FACE.read_bytes())
    (tmp_path / "a.png").write_bytes(b"no picture")
    words = [tmp_path, "--bundle", bundle, "--out", tmp_path / "out"]
    with running(sys.executable, "-c", BROKEN_ENGINE, 1, *words) as process:
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert printed.startswith(f"restored 1 of 2 in {tmp_path}/out (")
    bad, left, why = said.splitlines()
    assert bad.startswith(f"dmd-restore: {tmp_path}/a.png: ")
    assert left == "dmd-restore: 2 of 4 were not done; run again with --resume to do them"
    assert why == "dmd-restore: the device is gone"
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["b.png"]


def test_an_interruption_tells_what_was_done(fifo: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [tmp_path / "none.png", fifo, "--bundle", bundle, "--out", out]
    with running(program("dmd-restore"), *words) as process:
        end = wait_for_reader(fifo)
        time.sleep(1)  # until the main thread waits, too
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=_LIMIT_S)
    os.close(end)
    assert printed.startswith("restored 0 of 1")
    assert said.splitlines() == [
        f"dmd-restore: {tmp_path}/none.png: no such file",
        "dmd-restore: 1 of 2 were not done; run again with --resume to do them",
        "dmd-restore: interrupted; no half-written file is left",
    ]
