"""Manifests of bundles, and records of engines."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from export.triton.repository import Serving, write_repository
from runtime import Restorer
from runtime.backends.tensorrt.engine_files import Wanted, find_engine, read_records
from runtime.bundle.opening import open_bundle
from runtime.machine.tensorrt_editions import Edition
from runtime.samples.faces import samples
from tests.fakes.bundle import as_int8, signed, write_bundle
from tests.fuzz.mutations import json_text, mutated
from tests.fuzz.rule import Kind

_RECORD = {
    "record_version": 1,
    "graph": "restorer",
    "graph_sha256": "2" * 64,
    "precision": "fp16",
    "edition": "tensorrt_rtx",
    "version": "1.7.1.116",
    "capability": "any",
    "gpu": None,
    "driver": None,
    "profile": {"max_batch": 8, "max_references": 32, "opt_batch": 1, "opt_references": 10},
    "file": "tensorrt_rtx-1.7.1-any-fp16.engine",
    "size": 6,
    "sha256": hashlib.sha256(b"engine").hexdigest(),
    "built": "2026-11-24T18:02:19+00:00",
    "seconds": 12.5,
    "receipt": {
        "asked": {"convolution": {"half": 80}},
        "parsed": {"convolution": {"half": 80}},
        "arithmetic": {"half": 1.0},
        "gflop": 400.0,
        "engine": None,
    },
    "parity": [{"case": "generic", "region": "whole", "max_levels": 1.0, "psnr_db": 61.0}],
}


@contextmanager
def manifests(folder: Path) -> Iterator[Kind]:
    """A manifest of a whole bundle made worse, mostly with the hash of itself made to fit.

    One that is accepted must work to the end: a face is restored, and a repository is written,
    with files that the manifest lists and with nothing else.
    """
    bundle, out = folder / "bundle", folder / "repository"
    content = write_bundle(bundle)
    whole = {file.name: file.read_bytes() for file in bundle.glob("*.onnx")}
    (folder / "outside.onnx").write_bytes(whole["restorer.onnx"])  # must not be read
    (bundle / "unlisted.onnx").write_bytes(whole["restorer.onnx"])
    face = samples()[0]
    paths = {"../outside.onnx", "unlisted.onnx", str(folder / "outside.onnx"), "./restorer.onnx"}
    escapes = [
        json.dumps(content | {graph: {**content[graph], "file": path}})
        for graph in ("restorer", "memorizer")
        for path in sorted(paths)
    ]
    texts = (
        json_text(content).map(signed)
        | json_text(as_int8(content)).map(signed)
        | json_text(content)
        | st.sampled_from(escapes).map(signed)
    )
    plain = (bundle / "manifest.json").read_bytes()
    inputs = texts.map(lambda text: text.encode(errors="surrogatepass")) | mutated([plain])

    def attempt(data: bytes) -> None:
        (bundle / "manifest.json").write_bytes(data)
        opened = open_bundle(bundle)
        for spec in (opened.manifest.restorer, opened.manifest.memorizer):
            assert spec.file in opened.manifest.files, "a graph that is read but not listed"
            assert Path(spec.file).name == spec.file, "a graph outside of the bundle"
        with Restorer(bundle, device="cpu") as restorer:
            restored = restorer.restore_aligned(face.image, face.landmarks)
            assert restored.shape == (512, 512, 3)
            assert restorer.memorize([face.image], [face.landmarks]).rows.ndim == 2
        shutil.rmtree(out, ignore_errors=True)
        write_repository(opened, out, Serving(device="cpu"))
        listed = {record.sha256 for record in opened.manifest.files.values()}
        assert len(list(out.rglob("*.onnx"))) == 2
        assert listed, "a bundle without files"

    yield Kind(inputs, attempt)


@contextmanager
def engine_records(folder: Path) -> Iterator[Kind]:
    """The record of an engine made worse: read, and compared with what this machine wants."""
    engines = folder / "bundle" / "engines"
    engines.mkdir(parents=True)
    name = str(_RECORD["file"])
    (engines / name).write_bytes(b"engine")
    (folder / "bundle" / "outside.engine").write_bytes(b"engine")
    wanted = Wanted(
        "restorer", "2" * 64, "fp16", Edition("tensorrt_rtx", "1.7.1.116", None), gpu=None
    )
    plain = json.dumps(_RECORD).encode()
    texts = json_text(_RECORD).map(lambda text: text.encode(errors="surrogatepass"))

    def attempt(data: bytes) -> None:
        (engines / f"{name}.json").write_bytes(data)
        (record,) = read_records(folder / "bundle")
        assert record.file == name, "a record of another file"
        assert isinstance(record.profile.max_batch, int), "a profile that is no number"
        assert record.profile.max_batch > 0, "an engine of no face"
        assert np.isfinite(record.seconds), "seconds that are no number"
        record.to_json()
        find_engine(folder / "bundle", wanted)

    yield Kind(texts | mutated([plain]), attempt)
