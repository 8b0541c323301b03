import random

import onnx
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from runtime.bundle.onnx_files import external_files
from tests.fakes import bundles


def external(location: str) -> TensorProto:
    tensor = TensorProto(name=location, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def everywhere() -> ModelProto:
    """External data in each place where ONNX has a tensor; the files' names count the places."""
    model = ModelProto(producer_name="location")
    graph = model.graph
    graph.initializer.append(external("0"))
    graph.sparse_initializer.add().values.CopyFrom(external("1"))
    graph.sparse_initializer.add().indices.CopyFrom(external("2"))
    node = graph.node.add(op_type="Constant", name="location")
    node.attribute.add(name="value").t.CopyFrom(external("3"))
    node.attribute.add(name="values").tensors.append(external("4"))
    node.attribute.add(name="sparse").sparse_tensor.values.CopyFrom(external("5"))
    node.attribute.add(name="sparses").sparse_tensors.add().indices.CopyFrom(external("6"))
    node.attribute.add(name="then").g.initializer.append(external("7"))
    node.attribute.add(name="all").graphs.add().node.add().attribute.add().t.CopyFrom(external("8"))
    function = model.functions.add(name="f")
    function.node.add().attribute.add().t.CopyFrom(external("9"))
    function.attribute_proto.append(AttributeProto(name="default", t=external("10")))
    training = model.training_info.add()
    training.initialization.initializer.append(external("11"))
    training.algorithm.initializer.append(external("12"))
    return model


def test_every_place_of_a_tensor_is_found() -> None:
    assert external_files(everywhere().SerializeToString()) == {str(n) for n in range(13)}
    assert external_files(bundles.graph()) == set()
    assert external_files(bundles.graph("a", "b", "a")) == {"a", "b"}


def test_no_message_of_onnx_is_forgotten() -> None:
    """Every field of the installed ONNX's messages that can lead to a tensor is one we enter."""
    from runtime.bundle.onnx_files import _INSIDE

    kinds = {
        "model": "ModelProto",
        "training": "TrainingInfoProto",
        "graph": "GraphProto",
        "function": "FunctionProto",
        "node": "NodeProto",
        "attribute": "AttributeProto",
        "sparse": "SparseTensorProto",
        "tensor": "TensorProto",
    }
    short = {name: kind for kind, name in kinds.items()}
    for kind, name in kinds.items():
        fields = getattr(onnx, name).DESCRIPTOR.fields
        expected = {
            field.number: short[field.message_type.name]
            for field in fields
            if field.message_type is not None and field.message_type.name in short
        }
        if kind == "tensor":
            expected = {13: "entry"}
        assert _INSIDE[kind] == expected, name


def test_the_last_value_of_a_field_counts_as_in_protobuf() -> None:
    entry = b"\x0a\x08location\x12\x04good\x12\x03bad"
    tensor = b"\x6a" + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    model = b"\x3a" + bytes([len(graph)]) + graph
    parsed = ModelProto.FromString(model).graph.initializer[0].external_data[0]
    assert (parsed.key, parsed.value) == ("location", "bad")
    assert external_files(model) == {"bad"}
    longer = model.replace(b"\x0a\x08location", b"\x8a\x00\x88\x80\x00location")  # the same numbers
    longer = bytes([0x3A, len(graph) + 3, 0x2A, len(tensor) + 3, 0x6A, len(entry) + 3]) + longer[6:]
    assert ModelProto.FromString(longer).graph.initializer[0].external_data[0].key == "location"
    assert external_files(longer) == {"bad"}


def test_damage_is_a_value_error() -> None:
    """Bytes that protobuf itself reads are never refused for less than what it would name."""
    whole = everywhere().SerializeToString()
    numbers = random.Random(0)
    refused = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(numbers.randint(1, 3)):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        try:
            external_files(bytes(data[: numbers.randint(1, len(data))]))
        except ValueError:
            refused += 1
    assert 500 < refused < 3000


def test_deep_graphs_end() -> None:
    graph = GraphProto()
    for _ in range(40):
        outer = GraphProto()
        outer.node.add().attribute.add().g.CopyFrom(graph)
        graph = outer
    model = b"\x3a" + _length(graph.ByteSize()) + graph.SerializeToString()
    with pytest.raises(ValueError, match="nested too deeply"):
        external_files(model)


def _length(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])
