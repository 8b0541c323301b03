import json
import os
import shutil
from pathlib import Path

import jsonschema
import onnx
import pytest

from runtime import BundleError, Restorer
from runtime.bundle import files as bundle_files
from runtime.bundle.opening import open_bundle
from runtime.storage import local
from tests.conftest import ROOT, Face
from tests.fakes import bundles

FILES = (
    "manifest.json",
    "memorizer.onnx",
    "memorizer.onnx.data",
    "reference.safetensors",
    "restorer.onnx",
    "restorer.onnx.data",
)


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


# --- what a stranger's bundle may try; these bundles open, but do not run ---


def test_a_graph_reads_listed_files_only(tmp_path: Path) -> None:
    """External data of an ONNX file is opened by whoever loads it, so it is listed and hashed."""
    (tmp_path / "secret").write_bytes(b"1234")
    assert open_bundle(bundles.write_bundle(tmp_path / "good", bundles.files()))
    for number, location in enumerate(
        (
            "../secret",
            str(tmp_path / "secret"),
            "unlisted.data",
            "memorizer.onnx.data",  # listed, but not for this graph
            "./restorer.onnx.data",
            "*/_ORT_MEM_ADDR_/*",
            "",
        )
    ):
        files = bundles.files()
        files["restorer.onnx"] = bundles.graph("restorer.onnx.data", location)
        folder = bundles.write_bundle(tmp_path / str(number), files)
        (folder / "unlisted.data").write_bytes(b"1234")
        for verify in (True, False):
            with pytest.raises(BundleError, match=r"restorer.onnx: it reads .*does not list"):
                open_bundle(folder, verify)


def test_a_graph_that_is_no_onnx_file(tmp_path: Path) -> None:
    files = bundles.files() | {"memorizer.onnx": b"<html>"}
    with pytest.raises(BundleError, match=r"memorizer.onnx: it is not an ONNX file"):
        open_bundle(bundles.write_bundle(tmp_path / "html", files))
    files["memorizer.onnx"] = bytes((8 << 20) + 1)
    with pytest.raises(BundleError, match=r"memorizer.onnx: 8388609 bytes, but a graph has 8 MiB"):
        open_bundle(bundles.write_bundle(tmp_path / "large", files))


@pytest.mark.parametrize("name", ["manifest.json", "restorer.onnx.data"])
def test_links(tmp_path: Path, name: str) -> None:
    """Inside the bundle they are followed; what lies outside is not read, whatever it is."""
    folder = bundles.write_bundle(tmp_path / "b", bundles.files())
    (folder / name).rename(folder / "else")
    (folder / name).symlink_to("else")
    assert open_bundle(folder)
    (tmp_path / "link").symlink_to(folder)
    assert open_bundle(tmp_path / "link")  # the bundle itself may be behind one
    (folder / "else").rename(tmp_path / "else")
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "else")
    for verify in (True, False):
        with pytest.raises(BundleError, match=f"{name}: a link that leads out of the bundle"):
            open_bundle(folder, verify)
    (folder / name).unlink()
    (folder / name).symlink_to(name)  # to itself
    with pytest.raises(BundleError, match=name):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["manifest.json", "restorer.onnx"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = bundles.write_bundle(tmp_path / "b", bundles.files())
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BundleError, match=f"{name}: not a regular file"):
        open_bundle(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(BundleError, match=f"{name}: not a regular file"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["x\0y", "x" * 300, "\ud800"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError):
        open_bundle(tmp_path / name)


# --- what is loaded is what was hashed ---


def test_altered_since_the_opening(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "b", bundles.files())
    data = folder / "memorizer.onnx.data"
    bundle, trusting = open_bundle(folder), open_bundle(folder, verify=False)
    with bundle.unaltered("memorizer") as path:
        assert path == folder / "memorizer.onnx"
    times = data.stat()
    data.write_bytes(b"9999")
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))  # as an attacker would
    with bundle.unaltered("restorer"):
        pass
    with (
        pytest.raises(BundleError, match=r"memorizer.onnx.data: altered \(its SHA-256"),
        bundle.unaltered("memorizer"),
    ):
        pytest.fail("it was loaded")
    with trusting.unaltered("memorizer"):  # asked not to look
        pass
    data.unlink()
    with (
        pytest.raises(BundleError, match=r"memorizer.onnx.data: missing"),
        trusting.unaltered("memorizer"),
    ):
        pytest.fail("it was loaded")


def test_files_that_stay_as_they_were_are_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundles.write_bundle(tmp_path / "b", bundles.files())
    monkeypatch.setattr(bundle_files, "_SETTLED_NS", -1_000_000_000)  # as after two seconds
    bundle = open_bundle(folder)
    hashed: list[Path] = []

    def sha256_of(path: Path) -> str:
        hashed.append(path)
        return "?"

    monkeypatch.setattr(local, "sha256_of", sha256_of)
    with bundle.unaltered("memorizer"):
        assert hashed == []
    (folder / "memorizer.onnx.data").write_bytes(b"9999")
    with pytest.raises(BundleError, match="altered"), bundle.unaltered("memorizer"):
        pytest.fail("it was loaded")
    assert hashed == [folder / "memorizer.onnx.data"]


def test_altered_while_it_is_loaded(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "b", bundles.files())
    bundle = open_bundle(folder)
    data = folder / "restorer.onnx.data"
    data.rename(folder / "kept")
    data.write_bytes(b"5678")
    with (
        pytest.raises(BundleError, match=r"restorer.onnx.data: altered while it was being loaded"),
        bundle.unaltered("restorer"),
    ):
        (folder / "kept").replace(data)


def test_a_memorizer_that_is_altered_before_it_is_needed(copy: Path, faces: list[Face]) -> None:
    with Restorer(copy, device="cpu") as restorer:
        data = bytearray((copy / "memorizer.onnx.data").read_bytes())
        data[len(data) // 2] ^= 1
        (copy / "memorizer.onnx.data").write_bytes(data)
        with pytest.raises(BundleError, match=r"memorizer.onnx.data: altered"):
            restorer.memorize([faces[0][0]], [faces[0][1]])
        assert restorer.restore_aligned(*faces[0]).shape == (512, 512, 3)


def test_a_graph_with_other_inputs_than_the_manifest_says(bundle: Path, tmp_path: Path) -> None:
    contents = {file.name: file.read_bytes() for file in bundle.iterdir()}
    manifest = json.loads(contents.pop("manifest.json"))
    model = onnx.load_from_string(contents["restorer.onnx"])
    model.graph.input[1].name = "rectangles"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = "rectangles" if name == "boxes" else name
    contents["restorer.onnx"] = model.SerializeToString()
    manifest["files"] = bundles.content(contents)["files"]
    del manifest["manifest_sha256"]
    folder = bundles.write_bundle(tmp_path / "b", contents, bundles.sealed(manifest))
    with pytest.raises(BundleError, match=r"restorer.onnx: its inputs or outputs are not those in"):
        Restorer(folder, device="cpu")
