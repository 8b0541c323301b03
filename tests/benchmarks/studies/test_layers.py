import json
from pathlib import Path

import pytest

from benchmarks.studies import layers
from runtime.bundle.opening import open_bundle

PROG = "python -m benchmarks.studies.layers"


def run(monkeypatch: pytest.MonkeyPatch, one: Path, other: Path, out: Path) -> int:
    words = [PROG, "--bundle", str(one), "--other", str(other), "--json", str(out)]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        layers.main()
    return int(ended.value.code or 0)


def test_blocks_of_two_bundles(
    int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "layers.json"
    assert run(monkeypatch, int8_bundle, int8_bundle, out) == 0
    made = open_bundle(int8_bundle).manifest.quantization
    assert made is not None
    found = json.loads(out.read_text())
    assert [bundle["kind"] for bundle in found["bundles"]] == ["compact", "compact"]
    wanted = {block.name: block for block in made.blocks}
    assert [block["name"] for block in found["blocks"]] == list(wanted)
    for block in found["blocks"]:
        psnr = wanted[block["name"]].psnr_db
        assert block["whole_db"] == [psnr["whole"]] * 2
        assert block["worst_component_db"] == [min(psnr[p] for p in ("le", "re", "mo"))] * 2


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
