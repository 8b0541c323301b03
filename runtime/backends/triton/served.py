"""What a server says of its model, and its answers, checked and as typed values.

A server is not trusted: what `dmd-triton` and Triton would not have written is a `RemoteError`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from runtime.backends.triton.address import (
    MANIFEST_PARAMETER,
    MAX_BATCH,
    MAX_REFERENCES,
    MEMORIZER,
)
from runtime.bundle.manifest import Manifest
from runtime.bundle.typed_json import convert
from runtime.errors import RemoteError

_TYPES = {"uint8": "UINT8", "float16": "FP16", "float32": "FP32"}
_SHOWN = 80  # characters of what a server says, in a message

Number = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,4}$(?!\n)")]


@dataclass(frozen=True)
class _Parameters:
    manifest: str
    memorizer: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,100}$(?!\n)")]
    max_batch: Number
    max_references: Number


@dataclass(frozen=True)
class Served:
    """A served model: its bundle's manifest, its memorizer's name, and the largest request."""

    manifest: Manifest
    memorizer: str
    max_batch: int  # faces in one request
    max_references: int  # rows of dictionaries in one request


def read_parameters(url: str, parameters: Mapping[str, str]) -> Served:
    """Read the parameters of a model's configuration. Raises `RemoteError` that names the `url`."""
    wanted = (MANIFEST_PARAMETER, MEMORIZER, MAX_BATCH, MAX_REFERENCES)
    if not all(parameters.get(key) for key in wanted):
        raise RemoteError(f"{url}: not a model that dmd-triton wrote (it has no manifest)")
    try:
        read = convert({key: parameters[key] for key in wanted}, _Parameters)
    except ValueError as error:
        raise RemoteError(f"{url}: the model's parameters are unusable: {error}") from None
    try:
        manifest = Manifest.from_json(read.manifest)
    except ValueError as error:
        raise RemoteError(f"{url}: the model's manifest is unusable: {error}") from None
    return Served(manifest, read.memorizer, int(read.max_batch), int(read.max_references))


def newest(url: str, versions: list[str]) -> str:
    """The highest version number. Raises `RemoteError` if there is none, or one is no number."""
    numbers = [version for version in versions if re.fullmatch("[0-9]{1,18}", version)]
    if not numbers or len(numbers) != len(versions):
        raise RemoteError(
            f"{url}: the server names no version of the model, but {str(versions)[:_SHOWN]}"
        )
    return max(numbers, key=int)


def read_output(
    url: str, response: Any, name: str, dtype: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    """Read the output `name` of a ModelInferResponse, which must have this type and shape.

    Raises `RemoteError` for any other, and for one that is missing or has the wrong length.
    """
    for index, output in enumerate(response.outputs):
        if output.name != name:
            continue
        if output.datatype != _TYPES[dtype] or tuple(output.shape) != shape:
            found = f"{output.datatype} {tuple(output.shape[:9])}"[:_SHOWN]
            break
        contents = response.raw_output_contents
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if index < len(contents) and len(contents[index]) == nbytes:
            return np.frombuffer(contents[index], dtype).reshape(shape)
        found = "broken"
        break
    else:
        found = "missing"
    raise RemoteError(
        f"{url}: {name} in the answer is {found}, in place of {_TYPES[dtype]} {shape}"
    )
