import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.studies import layers
from runtime.bundle.manifest import MANIFEST, Quantization
from runtime.bundle.opening import open_bundle

PROG = "python -m benchmarks.studies.layers"


def run(monkeypatch: pytest.MonkeyPatch, one: Path, other: Path, out: Path) -> int:
    words = [PROG, "--bundle", str(one), "--other", str(other), "--json", str(out)]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        layers.main()
    return int(ended.value.code or 0)


def altered(bundle: Path, folder: Path, change: Callable[[Quantization], Quantization]) -> Path:
    """A copy of an INT8 bundle whose manifest says something else of its quantisation."""
    shutil.copytree(bundle, folder)
    manifest = open_bundle(bundle).manifest
    assert manifest.quantization is not None
    other = replace(manifest, quantization=change(manifest.quantization))
    (folder / MANIFEST).write_text(other.to_json())
    return folder


def test_blocks_of_two_bundles(
    int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(made: Quantization) -> Quantization:
        first, *rest, last = made.blocks
        better = replace(last, psnr_db={r: db + 9 for r, db in last.psnr_db.items()}, integer=False)
        worse = replace(first, psnr_db={r: db - 7 for r, db in first.psnr_db.items()})
        return replace(made, blocks=(worse, *rest, better))

    other, out = altered(int8_bundle, tmp_path / "other", change), tmp_path / "layers.json"
    assert run(monkeypatch, int8_bundle, other, out) == 0
    made = open_bundle(int8_bundle).manifest.quantization
    assert made is not None
    found = json.loads(out.read_text())
    assert [bundle["kind"] for bundle in found["bundles"]] == ["compact", "compact"]
    last = made.blocks[-1].name
    assert [bundle["back_to_float"] for bundle in found["bundles"]] == [[], [last]]
    first, *rest = (block.name for block in made.blocks)
    order = [last, *rest[:-1], first]  # where the first bundle loses most, first
    assert [block["name"] for block in found["blocks"]] == order
    wanted = {block.name: block for block in made.blocks}
    for block in found["blocks"]:
        psnr = wanted[block["name"]].psnr_db
        more = {last: 9, first: -7}.get(block["name"], 0)
        worst = min(psnr[part] for part in ("le", "re", "mo"))
        assert block["whole_db"] == pytest.approx([psnr["whole"], psnr["whole"] + more])
        assert block["worst_component_db"] == pytest.approx([worst, worst + more])


def test_bundles_that_cannot_be_compared(
    int8_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = altered(int8_bundle, tmp_path / "other", lambda made: replace(made, target="tensorrt"))
    assert run(monkeypatch, int8_bundle, other, tmp_path / "layers.json") == 1
    assert "not of the same target" in capsys.readouterr().err


def test_a_float_bundle_has_no_layers_to_compare(
    int8_bundle: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "layers.json"
    assert run(monkeypatch, int8_bundle, bundle, out) == 1
    assert f"{bundle}: not an INT8 bundle" in capsys.readouterr().err
    assert not out.exists()
