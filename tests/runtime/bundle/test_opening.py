import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from runtime import BundleError, Restorer
from runtime.bundle.manifest import PUBLISHED_SHA256, WeightsRecord
from runtime.bundle.opening import open_bundle
from tests.conftest import ROOT

FILES = (
    "manifest.json",
    "memorizer.onnx",
    "memorizer.onnx.data",
    "reference.safetensors",
    "restorer.onnx",
    "restorer.onnx.data",
)


def test_notice() -> None:
    assert WeightsRecord("mine.pth", "1" * 64, synthetic=False).notice is None
    assert "non-commercial" in (WeightsRecord("x", PUBLISHED_SHA256, synthetic=False).notice or "")
    assert "restore nothing" in (WeightsRecord("x", "1" * 64, synthetic=True).notice or "")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def test_contents(bundle: Path) -> None:
    assert sorted(file.name for file in bundle.iterdir()) == list(FILES)
    manifest = open_bundle(bundle).manifest
    assert sorted(manifest.files) == list(FILES[1:])
    inputs = {t.name: (t.dtype, t.shape) for t in manifest.restorer.inputs}
    columns = manifest.memorizer.outputs[0].shape[1]
    assert inputs.pop("dictionary") == ("float32", ("references", columns))
    assert inputs.pop("membership") == ("float32", ("faces", "references"))
    assert inputs.pop("boxes") == ("int32", ("faces", 4, 4))
    assert inputs == {"image": ("uint8", ("faces", 512, 512, 3))}
    (restored,) = manifest.restorer.outputs
    assert (restored.name, restored.dtype) == ("restored", "uint8")
    assert restored.shape[1:] == (512, 512, 3)
    assert [case.case for case in manifest.parity] == ["memorizer", "generic", "specific", "mixed"]


@pytest.mark.parametrize("precision", ["bundle", "half_bundle"])
def test_manifest_follows_its_schema(precision: str, request: pytest.FixtureRequest) -> None:
    schema = json.loads((ROOT / "docs/manifest.schema.json").read_text())
    folder: Path = request.getfixturevalue(precision)
    jsonschema.validate(json.loads((folder / "manifest.json").read_text()), schema)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_found(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Restorer(copy)
    if name.endswith(".data"):
        open_bundle(copy, verify=False)  # skips the hashes only


@pytest.mark.parametrize("name", FILES)
def test_truncated_and_missing_files(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[:-1])
    if name != "manifest.json":  # its last byte is a line end
        with pytest.raises(BundleError, match=name):
            open_bundle(copy, verify=False)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: missing"):
        open_bundle(copy, verify=False)


def test_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, says in (("none", "no such bundle"), ("", "json: missing"), ("file", "folder")):
        with pytest.raises(BundleError, match=says):
            open_bundle(tmp_path / name)
    for text, says in (
        ("{", "not a manifest"),
        ("[]", "not a JSON object"),
        ('{"manifest_version": 9}', "version 9"),
    ):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(BundleError, match=says):
            open_bundle(tmp_path)
