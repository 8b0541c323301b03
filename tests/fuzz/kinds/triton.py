"""What reaches our model on a Triton server, and what a server answers our client."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import numpy as np
from google.protobuf import json_format, text_format
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2, service_pb2

from export.triton.repository import Serving, write_repository
from runtime import InvalidImageError, Remote, Restorer
from runtime.bundle.opening import open_bundle
from runtime.samples.faces import samples
from tests.fakes import pb_utils
from tests.fakes.bundle import COLUMNS, signed, write_bundle
from tests.fuzz.mutations import FLOATS, TEXTS, Draw, json_text, mutated
from tests.fuzz.rule import Kind, unclean

_BOX = np.array([[100, 100, 200, 200]] * 4, np.int32)
_TENSORS = ("image", "boxes", "dictionary", "membership")
_SIZES = (0, 1, 2, 3, 4, 5, 16, 511, 512, 513)


@contextmanager
def requests(folder: Path) -> Iterator[Kind]:
    """Hostile requests beside one that is right, which must get what it gets alone.

    Their types are right, for Triton itself refuses others before our model sees them. A refusal
    is one clean line of the request that it is for.
    """
    model = _model(_repository(folder))
    good = _request(level=40, faces=1, rows=2, value=3.0)
    model_calls = mock.patch.object(pb_utils, "restorer", _restore)
    hostile = st.lists(_hostile_request(), min_size=1, max_size=2)

    def attempt(given: tuple[list[pb_utils.Request], bool]) -> None:
        sent = [*given[0], good] if given[1] else [good, *given[0]]
        answers = model.execute(sent)
        assert len(answers) == len(sent), "a request without an answer"
        refused = None
        for request, answer in zip(sent, answers, strict=True):
            if answer.has_error():
                refused = answer.error().message()
                assert request is not good, "a right request was refused for its neighbour"
                assert unclean(refused) is None, f"refused with {unclean(refused)}"
            else:
                restored = answer.outputs["restored"]
                assert restored.shape == request.inputs["image"].shape, "a result of another size"
                assert restored.dtype == np.uint8, "a result of another type"
        right = answers[sent.index(good)].outputs["restored"]
        assert (right == 46).all(), "a right request got another result than alone"
        if refused is not None:
            raise InvalidImageError(refused)

    with model_calls:
        yield Kind(st.tuples(hostile, st.booleans()), attempt)


@contextmanager
def replies(folder: Path) -> Iterator[Kind]:
    """A server whose description, versions and answers are made worse, or not even protobuf."""
    repository = _repository(folder)
    text = (repository / "dmdnet" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    sample, script = samples()[0], dict[str, Any]()
    with _serving(config, script) as url:

        def attempt(given: Mapping[str, Any]) -> None:
            script.clear()
            script.update(given)
            with Restorer(url, remote=Remote(retries=0, timeout=10)) as restorer:
                restored = restorer.restore_aligned(sample.image, sample.landmarks)
                assert restored.shape == (512, 512, 3), "a result of another size"
                assert restored.dtype == np.uint8, "a result of another type"
                if not set(given) & {"values", "infer_bytes"}:
                    assert (restored == 7).all(), "another picture than the server sent"

        yield Kind(_replies(json.loads(config.parameters["manifest"].string_value)), attempt)


def _repository(folder: Path) -> Path:
    write_bundle(folder / "bundle")
    out = folder / "repository"
    serving = Serving(device="cpu", max_batch=4, max_references=6)
    write_repository(open_bundle(folder / "bundle"), out, serving)
    return out


def _model(repository: Path) -> Any:
    """Our model, as Triton's Python backend would hold it."""
    config = text_format.Parse(
        (repository / "dmdnet" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
    )
    sys.modules["triton_python_backend_utils"] = pb_utils
    model = importlib.import_module("export.triton.model").TritonPythonModel()
    text = json_format.MessageToJson(config, preserving_proto_field_name=True)
    model.initialize({"model_config": text, "model_version": "1"})
    return model


def _restore(inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8] | str:
    """To each face the sum of its own rows is added; what is not its own has no weight."""
    if not np.isfinite(inputs["dictionary"]).all():
        return "numbers that are not finite reached the restorer"
    sums = inputs["membership"] @ inputs["dictionary"][:, :1].astype(np.float64)
    levels = sums.clip(0, 200).astype(np.uint8)[:, :, None, None]
    return np.asarray(inputs["image"] + levels, np.uint8)


def _request(level: int, faces: int, rows: int, value: float) -> pb_utils.Request:
    return pb_utils.Request(
        {
            "image": np.full((1, faces, 512, 512, 3), level, np.uint8),
            "boxes": np.tile(_BOX, (1, faces, 1, 1)),
            "dictionary": np.full((1, rows, COLUMNS), value, np.float32),
            "membership": np.ones((1, faces, rows), np.float32),
        }
    )


class _Request(pb_utils.Request):
    """With parameters of any kind, as the protocol allows."""

    def __init__(self, inputs: Mapping[str, NDArray[Any]], parameters: str) -> None:
        super().__init__(inputs)
        self._text = parameters

    def parameters(self) -> str:
        return self._text

    def __repr__(self) -> str:
        shapes = {name: array.shape for name, array in self.inputs.items()}
        return f"{shapes} {self._text[:200]}"


@st.composite
def _hostile_request(draw: Draw) -> pb_utils.Request:
    faces, rows = draw(st.sampled_from((1, 1, 2, 4, 5, 0))), draw(st.integers(0, 7))
    made = _request(draw(st.integers(0, 255)), faces, rows, 1.0)
    inputs = dict(made.inputs)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(_TENSORS))
        array = inputs[name] = inputs[name].copy()
        if draw(st.integers(0, 3)) == 0:
            shape = list(array.shape)
            shape[draw(st.integers(1, array.ndim - 1))] = draw(st.sampled_from(_SIZES))
            if np.prod(shape) < 8 << 20:
                inputs[name] = np.resize(array, shape)
        elif array.size:
            at = draw(st.integers(0, array.size - 1))
            with np.errstate(all="ignore"):
                value = np.float64(draw(st.sampled_from(FLOATS))).astype(array.dtype)
            array.reshape(-1)[at:] = value if draw(st.booleans()) else array.reshape(-1)[at:]
            array.reshape(-1)[at] = value
    content: dict[str, Any] = {"weights": "1" * 64}
    whole = st.sampled_from(("", "{}", json.dumps(content)))
    # Triton gives numbers, booleans and texts, each under a name of the client's choice
    values = st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans() | st.sampled_from(TEXTS)
    names = st.sampled_from(("weights", "", "x" * 300, "priority"))
    weights = st.sampled_from(TEXTS).map(lambda text: json.dumps({"weights": text}))
    others = st.dictionaries(names, values).map(json.dumps)
    return _Request(inputs, draw(whole | weights | others))


@st.composite
def _replies(draw: Draw, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the server says: an empty script means what a right server would say."""
    said: dict[str, Any] = {}
    numbers = ("1.5", "-1", "0", "9" * 30, "9" * 5000, "", "nan", " 3 ", "\u0663", "1_0", "x")
    where = ("config", "manifest", "versions", "answer", "values", "status", "bytes")
    match draw(st.sampled_from(where)):
        case "config":
            keys = st.sampled_from(("max_batch", "max_references", "memorizer", "restorer"))
            texts = [text.encode(errors="replace").decode() for text in (*numbers, *TEXTS)]
            said["parameters"] = draw(st.dictionaries(keys, st.sampled_from(texts), min_size=1))
        case "manifest":
            text = draw(json_text(manifest).map(signed) | json_text(manifest))
            said["parameters"] = {"manifest": text.encode(errors="replace").decode()}
        case "versions":
            odd = ("", "x", "-1", "9" * 5000, "1.5", "\x1b[2J", "\u0661", "0")
            said["versions"] = draw(st.lists(st.sampled_from(odd), max_size=2))
        case "answer":
            shapes = st.lists(st.sampled_from((-1, 0, 1, 2, 3, 512, 1 << 40, 1 << 62)), max_size=6)
            said["values"] = {
                "datatype": draw(
                    st.sampled_from(("UINT8", "BYTES", "FP16", "BF16", "x", "", "INT8"))
                ),
                "shape": draw(st.just([1, 1, 512, 512, 3]) | shapes),
                "name": draw(st.sampled_from(("restored", "", "dictionary", "restored\n"))),
                "cut": draw(st.sampled_from((0, 1, 4, 512, 786432))),
                "version": draw(st.sampled_from(("1", "", "2", "\x1b[0m"))),
                "inline": draw(st.booleans()),
            }
        case "values":
            length = draw(st.sampled_from((0, 4, 5, 1 << 31, (1 << 32) - 1)))
            said["values"] = {"datatype": "BYTES", "shape": [1], "prefix": length}
        case "status":
            method = draw(st.sampled_from(("config", "metadata", "infer")))
            codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
            text = draw(st.sampled_from(TEXTS)).encode(errors="replace").decode()
            said[f"{method}_status"] = draw(st.sampled_from(codes)), text[:2000]
        case "bytes":
            method = draw(st.sampled_from(("config", "metadata", "infer")))
            seeds = [b"", b"\x0a\x06dmdnet", b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f"]
            said[f"{method}_bytes"] = draw(mutated(seeds))
    return said


@contextmanager
def _serving(config: Any, script: Mapping[str, Any]) -> Iterator[str]:
    """A gRPC server that says what `script` says at the time, and else what is right."""

    def answering(method: str, make: Callable[[Any], Any], kind: Any) -> Any:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            status = script.get(f"{method}_status")
            if status is not None:
                context.abort(*status)
            said: bytes | None = script.get(f"{method}_bytes")
            return (
                bytes(make(kind.FromString(request)).SerializeToString()) if said is None else said
            )

        return grpc.unary_unary_rpc_method_handler(answer)

    def configuration(_: Any) -> Any:
        changed = model_config_pb2.ModelConfig()
        changed.CopyFrom(config)
        for key, value in script.get("parameters", {}).items():
            changed.parameters[key].string_value = value
        return service_pb2.ModelConfigResponse(config=changed)

    def metadata(_: Any) -> Any:
        versions: Sequence[str] = script.get("versions", ["1"])
        return service_pb2.ModelMetadataResponse(name="dmdnet", versions=versions)

    def infer(request: Any) -> Any:
        image = next(tensor for tensor in request.inputs if tensor.name == "image")
        pixels = bytes([7]) * int(np.prod(image.shape))
        said = {"version": "1", "name": "restored", "datatype": "UINT8", "shape": image.shape}
        said |= script.get("values", {})
        answer = service_pb2.ModelInferResponse(model_name="dmdnet", model_version=said["version"])
        output = answer.outputs.add(name=said["name"], datatype=said["datatype"])
        output.shape.extend(said["shape"])
        if "prefix" in said:
            answer.raw_output_contents.append(said["prefix"].to_bytes(4, "little") + b"seven")
        elif said.get("inline"):
            output.contents.bytes_contents.append(b"seven")
            output.contents.uint_contents.extend([7] * 12)
        else:
            answer.raw_output_contents.append(pixels[: len(pixels) - said.get("cut", 0)])
        return answer

    methods = {
        "ModelConfig": answering("config", configuration, service_pb2.ModelConfigRequest),
        "ModelMetadata": answering("metadata", metadata, service_pb2.ModelMetadataRequest),
        "ModelInfer": answering("infer", infer, service_pb2.ModelInferRequest),
    }
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}/dmdnet"
    finally:
        server.stop(None)
