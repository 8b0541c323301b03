"""How the isolation study judges its figures; tests/runtime/test_isolation.py has the attacks."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import isolation
from benchmarks.studies.isolation import Effect, measure
from runtime.bundle.manifest import MANIFEST
from runtime.bundle.opening import open_bundle

NOTHING = Effect("an attack", 1, 1, 0, 0, 0, 60)


@pytest.mark.parametrize(
    "leak", ["from_honest", "from_honest_without_dictionary", "learnt", "nothing"]
)
def test_a_leak_is_a_failure_where_the_manifest_denies_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leak: str
) -> None:
    change: dict[str, Any] = {} if leak == "nothing" else {leak: 1}
    effect = dataclasses.replace(NOTHING, **change)
    monkeypatch.setattr(isolation, "effects", lambda *_: [effect])
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    manifest = dataclasses.replace(open_bundle(old).manifest, isolates_people=False)
    (old / MANIFEST).write_text(manifest.to_json())
    result: Any = measure([bundle, old])
    assert result["bundles"]["old"]["effects"] == [effect]
    assert [found["isolates_people"] for found in result["bundles"].values()] == [True, False]
    leaks = [] if leak == "nothing" else [f"{bundle.name}: an attack"]
    assert result.get("failures", []) == leaks
