import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import bundle as export_module
from export.bundle import export_bundle
from export.checks import parity
from runtime import CheckpointError, ExportError
from runtime.bundle.manifest import Parity
from runtime.bundle.opening import open_bundle
from runtime.bundle.weights import COMPACT_SHA256
from tests.conftest import Command, one_line


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_faces_and_references_are_free(bundle: Path) -> None:
    restorer, memorizer = session(bundle / "restorer.onnx"), session(bundle / "memorizer.onnx")
    boxes = np.array([[120, 180, 220, 280], [280, 180, 380, 280], [200, 250, 300, 350]] * 2)
    for faces, references in ((1, 1), (2, 1), (1, 7), (3, 2)):
        corners = np.stack([boxes[:4]] * max(faces, references)).astype(np.int32)
        image = np.zeros((references, 512, 512, 3), np.uint8)
        (rows,) = memorizer.run(None, {"image": image, "boxes": corners[:references]})
        assert rows.shape == (references, memorizer.get_outputs()[0].shape[1])
        inputs = {
            "image": np.zeros((faces, 512, 512, 3), np.uint8),
            "boxes": corners[:faces],
            "dictionary": rows,
            "membership": np.ones((faces, references), np.float32),
        }
        assert restorer.run(None, inputs)[0].shape == (faces, 512, 512, 3)


def test_tensorrt_finds_its_casts(bundle: Path) -> None:
    """The cast from 8 bits is the first node on the image, the cast to 8 bits the last."""
    graph = onnx.load(bundle / "restorer.onnx", load_external_data=False).graph
    assert [n.op_type for n in graph.node if "image" in n.input] == ["Cast"]
    assert [n.op_type for n in graph.node if "restored" in n.output] == ["Cast"]


def test_a_graph_that_misses_its_tolerance_leaves_nothing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exported file has another bias than the network."""

    def wrong_export(graph: torch.nn.Module, path: Path) -> None:
        shutil.copy(bundle / path.name, path)
        data = np.memmap(f"{bundle / path.name}.data", np.uint8, "r").copy()
        floats = data.view(np.float32)
        if path.name == "restorer.onnx":
            floats[np.abs(floats) > 1e-3] *= np.float32(1.05)
        Path(f"{path}.data").write_bytes(data.tobytes())

    monkeypatch.setattr(export_module, "export_onnx", wrong_export)
    said: list[str] = []
    with pytest.raises(ExportError, match=r"generic: .*specific: .*mixed: "):
        export_bundle(tmp_path / "out", "fp32", "compact", report=said.append)
    assert any("max levels" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_existing_outputs(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        export_bundle(tmp_path / "out", "fp32", "none.pth")
    with pytest.raises(ExportError, match="is not a bundle"):
        export_bundle(tmp_path / "out", "fp32", "none.pth", force=True)
    shutil.copytree(bundle, tmp_path / "old")
    with pytest.raises(CheckpointError):
        export_bundle(tmp_path / "old", "fp32", "none.pth", force=True)
    open_bundle(tmp_path / "old")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["old", "out"]


def test_force_replaces(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = Parity("generic", 1.0, 0.01, 70.0, True, 10.0)
    monkeypatch.setattr(parity, "measure", lambda *_: (good,))
    shutil.copytree(bundle, tmp_path / "out")
    export_bundle(tmp_path / "out", "fp32", "compact", force=True)
    assert open_bundle(tmp_path / "out").manifest.parity == (good,)
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ExportError, match="no space"):
        export_bundle(tmp_path / "out", "fp32", "compact")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(narrow_checkpoint: Path, tmp_path: Path, number: signal.Signals) -> None:
    program = Path(sys.executable).with_name("dmd-export")
    out = tmp_path / "out"
    with subprocess.Popen(
        [program, "--checkpoint", str(narrow_checkpoint), "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("[2/"):
                time.sleep(2.7)  # inside torch's exporter, which is still importing itself
                process.send_signal(number)
                break
        lines += process.stderr.readlines()
        assert process.wait(60) == 130
    assert lines[-1] == "dmd-export: interrupted; no half-written file is left\n"
    assert not any("Traceback" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_command_line(command: Command, tmp_path: Path) -> None:
    one_line(command("dmd-export", "--fp16", "--fp32"), "not allowed with")
    done = command("dmd-export", "--checkpoint", tmp_path / "x.pth", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("x.pth: no such checkpoint")
    assert not list(tmp_path.iterdir())


def test_the_compact_weights(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = command("dmd-export", "--checkpoint", "compact", "--out", out, "--engine", "none")
    assert done.returncode == 0
    said = done.stderr.splitlines()
    assert [line.split()[0] for line in said if " 1.000 " in line or " yes " in line] == [
        "memorizer",
        "generic",
        "specific",
        "mixed",
    ]  # a table of one line each
    assert "compact weights (Apache-2.0)" in said[-1]
    made = open_bundle(out).manifest
    assert (made.weights.kind, made.weights.sha256) == ("compact", COMPACT_SHA256)
    assert all(row.max_levels <= 1 for row in made.parity)
    assert 20e6 < sum(file.stat().st_size for file in out.iterdir()) < 40e6


def test_float16_comes_near(half_bundle: Path) -> None:
    """Of the compact weights: 78 dB and more were measured."""
    for row in open_bundle(half_bundle).manifest.parity:
        assert row.psnr_db is not None
        assert row.psnr_db > 70, row.case


def test_no_network(tmp_path: Path) -> None:
    """Without a connection: exit code 3 and a line that says where to put the file."""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "DMDNET_CHECKPOINT": ""}
    environment |= {"https_proxy": "http://127.0.0.1:9"}  # nobody listens there
    program = Path(sys.executable).with_name("dmd-export")
    done = subprocess.run(
        [program, "--out", str(tmp_path / "out")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 3
    assert str(tmp_path / "cache/dmdnet-runtime/DMDNet.pth") in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
