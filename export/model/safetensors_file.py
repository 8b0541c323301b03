"""Weights in a safetensors file: spectral norm folded, width and entries in its metadata."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors
import safetensors.torch
import torch

from runtime.errors import CheckpointError

FORMAT, VERSION = "dmdnet-compact", "1"
LARGEST = 1 << 30
"""Largest file that is read, in bytes; the published network would have 0.6 GB in float32."""

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WIDEST, _MOST_ENTRIES = 256, 4096


@dataclass(frozen=True)
class FoldedWeights:
    """The content of a safetensors file; names and shapes of `state` have not been checked.

    `state`: floating-point tensors as stored, whose names should be those of
    `DMDNet(width, entries).state_dict()`. `steps`: of the training, from the metadata.
    `numbers`: the SHA-256 of the part of the file behind its header.
    """

    width: int
    entries: int
    state: dict[str, torch.Tensor]
    steps: str
    numbers: str


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins with these bytes (9 or more) looks like a safetensors file."""
    return start[8:9] == b"{"


def read_folded(data: bytes, source: str) -> FoldedWeights:
    """Read the weights from the bytes of a file; `source`: what errors call the file.

    Raises `CheckpointError` if they are no safetensors file of DMDNet's weights.
    """
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(f"{source}: not a safetensors file, or damaged ({reason})") from None
    # the library gives no metadata of bytes; it has found that this header is whole
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    metadata: dict[str, str] = header.get("__metadata__") or {}
    said = metadata.get("format"), metadata.get("version")
    if said != (FORMAT, VERSION):
        raise CheckpointError(
            f"{source}: a safetensors file of format {str(said[0])[:40]!r}, version "
            f"{str(said[1])[:20]!r}, and not of {FORMAT!r}, version {VERSION!r}"
        )
    width, entries = (_number(metadata, name, source) for name in ("width", "entries"))
    if width % 4 or not 8 <= width <= _WIDEST or not 1 <= entries <= _MOST_ENTRIES:
        raise CheckpointError(
            f"{source}: its metadata says width {width} and {entries} entries; a width is a "
            f"multiple of 4 from 8 to {_WIDEST}, and there are 1 to {_MOST_ENTRIES} entries"
        )
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"{source}: {name[:200]} is of {kind}, not of floating point")
    numbers = hashlib.sha256(memoryview(data)[end:]).hexdigest()
    return FoldedWeights(width, entries, tensors, metadata.get("steps", ""), numbers)


def _number(metadata: Mapping[str, str], name: str, source: str) -> int:
    text = metadata.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise CheckpointError(f"{source}: its metadata says {name} {text[:20]!r}, not a number")
    return int(text)
