"""How requests are joined into calls, without a server."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from export.triton.repository import Serving, write_repository
from runtime.bundle.opening import open_bundle
from runtime.dictionary import LARGEST
from tests.fakes import pb_utils
from tests.fakes.pb_utils import InferenceResponse, Request

BOXES = np.array([[100, 100, 200, 200]] * 4, np.int32)
Arrays = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def model(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Takes 4 faces and 6 rows a call."""
    out = tmp_path_factory.mktemp("model") / "repository"
    write_repository(open_bundle(bundle), out, Serving(device="cpu", max_batch=4, max_references=6))
    config = text_format.Parse(
        (out / "dmdnet" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_python_backend_utils", pb_utils)
        made = importlib.import_module("export.triton.model").TritonPythonModel()
        text = json_format.MessageToJson(config, preserving_proto_field_name=True)
        made.initialize({"model_config": text, "model_version": "1"})
        yield made
        del sys.modules["export.triton.model"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Arrays]:
    """Calls of the restorer, which gives each face the sum of the rows that it may read."""
    made: list[Arrays] = []

    def restorer(inputs: Arrays) -> NDArray[np.uint8] | str:
        made.append(inputs)
        if (inputs["image"] == 13).any():
            return "unlucky face"
        sums = inputs["membership"] @ inputs["dictionary"][:, :1]
        return inputs["image"] + sums.astype(np.uint8)[:, :, None, None]

    monkeypatch.setattr(pb_utils, "restorer", restorer)
    return made


def request(model: Any, level: int, person: int, faces: int = 1, rows: int = 1) -> Request:
    """Faces of one level; a person's rows hold its number."""
    return Request(
        {
            "image": np.full((1, faces, 512, 512, 3), level, np.uint8),
            "boxes": np.tile(BOXES, (1, faces, 1, 1)),
            "dictionary": np.full((1, rows, model._columns), person, np.float32),
            "membership": np.ones((1, faces, rows), np.float32),
        }
    )


def levels(answer: InferenceResponse) -> list[int]:
    restored = answer.outputs["restored"]
    assert (restored == restored[:, :, :1, :1, :1]).all()
    return [int(level) for level in restored[0, :, 0, 0, 0]]


def test_each_gets_what_it_gets_alone(model: Any, calls: list[Arrays]) -> None:
    requests = [
        request(model, 10, person=1),
        request(model, 20, person=2, rows=3),
        request(model, 30, person=5, rows=0),
        request(model, 40, person=1),
    ]
    answers = [levels(answer) for answer in model.execute(requests)]
    assert answers == [[11], [26], [30], [41]]
    (call,) = calls
    # the first and the last are the same person, who is there once
    assert call["dictionary"][:, 0].tolist() == [1, 2, 2, 2]
    assert call["membership"].tolist() == [[1, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_calls_are_not_larger_than_the_engine_takes(model: Any, calls: list[Arrays]) -> None:
    by_faces = [request(model, 10 * n, person=1, faces=n) for n in (3, 1, 2)]
    assert [levels(a) for a in model.execute(by_faces)] == [[31] * 3, [11], [21] * 2]
    assert [len(call["image"]) for call in calls] == [4, 2]
    calls.clear()
    by_rows = [request(model, 10, person=n, rows=4) for n in (1, 2, 1)]
    assert [levels(a) for a in model.execute(by_rows)] == [[14], [18], [14]]
    assert [len(call["dictionary"]) for call in calls] == [4, 4, 4]


def test_nobody_is_one_row_that_nobody_reads(model: Any, calls: list[Arrays]) -> None:
    (answer,) = model.execute([request(model, 9, person=0, rows=0)])
    assert levels(answer) == [9]
    assert calls[0]["dictionary"].shape == (1, model._columns)
    assert not calls[0]["membership"].any()


def test_one_that_cannot_be_read_fails_alone(
    model: Any, calls: list[Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever reading a request raises, those that wait with it are answered."""
    good, missing, odd, typed = (request(model, 10, person=1) for _ in range(4))
    del missing.inputs["boxes"]  # type: ignore[attr-defined]
    monkeypatch.setattr(odd, "parameters", lambda: "[" * 100_000)
    typed.inputs = dict(typed.inputs) | {"dictionary": good.inputs["dictionary"].astype(float)}
    answers = model.execute([missing, odd, typed, good])
    assert [answer.error().message() for answer in answers[:3]] == [
        "it cannot be read (KeyError)",
        "it cannot be read (RecursionError)",
        f"dictionary has shape (1, 1, {model._columns}) of float64, wanted is "
        f"(1, 1, {model._columns}) of float32",
    ]
    assert levels(answers[3]) == [11]


def test_memory_that_is_short_for_all_is_enough_for_each(
    model: Any, calls: list[Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pb_utils.restorer

    def short(inputs: Arrays) -> NDArray[np.uint8] | str:
        if len(inputs["image"]) > 1:
            raise MemoryError
        return real(inputs)

    monkeypatch.setattr(pb_utils, "restorer", short)
    answers = model.execute([request(model, level, person=1) for level in (10, 20)])
    assert [levels(answer) for answer in answers] == [[11], [21]]


def test_one_that_fails_fails_alone(model: Any, calls: list[Arrays]) -> None:
    answers = model.execute([request(model, level, person=1) for level in (10, 13, 20)])
    assert [levels(answers[0]), levels(answers[2])] == [[11], [21]]
    assert answers[1].error().message() == "dmdnet_restorer failed: unlucky face"
    assert [len(call["image"]) for call in calls] == [3, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("image", np.zeros((1, 1, 512, 511, 3), np.uint8), "image has shape"),
        ("image", np.zeros((1, 0, 512, 512, 3), np.uint8), "boxes has shape"),
        ("image", np.zeros((1, 5, 512, 512, 3), np.uint8), "boxes has shape"),
        ("boxes", BOXES[None, None] - 101, "boxes must be"),
        ("boxes", BOXES[None, None] + 313, "boxes must be"),
        ("boxes", BOXES[None, None, :, ::-1], "boxes must be"),
        ("dictionary", np.zeros((1, 1, 7), np.float32), "dictionary has shape"),
        ("membership", np.ones((1, 1, 2), np.float32), "membership has shape"),
        ("membership", np.full((1, 1, 1), np.nan, np.float32), "0 or 1"),
    ],
)
def test_a_wrong_request_is_refused_before_the_call(
    model: Any, calls: list[Arrays], name: str, value: NDArray[Any], says: str
) -> None:
    good, bad = request(model, 10, person=1), request(model, 10, person=1)
    bad.inputs = dict(bad.inputs) | {name: value}
    answers = model.execute([bad, good])
    assert says in answers[0].error().message()
    assert answers[0].error().code == pb_utils.TritonError.INVALID_ARG
    assert levels(answers[1]) == [11]
    assert [len(call["image"]) for call in calls] == [1]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (-np.inf, "not finite"),
        (3e38, "from -65504 to 65504"),
        (-65536, "from -65504 to 65504"),
    ],
)
def test_a_number_that_no_dictionary_holds_stays_with_its_sender(
    model: Any, calls: list[Arrays], number: float, says: str
) -> None:
    """Twice: equal dictionaries are compared, and nobody's may pass for one that was checked."""
    bad = request(model, 10, person=1)
    bad.inputs["dictionary"][0, 0, 5] = number
    answers = model.execute([bad, request(model, 10, person=1), bad])
    for refused in (answers[0], answers[2]):
        assert says in refused.error().message()
        assert refused.error().code == pb_utils.TritonError.INVALID_ARG
    assert levels(answers[1]) == [11]
    assert [len(call["dictionary"]) for call in calls] == [1]


def test_it_knows_the_bound_of_dictionaries(model: Any) -> None:
    assert sys.modules["export.triton.model"]._LARGEST == LARGEST


def test_more_than_a_call_takes(model: Any, calls: list[Arrays]) -> None:
    answers = model.execute(
        [request(model, 1, person=1, faces=5), request(model, 1, person=1, rows=7)]
    )
    assert [a.error().message() for a in answers] == [
        "5 faces: this model takes 4 a request",
        "7 dictionary rows: this model takes 6 a request",
    ]
    assert not calls


def test_other_weights(model: Any, calls: list[Arrays]) -> None:
    inputs = request(model, 10, person=1).inputs
    right, wrong = Request(inputs, weights=model._weights), Request(inputs, weights="0" * 64)
    answers = model.execute([wrong, right])
    assert f"other weights: the request is for '{'0' * 64}'" in answers[0].error().message()
    assert levels(answers[1]) == [11]
    (hostile,) = model.execute([Request(inputs, weights="\x1b[2J\n" + "x" * 9000)])
    assert r"is for '\x1b[2J\nxxx" in hostile.error().message()
    assert len(hostile.error().message()) < 250


def test_it_needs_nothing_of_this_project(bundle: Path) -> None:
    source = Path(importlib.import_module("export.triton.repository").TRITON_MODEL).read_text()
    assert not any(name in source for name in ("import runtime", "from runtime", "from export"))
    assert not any(word in source for word in ("print(", "logging", "log_"))
