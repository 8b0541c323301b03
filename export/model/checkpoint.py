"""Find the network's weights, and load them strictly.

A checkpoint is a path, a URL, `compact` or `synthetic`. By default it is the authors' published
file, which is downloaded once into the user's cache directory. Their licence is CC BY-NC-SA 4.0.
The compact weights come with this package (export/model/weights/README.md).
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import torch

from export.model.download import Source, download, is_url
from export.model.network import DMDNet, checkpoint_shapes
from export.model.safetensors_file import LARGEST as LARGEST_SAFETENSORS
from export.model.safetensors_file import is_safetensors, read_folded
from export.model.synthetic import synthetic_state
from export.model.torch_file import read_tensors
from runtime.bundle.weights import (
    COMPACT,
    COMPACT_SHA256,
    PUBLISHED_SHA256,
    SYNTHETIC,
    WeightsRecord,
    kind_of,
)
from runtime.errors import CheckpointError
from runtime.storage.local import sha256_of

Shape = tuple[int, ...]

PUBLISHED_URL = "https://github.com/csxmli2016/DMDNet/releases/download/v1/DMDNet.pth"
ENVIRONMENT = "DMDNET_CHECKPOINT"
COMPACT_FILE = Path(__file__).parent / "weights" / "compact.safetensors"
SYNTHETIC_SEED = 0

# a file whose metadata names these steps, or whose numbers have this SHA-256, is the compact file
# or a damaged copy of it
_COMPACT_STEPS = "26000+4000"
_COMPACT_NUMBERS = "3447096db2360ceb4e45d3b08d2eba07ec9e6d447c35235cfec70fa8b86f5c34"

# O_NONBLOCK: a pipe is refused without waiting for whoever would write into it
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Weights:
    """A float32 network in evaluation mode, and where its weights came from."""

    network: DMDNet
    record: WeightsRecord


def load_weights(checkpoint: str | None = None) -> Weights:
    """Load `checkpoint`: path, URL, `compact` or `synthetic`.

    None: what `DMDNET_CHECKPOINT` names, or the published weights. A file is PyTorch's, in the
    published format, or safetensors, as `export.model.safetensors_file` says. Nothing in it is
    executed, and loading it takes no more memory than its size warrants.

    Raises `CheckpointError`, and `CheckpointUnavailableError` when a download fails or the server
    sends something else.
    """
    if checkpoint is None:
        checkpoint = os.environ.get(ENVIRONMENT) or PUBLISHED_URL
    if checkpoint == SYNTHETIC:
        state = synthetic_state(SYNTHETIC_SEED)
        record = WeightsRecord(f"synthetic, seed {SYNTHETIC_SEED}", _hash_tensors(state), SYNTHETIC)
        return Weights(build_network(state, SYNTHETIC), record)
    if checkpoint == COMPACT:
        if not COMPACT_FILE.is_file() or sha256_of(COMPACT_FILE) != COMPACT_SHA256:
            raise CheckpointError(
                f"{COMPACT_FILE}: missing or damaged: its SHA-256 is not {COMPACT_SHA256}; install "
                "dmdnet-runtime again"
            )
        return _read(COMPACT_FILE, COMPACT)
    if not is_url(checkpoint):
        path = Path(checkpoint)
        return _read(path, path.name)
    source = Source.parse(checkpoint, PUBLISHED_SHA256 if checkpoint == PUBLISHED_URL else None)
    path = download(source, lambda path: _read(path, source.shown))
    try:
        return _read(path, source.shown)
    except CheckpointError as error:  # cached by a version that did not look into it
        raise CheckpointError(f"{error}; remove this file, and it is downloaded again") from None


def build_network(state: dict[str, torch.Tensor], source: str) -> DMDNet:
    """Build a network from the tensors of `state`, which are in the published checkpoint's format.

    Width and number of dictionary entries follow from the tensors' shapes. `source`: what errors
    call the checkpoint. Raises `CheckpointError` if tensors are missing, surplus or mis-shaped
    (the first of them are named), or hold numbers that are not finite.
    """
    network = _network_of(_shapes(state), source)
    _refuse_not_finite(state, source)
    folded = _fold_spectral_norm(state)
    wrong = [name for name, tensor in folded.items() if not torch.isfinite(tensor).all()]
    if wrong:
        raise CheckpointError(f"{source}: {wrong[0]} has no usable spectral norm")
    return _filled(network, folded)


def _network_of(shapes: Mapping[str, Shape], source: str) -> DMDNet:
    """The network, still without numbers, whose checkpoint has exactly these names and shapes."""
    network = _empty(*(_size(shapes) or (64, 128)))  # else the published size
    _compare(shapes, checkpoint_shapes(network), source)
    return network


def _compare(shapes: Mapping[str, Shape], expected: Mapping[str, Shape], source: str) -> None:
    """Raise `CheckpointError` that lists the first missing, surplus and mis-shaped names."""
    wrong = [f"missing {name}" for name in expected if name not in shapes]
    wrong += [f"surplus {name}" for name in shapes if name not in expected]
    wrong += [
        f"{name} is {_times(shapes[name])}, not {_times(shape)}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise CheckpointError(f"{source}: not DMDNet's weights: {'; '.join(wrong[:4])}{more}")


def _empty(width: int, entries: int) -> DMDNet:
    with torch.device("meta"):
        return DMDNet(width, entries)


def _filled(network: DMDNet, state: dict[str, torch.Tensor]) -> DMDNet:
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _refuse_not_finite(state: Mapping[str, torch.Tensor], source: str) -> None:
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{source}: {name} holds numbers that are not finite")


def _read(path: Path, source: str) -> Weights:
    """The checkpoint at `path`; `source`: what the record calls it."""
    with _opened(path) as file:
        try:
            start = file.read(9)
            file.seek(0)
            if is_safetensors(start):
                return _read_safetensors(file, path, source)
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # of the file that is loaded
            state = read_tensors(file, str(path), lambda shapes: _network_of(shapes, str(path)))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    return Weights(build_network(state, str(path)), WeightsRecord(source, digest, kind_of(digest)))


def _read_safetensors(file: BufferedReader, path: Path, source: str) -> Weights:
    """The weights in an open safetensors file. Raises `CheckpointError` and OSError."""
    data = file.read(LARGEST_SAFETENSORS + 1)
    if len(data) > LARGEST_SAFETENSORS:
        raise CheckpointError(
            f"{path}: over {LARGEST_SAFETENSORS} bytes, more than a safetensors file of weights has"
        )
    found = read_folded(data, str(path))
    shapes = _shapes(found.state)
    said = found.width, found.entries
    size = _size(shapes) or said
    if size != said:
        raise CheckpointError(
            f"{path}: its metadata says width {said[0]} and {said[1]} entries, but its tensors "
            f"look like width {size[0]} and {size[1]} entries; the file was altered"
        )
    network = _empty(*said)
    _compare(shapes, _shapes(network.state_dict()), str(path))
    _refuse_not_finite(found.state, str(path))
    digest = hashlib.sha256(data).hexdigest()
    compact = found.steps == _COMPACT_STEPS or found.numbers == _COMPACT_NUMBERS
    if compact and digest != COMPACT_SHA256:
        raise CheckpointError(
            f"{path}: these should be the compact weights, but its SHA-256 is {digest}, not "
            f"{COMPACT_SHA256}; the file was damaged: copy it again, or use `compact`"
        )
    state = {name: tensor.float() for name, tensor in found.state.items()}
    return Weights(_filled(network, state), WeightsRecord(source, digest, kind_of(digest)))


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        number = os.open(path, _READ)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # NUL, or what no file's name can hold
        raise CheckpointError(f"{str(path)!r}: not a file name") from None
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise CheckpointError(f"{path}: {what}, not a checkpoint file")
    with os.fdopen(number, "rb") as file:
        yield file


def _size(shapes: Mapping[str, Shape]) -> tuple[int, int] | None:
    """Width and entries that the shapes suggest; None where they suggest nothing."""
    width, entries = shapes.get("E_lq.conv1.0.bias", ()), shapes.get("le_256_mem_key", ())
    if len(width) != 1 or len(entries) != 4 or width[0] % 4 or not 8 <= width[0] <= 256:
        return None
    return width[0], max(1, entries[0])


def _fold_spectral_norm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """weight = weight_orig / sigma, sigma = u . (W v) with the stored vectors as they are."""
    folded: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("weight_orig"):
            layer = name.removesuffix("weight_orig")
            matrix = tensor.double().flatten(1)
            sigma = state[f"{layer}weight_u"].double() @ (
                matrix @ state[f"{layer}weight_v"].double()
            )
            folded[f"{layer}weight"] = (tensor.double() / sigma).float()
        elif not name.endswith(("weight_u", "weight_v")):
            folded[name] = tensor
    return folded


def _hash_tensors(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {_times(tensor.shape)} ".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape))
