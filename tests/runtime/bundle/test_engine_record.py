import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runtime.backends.tensorrt import engine_files
from runtime.backends.tensorrt.engine_files import Wanted, check_engine, read_record
from runtime.bundle.engine_record import (
    FOLDER,
    EngineParity,
    EngineRecord,
    Profile,
    Receipt,
)
from runtime.errors import EngineError
from runtime.machine.gpu import Gpu
from runtime.machine.tensorrt_editions import Edition
from tests.conftest import ROOT

NAME = "tensorrt-10.13.2-9.0-fp16.engine"
LAYERS = {"convolution": {"half": 171}, "softmax": {"float": 18}}
RECORD = EngineRecord(
    graph="restorer",
    graph_sha256="0" * 64,
    precision="fp16",
    edition="tensorrt",
    version="10.13.2.6",
    capability="9.0",
    gpu="Some GPU",
    driver="13.0",
    profile=Profile(max_batch=6, max_references=24),
    file=NAME,
    size=4,
    sha256="1" * 64,
    built="2026-11-23T00:00:00+00:00",
    seconds=1.0,
    receipt=Receipt(LAYERS, LAYERS, {"half": 1.0}, 1.0, None),
    parity=(EngineParity("generic", "whole", 1.0, 60.0),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir()
    return tmp_path / FOLDER / f"{NAME}.json"


def test_it_says_what_was_written(path: Path) -> None:
    path.write_text(RECORD.to_json())
    assert read_record(path) == RECORD
    schema = json.loads((ROOT / "docs/manifest.schema.json").read_text())
    schema = {"$ref": "#/$defs/EngineRecord", "$defs": schema["$defs"]}
    jsonschema.validate(json.loads(RECORD.to_json()), schema)


def put(*place: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("record_version", value=2), "version 2, this program reads version 1"),
        (put("record_version", value=[[1]]), r"version \[\[1\]\], this program"),
        (put("record_version", value=True), "version True, this program"),
        (put("file", value="../../x.engine"), "regex.*file"),
        (put("file", value="x\0"), "regex.*file"),
        (put("version", value='1\n}"'), "regex.*version"),
        (put("capability", value="9.0\n"), "regex.*capability"),
        (put("driver", value="thirteen"), "regex.*driver"),
        (put("size", value=-1), "size"),
        (put("size", value=10**400), "size"),
        (put("profile", "max_batch", value=0), "max_batch"),
        (put("profile", "max_batch", value=10**9), "max_batch"),
        (put("profile", value=[8, 32]), "Expected `object`"),
        (put("receipt", "asked", "convolution", "double", value=1), "regex.*asked"),
        (put("receipt", "asked", value={"x": {}}), "regex.*asked"),
        (put("seconds", value="long"), "seconds"),
        (put("parity", value=None), "parity"),
        (put("strange", value=1), "unknown field 'strange'"),
        (put("profile", "strange", value=1), "unknown field 'strange' in profile"),
    ],
)
def test_wrong_records(path: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    content = copy.deepcopy(json.loads(RECORD.to_json()))
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(EngineError, match=rf"json: not an engine's record: .*{says}.*--rebuild"):
        read_record(path)


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"[" * 100_000, b'{"a": NaN}', b" " * (4 << 20) + b"{}", b"[]"]
)
def test_text_that_is_no_record(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    with pytest.raises(EngineError, match="json: not an engine's record: "):
        read_record(path)


def test_what_leads_out_of_the_bundle(path: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    path.write_text(RECORD.to_json())
    (bundle / FOLDER).symlink_to(path.parent)
    with pytest.raises(EngineError, match="json: a link that leads out of the bundle"):
        read_record(bundle / FOLDER / path.name)
    (tmp_path / "else").write_bytes(b"1234")
    (path.parent / NAME).symlink_to(tmp_path / "else")
    with pytest.raises(EngineError, match="altered"):  # the test's own folder is the bundle here
        check_engine(tmp_path, RECORD, True, "dmd-build-engine")
    (bundle / FOLDER).unlink()
    (bundle / FOLDER).mkdir()
    (bundle / FOLDER / NAME).symlink_to(tmp_path / "else")
    with pytest.raises(EngineError, match=r"engine: a link that leads out.*dmd-build-engine"):
        check_engine(bundle, RECORD, False, "dmd-build-engine")


def test_the_bytes_that_are_read_are_the_bytes_that_were_hashed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever alters the engine after it was looked at comes too late."""
    good = b"1234"
    record = replace(RECORD, sha256=hashlib.sha256(good).hexdigest())
    path.write_text(record.to_json())
    (path.parent / NAME).write_bytes(good)
    gpu = Gpu(name="Some GPU", capability="9.0", memory=1, driver="13.0")
    wanted = Wanted("restorer", "0" * 64, "fp16", Edition("tensorrt", "10.13.2.6", None), gpu)
    assert engine_files.find_engine(tmp_path, wanted) == (record, good)
    check = engine_files.check_engine

    def alter(*arguments: Any) -> None:
        check(*arguments)
        (path.parent / NAME).write_bytes(b"9999")

    monkeypatch.setattr(engine_files, "check_engine", alter)
    with pytest.raises(EngineError, match=r"engine: altered \(its SHA-256 differs\).*--rebuild"):
        engine_files.find_engine(tmp_path, wanted)
