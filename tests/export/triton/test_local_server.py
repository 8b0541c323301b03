"""The server to try a repository with, as a user starts it."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export.triton import local_server as triton_server
from export.triton.local_server import _free_port, missing, stand_in
from export.triton.repository import Serving, write_repository
from runtime import Restorer
from runtime.bundle.opening import open_bundle
from runtime.errors import RemoteError
from tests.conftest import ROOT, Face, one_line

needs_triton = pytest.mark.skipif(missing() is not None, reason=str(missing()))
COMMAND = [sys.executable, "-m", "export.triton.local_server"]


@needs_triton
def test_serves_until_it_is_ended(bundle: Path, tmp_path: Path, faces: list[Face]) -> None:
    write_repository(open_bundle(bundle), tmp_path / "made", Serving(device="cpu"))
    before = sorted(tmp_path.rglob("*"))
    port = _free_port()
    words = [*COMMAND, str(tmp_path / "made"), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout is not None
            url = f"grpc://127.0.0.1:{port}/dmdnet"
            assert server.stdout.readline() == f"{url} is ready; Ctrl-C ends it\n"
            with Restorer(url) as there, Restorer(bundle, device="cpu") as here:
                out = there.restore_aligned(*faces[0])
                assert (out == here.restore_aligned(*faces[0])).all()
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    assert sorted(tmp_path.rglob("*")) == before


@needs_triton
@pytest.mark.parametrize("which", ["grpc", "http", "asked for"])
def test_a_port_that_is_taken_meanwhile(
    which: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is taken, unless it is the one that was asked for."""
    write_repository(open_bundle(bundle), tmp_path / "made", Serving(device="cpu"))
    stand_in(tmp_path / "made")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        if which == "asked for":
            with pytest.raises(RemoteError, match=f"(?s)exit code 1:.*{taken}' already in use"):
                triton_server.Server(tmp_path / "made", port=taken)
            return
        first = [taken] if which == "grpc" else [_free_port(), taken]
        monkeypatch.setattr(
            triton_server, "_free_port", lambda: first.pop(0) if first else _free_port()
        )
        with triton_server.Server(tmp_path / "made") as server:
            assert server.port != taken
            Restorer(server.url).close()  # it answers
    assert first == []


@needs_triton
def test_nothing_stays_when_its_start_is_interrupted(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repository(open_bundle(bundle), tmp_path / "made", Serving(device="cpu"))
    started: list[subprocess.Popen[bytes]] = []

    class Started(subprocess.Popen[bytes]):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            started.append(self)

    def interrupted(_: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Started)
    monkeypatch.setattr(triton_server, "_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        triton_server.Server(tmp_path / "made")
    (server,) = started
    assert server.returncode == -signal.SIGKILL


def test_not_a_repository(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    one_line(done, f"{tmp_path}: not a repository that dmd-triton wrote")
