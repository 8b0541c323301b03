"""Which files beside itself an ONNX file names: its external data, found without the onnx package.

ONNX Runtime and TensorRT read these names and open them, so a bundle may name only listed files.
Nothing of the graph is interpreted: only the messages are entered that can hold a tensor.
"""

from collections.abc import Iterator

# for each protobuf message of onnx.proto3, the fields that lead to a tensor, by number
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_DEEPEST = 100  # messages inside each other, as protobuf itself allows
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_files(model: bytes) -> set[str]:
    """The names of external data that an ONNX file's tensors give.

    Raises ValueError for bytes that are not an ONNX file, and for a name that is not text.
    """
    found = set()
    entered = [("model", _fields(memoryview(model)))]
    while entered:
        kind, fields = entered[-1]
        for number, content in fields:
            inside = _INSIDE[kind].get(number)
            if inside == "entry":
                key, value = _entry(content)
                if key == "location":
                    found.add(value)
            elif inside is not None:
                if len(entered) >= _DEEPEST:
                    raise ValueError("its graphs are nested too deeply")
                entered.append((inside, _fields(content)))
                break
        else:
            entered.pop()
    return found


def _entry(message: memoryview) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto; of a field given twice, the last counts."""
    texts = {number: bytes(content).decode() for number, content in _fields(message)}
    return texts.get(1, ""), texts.get(2, "")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that have a length: (number, content)."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, place = _varint(message, place)
        elif wire == _BYTES:
            length, place = _varint(message, place)
            if place + length > end:
                raise ValueError("it is not an ONNX file, or cut short")
            yield number, message[place : place + length]
            place += length
        elif wire in (_FIXED32, _FIXED64):
            place += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("it is not an ONNX file")
    if place != end:
        raise ValueError("it is not an ONNX file, or cut short")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of protobuf's, and where it ends."""
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise ValueError("it is not an ONNX file, or cut short")
