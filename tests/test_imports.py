"""Imports point one way, and the runtime stays light."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, SAMPLES

MAY_IMPORT = {
    "runtime": {"runtime"},
    "export": {"export", "calibration", "runtime"},
    "calibration": {"calibration", "runtime"},
    "benchmarks": {"benchmarks", "calibration", "export", "runtime"},
}


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", [p for p in MAY_IMPORT if (ROOT / p).exists()])
def test_imports_point_one_way(package: str) -> None:
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[package]
    if package == "runtime":
        forbidden |= {"torch", "onnx", "onnxscript"}
    for file in (ROOT / package).rglob("*.py"):
        assert not imported(file) & forbidden, file


def test_import_runtime_is_light() -> None:
    code = "import sys, runtime; print(*({'torch', 'numpy', 'cv2'} & set(sys.modules)))"
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert done.stdout.strip() == ""
    assert min(seconds) < 0.3


def test_restoring_needs_no_torch(bundle: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None  # an import of it would fail
from runtime import Restorer, read_landmarks
from runtime.images.files import read_image
with Restorer({str(bundle)!r}, device="cpu") as restorer:
    face = read_image({str(SAMPLES / "astronaut.png")!r})
    points = read_landmarks({str(SAMPLES / "astronaut.png.txt")!r})
    alice = restorer.memorize([face], [points])
    alice.save({str(tmp_path / "alice.safetensors")!r})
    print(restorer.restore_aligned(face, points, alice).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(512, 512, 3)", done.stderr
