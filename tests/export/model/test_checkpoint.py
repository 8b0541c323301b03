import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from export.model import checkpoint
from export.model.checkpoint import build_network, download, load_weights
from export.model.synthetic import synthetic_state
from runtime import CheckpointError, CheckpointUnavailableError
from runtime.storage.local import sha256_of

State = dict[str, torch.Tensor]


@pytest.fixture
def state() -> State:
    return synthetic_state(width=8, entries=2)


def test_size_is_read_off_the_tensors(state: State) -> None:
    network = build_network(state, "x")
    assert (network.width, network.entries) == (8, 2)


def test_spectral_norm_is_folded(state: State) -> None:
    plain = build_network(state, "x").MSDilate.convi.weight
    torch.testing.assert_close(plain, state["MSDilate.convi.weight_orig"], atol=1e-5, rtol=0)
    state["MSDilate.convi.weight_u"] *= 4  # sigma = u . (W v) becomes 4
    quarter = build_network(state, "x").MSDilate.convi.weight
    torch.testing.assert_close(quarter * 4, plain)


def test_missing_surplus_and_misshaped_names_are_listed(state: State) -> None:
    del state["up1.conv1.0.bias"]
    state["extra"] = torch.zeros(1)
    state["up4.4.bias"] = torch.zeros(4)
    with pytest.raises(
        CheckpointError,
        match=r"missing up1\.conv1\.0\.bias; surplus extra; up4\.4\.bias is 4, not 3",
    ):
        build_network(state, "file")


def test_only_the_first_wrong_names_are_listed() -> None:
    with pytest.raises(CheckpointError, match="and 1010 more"):
        build_network({}, "file")


def test_numbers_must_be_finite(state: State) -> None:
    state["up4.4.bias"][0] = float("nan")
    with pytest.raises(CheckpointError, match=r"up4\.4\.bias holds numbers that are not finite"):
        build_network(state, "file")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('executed')",))


def test_nothing_is_executed(tmp_path: Path) -> None:
    savers: dict[str, Callable[..., None]] = {"pickle": pickle.dump, "torch": torch.save}
    for name, save in savers.items():
        with (tmp_path / name).open("wb") as file:
            save({"a": Evil()}, file)
        with pytest.raises(CheckpointError, match=f"{name}: not a PyTorch file of plain tensors"):
            load_weights(str(tmp_path / name))


@pytest.mark.parametrize("content", [{"a": 1}, [torch.zeros(1)], {"a": torch.zeros(1).int()}])
def test_other_contents(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="not a state dict"):
        load_weights(str(tmp_path / "x.pth"))


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_weights(str(tmp_path / "none.pth"))
    (tmp_path / "empty.pth").touch()
    with pytest.raises(CheckpointError, match="not a PyTorch file"):
        load_weights(str(tmp_path / "empty.pth"))


def test_environment_names_the_default(
    narrow_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMDNET_CHECKPOINT", str(narrow_checkpoint))
    weights = load_weights()
    assert weights.record.sha256 == sha256_of(narrow_checkpoint)
    assert (weights.record.source, weights.record.synthetic) == ("narrow.pth", False)
    assert not weights.network.training


DATA = bytes(range(256)) * 5000


class Server(BaseHTTPRequestHandler):
    """Serves DATA with ranges; /broken announces all of it and stops half-way, /slow ignores
    ranges, anything else but /whole is not there.
    """

    ranges: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.ranges.append(wanted)
        if self.path.strip("/") not in ("whole", "broken", "slow"):
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if self.path == "/slow":
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        stop = len(DATA) // 2 if self.path == "/broken" else len(DATA)
        self.wfile.write(DATA[start:stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Server.ranges = []
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "dmdnet-runtime").iterdir())


def test_download_once(url: str, tmp_path: Path) -> None:
    file = download(f"{url}/whole")
    assert file.read_bytes() == DATA
    assert download(f"{url}/whole") == file
    assert Server.ranges == [None]
    assert cached(tmp_path) == [file]


@pytest.mark.parametrize("path", ["whole", "slow"])
def test_download_is_resumed(url: str, tmp_path: Path, path: str) -> None:
    file = download(f"{url}/{path}")
    partial = file.rename(f"{file}.part")
    partial.write_bytes(DATA[:1000])
    assert download(f"{url}/{path}").read_bytes() == DATA
    assert Server.ranges == [None, "bytes=1000-"]
    assert cached(tmp_path) == [file]


def test_broken_connection_keeps_what_came(url: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnavailableError, match="put it at"):
        download(f"{url}/broken")
    (partial,) = cached(tmp_path)
    assert partial.name.endswith(".part")
    assert partial.read_bytes() == DATA[: len(DATA) // 2]


def test_unavailable(url: str) -> None:
    with pytest.raises(CheckpointUnavailableError, match=r"404|Not Found"):
        download(f"{url}/none.pth")
    with pytest.raises(CheckpointUnavailableError, match="DMDNET_CHECKPOINT"):
        download("http://127.0.0.1:9/none.pth")  # nobody listens on the discard port


def test_the_published_file_is_verified(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "PUBLISHED_URL", f"{url}/whole")
    with pytest.raises(CheckpointUnavailableError, match="SHA-256"):
        download(f"{url}/whole")
    assert cached(tmp_path) == []
    (tmp_path / "right").write_bytes(DATA)
    monkeypatch.setattr(checkpoint, "PUBLISHED_SHA256", sha256_of(tmp_path / "right"))
    file = download(f"{url}/whole")
    file.write_bytes(DATA[:-1])
    with pytest.raises(CheckpointError, match="SHA-256"):
        download(f"{url}/whole")
