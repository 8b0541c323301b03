"""Files of `dmd-enroll`: their header, their metadata, and their numbers."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from runtime import SpecificDictionary
from runtime.text import shown
from tests.fuzz.mutations import FLOATS, Draw, json_text, mutated
from tests.fuzz.rule import Kind

LAYOUT = "256.le.key:1x2x2 256.le.value:4x2x2"
LARGEST = 65504.0  # of float16
_COLUMNS = 20
_VECTOR = 128
_WEIGHTS = "1" * 64
# fmt: off
_LAYOUTS = (
    "", "256.le.key:1x2x2", "256.le.key:4294967296x4294967296x5", "x:-1x-1x20",
    "a:1x1x20", "256.le.key:0x0x0", f"{LAYOUT} b:0x1x1", "a:" + "9" * 5000 + "x1x1",
    "a:1e1x2x1", "a:20", "a:1x1x1x20", "a:\u0661x1x20", "a:1_0x2x1", "a: 20x1x1",
    "256.le.key:1x2x2\n256.le.value:4x2x2",
)
# fmt: on


@contextmanager
def dictionaries(folder: Path) -> Iterator[Kind]:
    """A file that is accepted holds finite numbers of a bounded size, and can be saved again."""
    path = folder / "person.safetensors"
    rows = np.linspace(-2, 2, 3 * _COLUMNS, dtype=np.float32).reshape(3, _COLUMNS)
    who = np.linspace(-0.3, 0.3, 2 * _VECTOR, dtype=np.float32).reshape(2, _VECTOR)
    SpecificDictionary(rows, LAYOUT, _WEIGHTS, "Alice", who, (0, 2)).save(path)
    whole = path.read_bytes()
    SpecificDictionary(rows.astype(np.float16), LAYOUT, _WEIGHTS).save(path)
    half = path.read_bytes()

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        person = SpecificDictionary.load(path)
        assert person.rows.dtype in (np.float32, np.float16), "rows of another type"
        numbers = person.rows.astype(np.float64)
        assert np.isfinite(numbers).all(), "numbers that are not finite"
        assert np.abs(numbers).max(initial=0) <= LARGEST, "numbers over the bound"
        assert person.vectors.dtype == np.float32, "vectors of another type"
        assert person.vectors.shape == (len(person.vector_rows), _VECTOR), "vectors of another size"
        assert np.isfinite(person.vectors).all(), "vectors that are not finite"
        assert set(person.vector_rows) <= set(range(len(person))), "vectors of no reference"
        assert person.name == shown(person.name), "a name that a terminal does not stand"
        assert person.merge(person).rows.shape[0] == 2 * len(person)
        assert len(person.merge(person).vectors) == 2 * len(person.vectors)
        assert len(person[:1]) == 1
        again = folder / "again.safetensors"
        person.save(again)
        assert np.array_equal(SpecificDictionary.load(again).rows, person.rows)
        person.rows_for(LAYOUT, _WEIGHTS, np.dtype(np.float16))

    yield Kind(_inputs([whole, half]), attempt)


@st.composite
def _inputs(draw: Draw, seeds: list[bytes]) -> bytes:
    data: bytes = draw(st.sampled_from(seeds))
    (size,) = struct.unpack("<Q", data[:8])
    header, numbers = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
    match draw(st.sampled_from(("bytes", "header", "metadata", "numbers", "layout"))):
        case "bytes":
            return bytes(draw(mutated(seeds)))
        case "header":
            return _file(draw(json_text(header)), numbers)
        case "metadata":
            metadata = draw(json_text(header["__metadata__"]))
            del header["__metadata__"]
            text = json.dumps(header).removesuffix("}")
            return _file(f'{text}, "__metadata__": {metadata}}}', numbers)
        case "layout":
            header["__metadata__"]["layout"] = draw(st.sampled_from(_LAYOUTS) | st.text())
            return _file(json.dumps(header), numbers)
    tensor = header[draw(st.sampled_from([name for name in header if header[name].get("shape")]))]
    kind = {"F32": "f", "F16": "e", "I64": "q"}[tensor["dtype"]]
    start, end = tensor["data_offsets"]
    for _ in range(draw(st.integers(1, 3)) if end > start else 0):
        count = (end - start) // struct.calcsize(kind)
        at = start + struct.calcsize(kind) * draw(st.integers(0, count - 1))
        numbers[at : at + struct.calcsize(kind)] = _packed(kind, draw(st.sampled_from(FLOATS)))
    return _file(json.dumps(header), numbers)


def _packed(kind: str, number: float) -> bytes:
    if kind == "q":
        return struct.pack("<q", int(number) % 2**63 if np.isfinite(number) else -1)
    dtype: Any = np.float32 if kind == "f" else np.float16
    with np.errstate(over="ignore"):
        return bytes(np.array(number).astype(dtype).tobytes())


def _file(header: str, numbers: bytes | bytearray) -> bytes:
    text = header.encode(errors="surrogatepass")
    return struct.pack("<Q", len(text)) + text + bytes(numbers)
