"""Which bundle the demo uses again, and which folders are in its way."""

import shutil
from pathlib import Path

import pytest

from export.demo.bundle import bundle_of
from export.model.checkpoint import load_weights
from runtime.bundle.weights import WeightsRecord
from runtime.errors import BundleError


@pytest.fixture(scope="module")
def record() -> WeightsRecord:
    return load_weights("compact").record


def test_a_bundle_of_these_weights_is_used_again(bundle: Path, record: WeightsRecord) -> None:
    said: list[str] = []
    opened = bundle_of("compact", record, bundle, said.append)
    assert opened.path == bundle
    assert opened.manifest.weights == record
    assert said == [f"using the bundle in {bundle}"]


def test_bundles_that_are_in_the_way(
    bundle: Path, half_bundle: Path, record: WeightsRecord, narrow_checkpoint: Path, tmp_path: Path
) -> None:
    narrow = load_weights(str(narrow_checkpoint)).record
    with pytest.raises(BundleError, match=r"compact.*needs narrow\.pth.*choose another --out"):
        bundle_of(str(narrow_checkpoint), narrow, bundle, print)
    with pytest.raises(BundleError, match=r"compact, fp16; the demo needs compact, fp32"):
        bundle_of("compact", record, half_bundle, print)
    damaged = tmp_path / "bundle"
    shutil.copytree(bundle, damaged)
    (damaged / "restorer.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"in the way.*restorer\.onnx: 0 bytes.*choose another"):
        bundle_of("compact", record, damaged, print)
    assert (damaged / "restorer.onnx").read_bytes() == b""


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_no_bundle_is_in_the_way(record: WeightsRecord, tmp_path: Path, kind: str) -> None:
    there = tmp_path / "bundle"
    if kind == "folder":
        there.mkdir()
    elif kind == "file":
        there.touch()
    else:
        there.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=rf"{there} is in the way: .*or remove {there}$"):
        bundle_of("compact", record, there, print)
    assert list(tmp_path.iterdir()) == [there]
