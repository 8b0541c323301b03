"""Weights: where they come from, and loading them strictly.

A checkpoint is a path, a URL, or `synthetic`. By default it is the authors' published file, which
is downloaded once into the user's cache directory. Their licence is CC BY-NC-SA 4.0.
"""

import hashlib
import os
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs
import torch

from export.model.network import DMDNet, checkpoint_shapes
from export.model.synthetic import synthetic_state
from runtime.bundle.manifest import PUBLISHED_SHA256, WeightsRecord
from runtime.errors import CheckpointError, CheckpointUnavailableError
from runtime.storage.local import sha256_of

PUBLISHED_URL = "https://github.com/csxmli2016/DMDNet/releases/download/v1/DMDNet.pth"
ENVIRONMENT = "DMDNET_CHECKPOINT"
SYNTHETIC = "synthetic"
SYNTHETIC_SEED = 0

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Weights:
    """A float32 network in evaluation mode, and where its weights came from."""

    network: DMDNet
    record: WeightsRecord


def load_weights(checkpoint: str | None = None) -> Weights:
    """Load `checkpoint`: path, URL or `synthetic`; None: `DMDNET_CHECKPOINT`, or the published.

    Raises `CheckpointError`, and `CheckpointUnavailableError` when a download fails.
    """
    checkpoint = checkpoint or os.environ.get(ENVIRONMENT) or PUBLISHED_URL
    if checkpoint == SYNTHETIC:
        state = synthetic_state(SYNTHETIC_SEED)
        record = WeightsRecord(f"synthetic, seed {SYNTHETIC_SEED}", _hash_tensors(state), True)
        return Weights(build_network(state, SYNTHETIC), record)
    url = urlsplit(checkpoint)
    if url.scheme in ("http", "https"):
        path = download(checkpoint)
        source = f"{url.scheme}://{url.hostname}{url.path}"  # without any password or token
    else:
        path = Path(checkpoint)
        source = path.name
    state = _read(path)
    record = WeightsRecord(source, sha256_of(path), False)
    return Weights(build_network(state, str(path)), record)


def build_network(state: dict[str, torch.Tensor], source: str) -> DMDNet:
    """A network with exactly the tensors of `state`, in the published checkpoint's format.

    Width and number of dictionary entries are read off the tensors. Raises `CheckpointError` that
    lists the first missing, surplus or mis-shaped names.
    """
    with torch.device("meta"):
        network = DMDNet(*_size(state))
    expected = checkpoint_shapes(network)
    wrong = [f"missing {name}" for name in expected if name not in state]
    wrong += [f"surplus {name}" for name in state if name not in expected]
    wrong += [
        f"{name} is {_times(state[name].shape)}, not {_times(shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    wrong += [
        f"{name} holds numbers that are not finite"
        for name in expected
        if name in state and not torch.isfinite(state[name]).all()
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise CheckpointError(f"{source}: not DMDNet's weights: {'; '.join(wrong[:4])}{more}")
    network.load_state_dict(_fold_spectral_norm(state), assign=True)
    return network.eval().requires_grad_(False)


def download(url: str) -> Path:
    """The cached file of `url`, downloaded or resumed if need be; the published one is verified.

    Raises `CheckpointUnavailableError` that says where to put the file.
    """
    name = Path(urlsplit(url).path).name or "checkpoint.pth"
    expected = PUBLISHED_SHA256 if url == PUBLISHED_URL else None
    if expected is None:
        name = f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    target = Path(platformdirs.user_cache_dir("dmdnet-runtime")) / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{name}.part")
        try:
            _fetch(url, partial)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise CheckpointUnavailableError(
                f"cannot download {url} ({reason}); get the file elsewhere and put it at {target}, "
                f"or name it with --checkpoint or {ENVIRONMENT}"
            ) from None
        if expected and sha256_of(partial) != expected:
            partial.unlink()
            raise CheckpointUnavailableError(
                f"{url}: the download's SHA-256 is not {expected}; it was removed, try again"
            )
        partial.replace(target)
    elif expected and sha256_of(target) != expected:
        raise CheckpointError(f"{target}: its SHA-256 is not {expected}; remove the file")
    return target


def _fetch(url: str, partial: Path) -> None:
    """Download to `partial`, going on where an earlier attempt stopped if the server can."""
    from tqdm import tqdm

    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the range starts at the end: everything is there
            raise
        return
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(
            total=total, initial=have, unit="B", unit_scale=True, desc=partial.stem, disable=None
        )
        with partial.open("ab" if resumed else "wb") as file, bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and partial.stat().st_size != total:
        raise OSError(f"the connection broke after {partial.stat().st_size} of {total} bytes")


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # many classes, and texts that advise to execute the file
        raise CheckpointError(
            f"{path}: not a PyTorch file of plain tensors ({type(error).__name__} in torch.load)"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
        for name, tensor in state.items()
    ):
        raise CheckpointError(f"{path}: not a state dict (names with floating-point tensors)")
    return {name: tensor.float() for name, tensor in state.items()}


def _size(state: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Width and entries that the tensors suggest; the published ones where they suggest nothing."""
    width, entries = state.get("E_lq.conv1.0.bias"), state.get("le_256_mem_key")
    if width is None or entries is None or width.ndim != 1 or entries.ndim != 4:
        return 64, 128
    if width.numel() % 4 or not 8 <= width.numel() <= 256:
        return 64, 128
    return width.numel(), max(1, entries.shape[0])


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


def _times(shape: tuple[int, ...] | torch.Size) -> str:
    return " x ".join(map(str, shape))
