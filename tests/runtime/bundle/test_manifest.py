import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runtime.bundle.manifest import Manifest
from runtime.bundle.opening import open_bundle
from runtime.bundle.schema import schema_text
from runtime.bundle.weights import COMPACT_SHA256, PUBLISHED_SHA256, WeightsRecord, kind_of
from runtime.errors import BundleError
from tests.conftest import ROOT
from tests.fakes import bundles

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("kind", "notice", "remark"),
    [
        ("published", "CC BY-NC-SA 4.0: for non-commercial", None),
        ("compact", "Apache-2.0.*restores modestly", "compact weights, not the published"),
        ("synthetic", "restore nothing", "nothing is restored"),
        ("other", None, None),
    ],
)
def test_what_is_said_of_weights(kind: str, notice: str | None, remark: str | None) -> None:
    weights = WeightsRecord("file.pth", "1" * 64, kind)
    for said, wanted in ((weights.notice, notice), (weights.remark, remark)):
        assert said is None if wanted is None else re.search(wanted, said or "")


def test_kinds_are_told_by_the_hash() -> None:
    hashes = (PUBLISHED_SHA256, COMPACT_SHA256, "0" * 64)
    assert [kind_of(sha256) for sha256 in hashes] == ["published", "compact", "other"]


@pytest.mark.parametrize(
    ("synthetic", "sha256", "kind"),
    [
        (True, "0" * 64, "synthetic"),
        (False, "0" * 64, "other"),
        (False, PUBLISHED_SHA256, "published"),
    ],
)
def test_manifests_of_version_1_open(
    content: dict[str, Any], synthetic: bool, sha256: str, kind: str
) -> None:
    old = {"source": "a.pth", "sha256": sha256, "synthetic": synthetic}
    content |= {"manifest_version": 1, "weights": old}
    manifest = Manifest.from_json(bundles.sealed(content))
    assert manifest.weights == WeightsRecord("a.pth", sha256, kind)
    assert Manifest.from_json(manifest.to_json()) == manifest  # in the present version


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"source": "a", "sha256": "0" * 64}, "neither true nor false"),
        ({"source": "a", "sha256": "0" * 64, "synthetic": 1}, "neither true nor false"),
        ({"source": "a", "sha256": "0" * 64, "synthetic": True, "kind": "other"}, "unknown field"),
        ({"source": "a", "synthetic": True}, "sha256"),
        ({"source": "a", "sha256": [], "synthetic": False}, "sha256"),
        (["a"], "neither true nor false"),
    ],
)
def test_a_wrong_record_of_version_1(content: dict[str, Any], weights: object, says: str) -> None:
    content |= {"manifest_version": 1, "weights": weights}
    with pytest.raises(ValueError, match=says):
        Manifest.from_json(bundles.sealed(content))


@pytest.fixture
def content() -> dict[str, Any]:
    return bundles.content(bundles.files())


def test_it_says_what_was_written(content: dict[str, Any]) -> None:
    manifest = Manifest.from_json(bundles.sealed(content))
    assert manifest.restorer.inputs[2].shape == ("references", bundles.COLUMNS)
    assert manifest.parity[0].psnr_db is None
    assert list(manifest.files_of("restorer")) == ["restorer.onnx", "restorer.onnx.data"]
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_the_schema_is_that_of_the_types(content: dict[str, Any]) -> None:
    committed = (ROOT / "docs/manifest.schema.json").read_text()
    assert committed == schema_text(), "python -m runtime.bundle.schema > docs/manifest.schema.json"
    jsonschema.validate(json.loads(bundles.sealed(content)), json.loads(committed))
    content["restorer"]["file"] = "/etc/passwd"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(bundles.sealed(content)), json.loads(committed))


def put(*place: str | int, value: object) -> Change:
    """A change of one value in the manifest."""

    def change(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value

    return change


WRONG: list[tuple[Change, str]] = [
    # what is read is listed, by a plain name
    (put("restorer", "file", value="/etc/passwd"), "regex.*restorer.file"),
    (put("restorer", "file", value="../x.onnx"), "regex.*restorer.file"),
    (put("restorer", "file", value="x\0.onnx"), "regex.*restorer.file"),
    (put("memorizer", "file", value="restorer.onnx\n"), "regex.*memorizer.file"),
    (put("memorizer", "file", value="else.onnx"), "'else.onnx' is not listed"),
    (put("memorizer", "file", value="restorer.onnx.data"), "not the name of an ONNX file"),
    (put("memorizer", "file", value="restorer.onnx"), "same file"),
    (put("files", "../x", value={"size": 0, "sha256": "0" * 64}), "regex.*files"),
    (put("files", "x\ud800", value={"size": 0, "sha256": "0" * 64}), "regex.*files"),
    (put("files", "restorer.onnx", "size", value=-1), "files.*size"),
    (put("files", "restorer.onnx", "size", value=10**400), "files.*size"),
    (put("files", "restorer.onnx", "size", value=1.5), "Expected `int`"),
    (put("files", "restorer.onnx", "sha256", value="0" * 63), "sha256"),
    (put("files", value=["restorer.onnx"]), "Expected `object`"),
    # wrong kinds
    (put("manifest_version", value="1"), "Expected `int`"),
    (put("manifest_version", value=True), "Expected `int`"),
    (put("manifest_version", value=1.5), "Expected `int`"),
    (put("manifest_version", value=[1]), "Expected `int`"),
    (put("manifest_version", value=9), "version 9, this program reads versions 1 to 2"),
    (put("created", value="yesterday"), "created"),
    (put("precision", value="fp64"), "precision"),
    (put("precision", value="int8"), "`quantization` goes with int8"),
    (put("weights", value=None), "Expected `object`, got `null`"),
    (put("parity", value={}), "Expected `array`"),
    (put("parity", 0, "finite", value=1), "Expected `bool`"),
    (put("tools", "onnx", value=1), "Expected `str`"),
    (put("weights", "more", value=1), "unknown field 'more' in weights"),
    (put("parity", 0, "more", value=1), r"unknown field 'more' in parity\[0\]"),
    (put("\ud800", value=1), "surrogates"),
    # tensors
    (put("memorizer", "outputs", 0, "dtype", value="float128"), "dtype"),
    (put("memorizer", "outputs", 0, "dtype", value="S9"), "dtype"),
    (put("memorizer", "outputs", 0, "shape", 1, value=-1), r"shape\[1\]"),
    (put("memorizer", "outputs", 0, "shape", 1, value=10**30), r"shape\[1\]"),
    (put("memorizer", "outputs", 0, "shape", 1, value=7), "memorizer's inputs and outputs"),
    (put("memorizer", "outputs", value=[]), "memorizer's inputs and outputs"),
    (put("restorer", "inputs", 0, "name", value='x" } parameters { key: "y'), "name"),
    (put("restorer", "inputs", 0, "name", value="picture"), "restorer's inputs and outputs"),
    (put("restorer", "inputs", 0, "shape", 0, value="no name"), r"shape\[0\]"),
    # layouts
    (put("dictionary_layout", value=""), "not a dictionary layout"),
    (put("dictionary_layout", value="256.le.key:-1x4x4"), "not a dictionary layout"),
    (put("dictionary_layout", value="256.le.key:0x4x4"), "a row of 0 numbers"),
    (put("dictionary_layout", value="256.le.key:10**9x1x1"), "not a dictionary layout"),
    (put("dictionary_layout", value="256.le.key:99999x99999x99999"), "not a dictionary layout"),
    (put("dictionary_layout", value="256.le.key:1x1x1"), "inputs and outputs"),
    (put("dictionary_layout", value=["256"]), "Expected `str`"),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_wrong_manifests(
    content: dict[str, Any], change: Change, says: str, tmp_path: Path
) -> None:
    changed = copy.deepcopy(content)
    change(changed)
    with pytest.raises(ValueError, match=says):
        Manifest.from_json(bundles.sealed(changed))
    folder = bundles.write_bundle(tmp_path / "b", bundles.files(), bundles.sealed(changed))
    with pytest.raises(BundleError, match=rf"manifest.json: not a manifest: (?s:.*){says}"):
        open_bundle(folder)


def test_each_field_of_each_wrong_kind(content: dict[str, Any]) -> None:
    """No value in any place raises anything else than ValueError."""

    def places(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
        inner = list(value.items() if isinstance(value, dict) else enumerate(value))
        found: list[tuple[str | int, ...]] = []
        for key, each in inner:
            found.append((*place, key))
            if isinstance(each, dict | list):
                found += places(each, (*place, key))
        return found

    refused = 0
    values: list[object] = [None, True, -1, 10**400, 1e308, "", "\0\ud800", [], {}, [[]], {"": {}}]
    for place in places(content):
        for value in values:
            changed = copy.deepcopy(content)
            put(*place, value=value)(changed)
            try:
                Manifest.from_json(bundles.sealed(changed))
            except ValueError:
                refused += 1
    assert refused > 800


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe{}", "utf-8"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 50 + b"]" * 50 + b"}", "nested too deeply"),
        (b'{"a": NaN}', "not finite: NaN"),
        (b'{"a": -Infinity}', "not finite: -Infinity"),
        (b'{"a": 1e999}', "not finite: 1e999"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "4300 digits"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b"{}", "it was altered"),
        (b" " * (4 << 20) + b"{}", "more than 4 MiB"),
    ],
)
def test_text_that_is_no_manifest(tmp_path: Path, text: bytes, says: str) -> None:
    folder = bundles.write_bundle(tmp_path / "b", bundles.files())
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(BundleError, match=f"manifest.json: not a manifest: .*{says}"):
        open_bundle(folder)


def test_an_older_manifest_has_copies_of_records(content: dict[str, Any]) -> None:
    expected = Manifest.from_json(bundles.sealed(content))
    assert Manifest.from_json(bundles.sealed(content | {"engines": [{"any": "thing"}]})) == expected
