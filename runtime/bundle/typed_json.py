"""JSON from outside as typed values: manifests and engine records are read here and nowhere else.

The dataclasses of `manifest` and `engine_record` say with `Annotated` what each field may be;
msgspec checks it. Whatever is wrong is a ValueError in one line, which the caller turns into the
error that names the file or the server.
"""

import json
import stat
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

LONGEST = 4 << 20
"""Largest manifest or record that is read, in bytes; ours have some thousand."""

_DEEPEST = 32  # objects and arrays inside each other
_PLAIN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"

# `$` alone would allow a line end after the text
FileName = Annotated[str, Meta(pattern=rf"^{_PLAIN}$(?!\n)", description="plain, without folder")]
TensorName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,63}$(?!\n)")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Size = Annotated[int, Meta(ge=0, le=1 << 40, description="bytes")]
Count = Annotated[int, Meta(ge=0, le=1 << 31)]
Text = Annotated[str, Meta(max_length=10_000)]
Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+00:00$(?!\n)", description="UTC, ISO 8601"
    ),
]
Precision = Annotated[str, Meta(pattern=r"^(fp32|fp16|int8)$(?!\n)")]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T", bound="DataclassInstance")


def read_text(path: Path) -> str:
    """The text of a small file. Raises OSError, and ValueError for one that cannot be JSON."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"it has more than {LONGEST >> 20} MiB")
    return data.decode()


def parse_object(text: str) -> dict[str, Any]:
    """Parse a JSON text that must be an object, with finite numbers only and no key twice.

    Raises ValueError.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has more than {LONGEST >> 20} MiB")
    try:
        content = json.loads(
            text, object_pairs_hook=_object, parse_constant=_finite, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    level: list[Any] = [content]
    for _ in range(_DEEPEST):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise ValueError("it is nested too deeply")
    return content


def convert(content: dict[str, Any], kind: type[_T]) -> _T:
    """Convert a parsed object to the dataclass `kind`.

    Raises ValueError that names a field which is wrong, missing or unknown.
    """
    value = msgspec.convert(content, kind)
    _refuse_unknown(content, asdict(value), "")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"{key[:60]!r} is given twice")
        content[key] = value
    return content


def _finite(text: str) -> float:
    number = float(text)
    if not abs(number) < float("inf"):
        raise ValueError(f"a number is not finite: {text[:20]}")
    return number


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse_unknown(given: Any, known: Any, place: str) -> None:
    """msgspec reads past fields that a dataclass does not have; here they are an error."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in known:
                raise ValueError(f"unknown field {key[:60]!r}{f' in {place}' if place else ''}")
            _refuse_unknown(value, known[key], f"{place}.{key}".lstrip("."))
    elif isinstance(given, list):
        for index, (one, other) in enumerate(zip(given, known, strict=True)):
            _refuse_unknown(one, other, f"{place}[{index}]")
