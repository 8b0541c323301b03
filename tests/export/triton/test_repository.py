import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from export.triton.config import APP, MEMORIZER, RESTORER
from export.triton.repository import TRITON_MODEL, Serving, write_repository
from runtime.bundle.engine_record import FOLDER, EngineRecord, Profile, Receipt
from runtime.bundle.manifest import Manifest, Quantization, TensorSpec
from runtime.bundle.opening import Bundle, open_bundle
from runtime.errors import BundleError, DmdnetWarning, EngineError, ExportError, UsageError
from runtime.storage.local import sha256_of
from tests.conftest import BundleOf, Command, one_line


def config(repository: Path, model: str) -> Any:
    """The model's configuration, read by Triton's own protobuf."""
    text = (repository / model / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def named(tensors: Any) -> dict[str, tuple[str, list[int]]]:
    names = model_config_pb2.DataType.Name
    return {
        t.name: (
            str(np.dtype(triton_to_np_dtype(names(t.data_type).removeprefix("TYPE_")))),
            list(t.dims),
        )
        for t in tensors
    }


def wanted(tensors: tuple[TensorSpec, ...], first: int = 0) -> dict[str, tuple[str, list[int]]]:
    return {
        t.name: (t.dtype, [s if isinstance(s, int) else -1 for s in t.shape[first:]])
        for t in tensors
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_configs_say_what_the_manifest_says(
    bundle_of: BundleOf, precision: str, tmp_path: Path
) -> None:
    bundle = open_bundle(bundle_of(precision))
    out = tmp_path / "deep" / "repository"
    assert write_repository(bundle, out, Serving(device="gpu")) == (APP, RESTORER, MEMORIZER)
    manifest = bundle.manifest

    restorer = config(out, RESTORER)
    assert (restorer.name, restorer.platform) == (RESTORER, "onnxruntime_onnx")
    assert restorer.max_batch_size == 0  # K is no batch dimension
    assert not restorer.HasField("dynamic_batching")
    assert named(restorer.input) == wanted(manifest.restorer.inputs)
    assert named(restorer.output) == wanted(manifest.restorer.outputs)

    memorizer = config(out, MEMORIZER)
    assert memorizer.max_batch_size == 8
    assert memorizer.HasField("dynamic_batching")
    assert named(memorizer.input) == wanted(manifest.memorizer.inputs, first=1)
    assert named(memorizer.output) == wanted(manifest.memorizer.outputs, first=1)

    app = config(out, APP)
    assert (app.backend, app.max_batch_size) == ("python", 8)
    assert app.dynamic_batching.max_queue_delay_microseconds == 2000
    assert app.dynamic_batching.default_queue_policy.allow_timeout_override
    assert named(app.input) == wanted(manifest.restorer.inputs)
    assert all(tensor.allow_ragged_batch for tensor in app.input)
    assert [group.kind for group in app.instance_group] == [app.instance_group[0].KIND_CPU]
    parameters = {key: value.string_value for key, value in app.parameters.items()}
    assert Manifest.from_json(parameters.pop("manifest")) == manifest
    names = {"restorer": RESTORER, "memorizer": MEMORIZER}
    assert parameters == names | {"max_batch": "8", "max_references": "32"}
    for each in (restorer, memorizer):
        assert [(g.kind, g.count) for g in each.instance_group] == [
            (g.KIND_GPU, 1) for g in each.instance_group
        ]
        assert each.version_policy.latest.num_versions == 1


def test_warm_up_is_the_smallest_and_the_largest_call(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    write_repository(open_bundle(bundle), out, Serving(device="cpu", max_batch=3))
    for model, sizes, faces in ((RESTORER, [1, 1], [1, 3]), (MEMORIZER, [1, 3], [1, 1])):
        samples = config(out, model).model_warmup
        assert [sample.batch_size for sample in samples] == sizes
        for sample, count in zip(samples, faces, strict=True):
            dims = list(sample.inputs["image"].dims)
            assert dims == [count, 512, 512, 3][1 if model == MEMORIZER else 0 :]
            boxes = out / model / "warmup" / sample.inputs["boxes"].input_data_file
            corners = np.frombuffer(boxes.read_bytes(), np.int32).reshape(-1, 4, 2, 2)
            assert len(corners) == count
            assert (corners[:, :, 1] - corners[:, :, 0] >= 16).all()
            assert ((corners >= 0) & (corners <= 512)).all()


def test_files_are_those_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    write_repository(open_bundle(bundle), out, Serving(device="cpu", version=3))
    for model, name in ((RESTORER, "restorer"), (MEMORIZER, "memorizer")):
        folder = out / model / "3"
        assert {file.name for file in folder.iterdir()} == {"model.onnx", f"{name}.onnx.data"}
        assert sha256_of(folder / "model.onnx") == sha256_of(bundle / f"{name}.onnx")
        assert sha256_of(folder / f"{name}.onnx.data") == sha256_of(bundle / f"{name}.onnx.data")
    assert (out / APP / "3" / "model.py").read_text() == TRITON_MODEL.read_text()


@pytest.mark.parametrize(
    ("device", "precision", "batch", "delay"),
    [("cpu", "fp32", 1, 20_000), ("cpu", "int8", 4, 20_000), ("gpu", "fp32", 8, 2_000)],
)
def test_defaults_by_device(
    bundle: Path, device: str, precision: str, batch: int, delay: int, tmp_path: Path
) -> None:
    opened = int8_for("cpu", bundle) if precision == "int8" else open_bundle(bundle)
    write_repository(opened, tmp_path / "out", Serving(device=device))
    app = config(tmp_path / "out", APP)
    assert app.max_batch_size == batch
    assert app.dynamic_batching.max_queue_delay_microseconds == delay


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_graph_that_does_not_isolate_people_gets_one_face_a_call(
    bundle: Path, device: str, tmp_path: Path
) -> None:
    manifest = dataclasses.replace(open_bundle(bundle).manifest, isolates_people=False)
    old = Bundle(bundle, manifest)
    with pytest.warns(DmdnetWarning, match=r"not isolate people.*1 face.*export the bundle again"):
        write_repository(old, tmp_path / "out", Serving(device=device))
    app = config(tmp_path / "out", APP)
    assert app.max_batch_size == 1
    assert app.parameters["max_batch"].string_value == "1"
    with pytest.raises(UsageError, match=r"--max-batch 4: .*export the bundle again"):
        write_repository(old, tmp_path / "more", Serving(device=device, max_batch=4))
    assert not (tmp_path / "more").exists()


def test_half_precision_on_a_cpu(half_bundle: Path, tmp_path: Path) -> None:
    with pytest.warns(DmdnetWarning, match="slower on a CPU"):
        write_repository(open_bundle(half_bundle), tmp_path / "out", Serving(device="cpu"))


def test_int8_for_the_other_device(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="made for CPUs: serve it with --device cpu"):
        write_repository(int8_for("cpu", bundle), tmp_path / "out", Serving(device="gpu"))
    for device in ("cpu", "gpu"):
        with pytest.raises(ExportError, match="serve its engine with --engine"):
            write_repository(int8_for("tensorrt", bundle), tmp_path / "out", Serving(device))
    assert list(tmp_path.iterdir()) == []


def int8_for(target: str, bundle: Path) -> Bundle:
    """A bundle whose manifest says that it was quantised."""
    record = Quantization(target, "minmax", 0, "faces", "", 1, 1, 35.0, (), (), ())
    manifest = open_bundle(bundle).manifest
    return Bundle(bundle, dataclasses.replace(manifest, precision="int8", quantization=record))


@pytest.fixture
def plans(half_bundle: Path, tmp_path: Path) -> Bundle:
    """A bundle with engines of full TensorRT for two GPUs, whose files are only bytes."""
    folder = tmp_path / "bundle"
    shutil.copytree(half_bundle, folder)
    bundle = open_bundle(folder)
    (folder / FOLDER).mkdir()
    for capability in ("8.9", "9.0"):
        for graph, ending in (("restorer", ""), ("memorizer", "-memorizer")):
            name = f"tensorrt-10.13.2-{capability}-fp16{ending}.engine"
            file = folder / FOLDER / name
            file.write_bytes(name.encode())
            record = EngineRecord(
                graph=graph,
                graph_sha256=bundle.manifest.graph_sha256(graph),
                precision="fp16",
                edition="tensorrt",
                version="10.13.2.6",
                capability=capability,
                gpu="Some GPU",
                driver="13.0",
                profile=Profile(max_batch=6, max_references=24),
                file=name,
                size=len(name),
                sha256=sha256_of(file),
                built="2026-11-23T00:00:00+00:00",
                seconds=1.0,
                receipt=Receipt({}, {}, {}, 1.0, None),
                parity=(),
            )
            file.with_name(f"{name}.json").write_text(record.to_json())
    return bundle


def test_tensorrt_plans(plans: Bundle, tmp_path: Path) -> None:
    out, name = tmp_path / "out", "tensorrt-10.13.2-9.0-fp16"
    write_repository(plans, out, Serving(engine=f"{name}.engine"))
    assert (out / RESTORER / "1" / "model.plan").read_text() == f"{name}.engine"
    assert (out / MEMORIZER / "1" / "model.plan").read_text() == f"{name}-memorizer.engine"
    assert config(out, RESTORER).platform == "tensorrt_plan"
    assert config(out, MEMORIZER).max_batch_size == 6
    parameters = config(out, APP).parameters
    assert parameters["max_batch"].string_value == "6"
    assert parameters["max_references"].string_value == "24"
    assert "TensorRT 10.13.2.6 for compute capability 9.0" in (
        (out / RESTORER / "config.pbtxt").read_text()
    )


def test_tensorrt_plans_that_cannot_be_served(plans: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = "tensorrt-10.13.2-9.0-fp16.engine"
    with pytest.raises(ExportError, match=r"must name one.*8\.9-fp16\.engine, .*9\.0-fp16\.engine"):
        write_repository(plans, out, Serving(engine="tensorrt"))
    with pytest.raises(UsageError, match="--max-batch 7: the engine takes 6"):
        write_repository(plans, out, Serving(engine=one, max_batch=7))
    with pytest.raises(UsageError, match="--device gpu"):
        write_repository(plans, out, Serving(engine=one, device="cpu"))
    (plans.path / FOLDER / one).write_bytes(b"x" * len(one))
    with pytest.raises(EngineError, match="altered"):
        write_repository(plans, out, Serving(engine=one))
    for file in (plans.path / FOLDER).glob("*8.9*memorizer*"):
        file.unlink()
    with pytest.raises(ExportError, match=r"8\.9-fp16\.engine has no .*-memorizer\.engine beside"):
        write_repository(plans, out, Serving(engine="tensorrt-10.13.2-8.9-fp16.engine"))
    assert not out.exists()


def test_files_that_were_altered_since_the_opening_are_not_served(
    bundle: Path, plans: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    folder = tmp_path / "float32"
    shutil.copytree(bundle, folder)
    opened = open_bundle(folder)
    data = folder / "memorizer.onnx.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + b"x")
    with pytest.raises(
        BundleError, match=r"memorizer\.onnx\.data: altered .* since the bundle was"
    ):
        write_repository(opened, out, Serving(device="cpu"))
    data.write_bytes(whole)
    write_repository(opened, out, Serving(device="cpu"))
    # the record's version goes into a configuration
    one = "tensorrt-10.13.2-9.0-fp16.engine"
    record = plans.path / FOLDER / f"{one}.json"
    record.write_text(record.read_text().replace("10.13.2.6", '1\\nplatform: \\"python\\"'))
    with pytest.raises(
        EngineError, match=r"9\.0-fp16\.engine\.json: not an engine's record: .*version"
    ):
        write_repository(plans, tmp_path / "other", Serving(engine=one))
    assert not (tmp_path / "other").exists()


def test_a_write_that_fails_leaves_nothing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="No space"):
        write_repository(open_bundle(bundle), tmp_path / "out", Serving(device="cpu"))
    assert list(tmp_path.iterdir()) == []


def test_command(bundle: Path, tmp_path: Path, command: Command) -> None:
    done = command("dmd-triton", bundle, tmp_path / "out", "--device", "cpu", "--queue-delay", 7)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("dmd-triton: compact weights (Apache-2.0)")
    assert "tritonserver --model-repository" in done.stdout
    assert config(tmp_path / "out", APP).dynamic_batching.max_queue_delay_microseconds == 7
    one_line(command("dmd-triton", bundle, tmp_path / "out"), "exists")
    one_line(command("dmd-triton", tmp_path / "none", tmp_path / "o2"), "no such bundle")
    one_line(command("dmd-triton", bundle, tmp_path / "o2", "--engine", "tensorrt"), "there: none")
    one_line(command("dmd-triton", bundle, tmp_path / "o2", "--max-batch", 0), "--max-batch")
    one_line(command("dmd-triton", bundle, tmp_path / "o2", "--queue-delay", "1s"), "microseconds")
    assert not (tmp_path / "o2").exists()


def test_it_needs_no_torch(bundle: Path, tmp_path: Path) -> None:
    import sys

    code = f"""
import sys
for name in ("torch", "onnx", "onnxruntime", "tritonclient", "google.protobuf"):
    sys.modules[name] = None
sys.argv = ["dmd-triton", {str(bundle)!r}, {str(tmp_path / "out")!r}]
from export.cli.triton import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(config(tmp_path / "out", APP).parameters["manifest"].string_value)
