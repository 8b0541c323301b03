"""How inputs are damaged: bytes, JSON, and formats whose checksums must be right afterwards."""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[..., Any]

NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 65535, 1 << 24, (1 << 31) - 1, 1 << 31)
BIG = (*NUMBERS, (1 << 32) - 1)
# fmt: off
FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, -1e-300, 512.0, 65504.0, 65505.0, 1e6, -1e6, 1e9,
    -1e9, 2.0**31, -(2.0**31), 2.0**63, 1e30, 3e38, -3e38, 1e300, -1e300, float("nan"),
    float("inf"), float("-inf"),
)
TEXTS = (
    "", " ", ".", "..", "../outside.onnx", "/etc/hostname", "sub/restorer.onnx",
    "a" * 300, "restorer.onnx\0", "a\nb", "\x1b[2Jcleared", "\ud800", "\u202egnp.exe",
    "C:\\x", "1.5", "-1", "1e9", "nan", "9" * 400, "x" * 20_000, "fp32", "float32",
    "float64", "object", "é", '" value { string_value: "x', "http://[x",
    "manifest.json", "memorizer.onnx", "|O", "<U9",
)
RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "9" * 5000, "-0", "1.0",
    "[" * 3000, "[" * 200_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, "\\", "tru",
    '"\\ud800"', '"\\u0000"', '{"a": 1, "a": 2}', "18446744073709551616",
    "-9223372036854775809", "1E400",
)
# fmt: on
_MARK = "raw-json-"


@st.composite
def mutated(
    draw: Draw, seeds: Sequence[bytes], hot: Callable[[bytes], Sequence[int]] | None = None
) -> bytes:
    """One of `seeds` with up to six edits: flips, numbers, cuts, copies, and truncation.

    `hot` gives positions at which edits do more, as a header's; half of the edits are there.
    """
    data = bytearray(draw(st.sampled_from(seeds)))
    places = list(hot(bytes(data))) if hot else []
    for _ in range(draw(st.integers(0, 6))):
        _edit(draw, data, places, seeds)
    return bytes(data)


def _edit(draw: Draw, data: bytearray, places: Sequence[int], seeds: Sequence[bytes]) -> None:
    size = len(data)
    if places and draw(st.booleans()):
        at = min(draw(st.sampled_from(places)), size)
    else:
        at = draw(st.integers(0, min(size, 64)) | st.integers(0, size))
    match draw(
        st.sampled_from(("bit", "byte", "word", "long", "cut", "copy", "junk", "end", "mix"))
    ):
        case "bit" if at < size:
            data[at] ^= 1 << draw(st.integers(0, 7))
        case "byte" if at < size:
            data[at] = draw(st.integers(0, 255))
        case "word":
            order = draw(st.sampled_from("<>"))
            data[at : at + 2] = struct.pack(f"{order}H", draw(st.sampled_from(NUMBERS)) & 0xFFFF)
        case "long":
            order = draw(st.sampled_from("<>"))
            data[at : at + 4] = struct.pack(f"{order}I", draw(st.sampled_from(BIG)))
        case "cut":
            del data[at : at + draw(st.integers(1, 40))]
        case "copy":
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
        case "junk":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        case "end":
            del data[at:]
        case "mix":
            data[at:] = draw(st.sampled_from(seeds))[at:]


@st.composite
def png(draw: Draw, seeds: Sequence[bytes]) -> bytes:
    """A PNG whose chunks are edited, doubled, dropped and moved, and whose check sums fit."""
    chunks = _chunks(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(chunks) - 1))
        kind, body = chunks[at]
        match draw(st.sampled_from(("edit", "double", "drop", "swap", "new"))):
            case "edit":
                chunks[at] = kind, draw(mutated([body]))
            case "double":
                chunks.insert(at, chunks[at])
            case "drop" if len(chunks) > 1:
                del chunks[at]
            case "swap":
                chunks[at], chunks[-1] = chunks[-1], chunks[at]
            case "new":
                chunks.insert(max(1, at), draw(st.sampled_from(_new_chunks())))
    return seeds[0][:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _new_chunks() -> list[tuple[bytes, bytes]]:
    bomb = zlib.compress(bytes(4 << 20))
    return [
        (b"iCCP", b"icc\0\0" + bomb),
        (b"iCCP", b"icc\0\0" + zlib.compress(b"not a profile")),
        (b"zTXt", b"text\0\0" + bomb),
        (b"iTXt", b"text\0\1\0\0\0" + bomb),
        (b"eXIf", b"II*\0" + bytes(8)),
        (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"),
        (b"acTL", struct.pack(">II", 1 << 30, 0)),
        (b"tRNS", bytes(6)),
        (b"PLTE", bytes(9)),
        (b"gAMA", bytes(4)),
        (b"cHRM", bytes(3)),
        (b"fdAT", bytes(4)),
    ]


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def hostile_values() -> st.SearchStrategy[Any]:
    """Values that no field expects; some stand for text that json itself would not write."""
    simple = st.sampled_from((None, True, False, -1, 0, 1, 1 << 31, 1 << 63, -(1 << 63), 10**30))
    raw = st.integers(0, len(RAW) - 1).map(lambda n: f"{_MARK}{n}")
    floats = st.sampled_from([number for number in FLOATS if number - number == 0])
    leaves = simple | floats | st.sampled_from(TEXTS) | raw
    return leaves | st.lists(leaves, max_size=3) | st.dictionaries(st.sampled_from(TEXTS), leaves)


@st.composite
def json_text(draw: Draw, content: Any, most: int = 3) -> str:
    """A JSON value with up to `most` edits: of values, of names, of lengths; as text."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(0, most))):
        content = _edit_json(draw, content)
    text = json.dumps(content)
    for number, raw in enumerate(RAW):
        text = text.replace(f'"{_MARK}{number}"', raw)
    return text


def _edit_json(draw: Draw, content: Any) -> Any:
    places = _places(content)
    if not places:
        return draw(hostile_values())
    inside, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(("value", "value", "drop", "rename", "new", "list", "same"))):
        case "value":
            inside[key] = draw(hostile_values())
        case "drop":
            del inside[key]
        case "rename" if isinstance(inside, dict):
            inside[draw(st.sampled_from(TEXTS))] = inside.pop(key)
        case "new" if isinstance(inside, dict):
            inside[draw(st.sampled_from(TEXTS))] = draw(hostile_values())
        case "list":
            inside[key] = [inside[key]]
        case "same":  # a value from elsewhere, of a kind that is right in another place
            other, name = draw(st.sampled_from(places))
            if name in other or isinstance(other, list):
                inside[key] = json.loads(json.dumps(other[name]))
    return content


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every (dict or list, key or index) of a JSON value."""
    found: list[tuple[Any, Any]] = []
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        found.append((content, key))
        if isinstance(value, dict | list):
            found += _places(value)
    return found
