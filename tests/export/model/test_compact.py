"""The compact weights that come with the package, and files like theirs."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from export.model import checkpoint
from export.model.checkpoint import COMPACT_FILE, build_network, load_weights
from export.model.safetensors_file import LARGEST
from export.model.synthetic import synthetic_state
from runtime import CheckpointError
from runtime.bundle.weights import COMPACT_SHA256

State = dict[str, torch.Tensor]
NARROW = {"format": "dmdnet-compact", "version": "1", "width": "8", "entries": "2", "steps": "1"}


@pytest.fixture(scope="module")
def narrow() -> State:
    """The folded tensors of a narrow network, float16."""
    network = build_network(synthetic_state(width=8, entries=2), "narrow")
    return {name: tensor.half() for name, tensor in network.state_dict().items()}


def test_the_compact_weights() -> None:
    weights = load_weights("compact")
    assert (weights.network.width, weights.network.entries) == (16, 16)
    assert (weights.record.source, weights.record.kind) == ("compact", "compact")
    assert weights.record.sha256 == COMPACT_SHA256
    state = weights.network.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 5_963_017  # of the model card
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert not any(tensor.requires_grad for tensor in weights.network.parameters())


def test_the_model_card_names_the_file() -> None:
    card = COMPACT_FILE.with_name("README.md").read_text()
    assert COMPACT_SHA256 in card
    assert f"{COMPACT_FILE.stat().st_size:,}" in card


@pytest.mark.shared
def test_the_package_has_the_file_that_was_given(shared: Path) -> None:
    given = shared / "models" / "compact" / COMPACT_FILE.name
    assert COMPACT_FILE.read_bytes() == given.read_bytes()


def test_a_file_of_ones_own(narrow: State, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(save(narrow, NARROW))
    weights = load_weights(str(tmp_path / "mine.safetensors"))
    digest = hashlib.sha256((tmp_path / "mine.safetensors").read_bytes()).hexdigest()
    assert (weights.record.source, weights.record.kind) == ("mine.safetensors", "other")
    assert weights.record.sha256 == digest
    state = weights.network.state_dict()
    assert state.keys() == narrow.keys()
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in narrow.items())


def test_a_copy_of_the_compact_weights_is_known(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(COMPACT_FILE.read_bytes())
    assert load_weights(str(tmp_path / "copy")).record.kind == "compact"


@pytest.mark.parametrize("place", [-5_000_001, "26000+4000", "steps"])
def test_one_byte_changed(place: int | str, tmp_path: Path) -> None:
    """One of some weight's lowest bits, or one of what the file says about its training."""
    data = bytearray(COMPACT_FILE.read_bytes())
    data[data.index(place.encode()) if isinstance(place, str) else place] ^= 1
    (tmp_path / "copy.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"copy\.safetensors: .*SHA-256 is .* damaged"):
        load_weights(str(tmp_path / "copy.safetensors"))


def test_a_damaged_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "compact.safetensors"
    monkeypatch.setattr(checkpoint, "COMPACT_FILE", broken)
    for data in (None, COMPACT_FILE.read_bytes()[:-1]):
        if data is not None:
            broken.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"missing or damaged.*install"):
            load_weights("compact")


def _metadata(**changes: str) -> Callable[[State], bytes]:
    return lambda state: save(state, NARROW | changes)


def _tensor(name: str, tensor: torch.Tensor) -> Callable[[State], bytes]:
    return lambda state: save(state | {name: tensor}, NARROW)


def _without(name: str) -> Callable[[State], bytes]:
    return lambda state: save({n: t for n, t in state.items() if n != name}, NARROW)


def _header(text: str) -> Callable[[State], bytes]:
    return lambda _: len(text).to_bytes(8, "little") + text.encode()


WRONG: list[tuple[Callable[[State], bytes], str]] = [
    (_metadata(width="16"), "says width 16 and 2 entries, but its tensors look like width 8 and 2"),
    (_metadata(entries="3"), "says width 8 and 3 entries, but its tensors look like width 8 and 2"),
    (_metadata(width="9"), "a width is a multiple of 4"),
    (_metadata(width="999999999"), "a width is a multiple of 4"),
    (_metadata(width="x"), "says width 'x', not a number"),
    (_metadata(width="\u00b2"), "not a number"),
    (_metadata(entries=""), "says entries '', not a number"),
    (_metadata(entries="0"), "there are 1 to 4096 entries"),
    (_metadata(format="pt"), "of format 'pt'.*not of 'dmdnet-compact'"),
    (_metadata(version="2"), "version '2', and not"),
    (lambda state: save(state), "of format 'None'"),
    (_without("up4.4.bias"), r"missing up4\.4\.bias"),
    (_tensor("extra", torch.zeros(1)), "surplus extra"),
    (_tensor("up4.4.bias", torch.zeros(4)), r"up4\.4\.bias is 4, not 3"),
    (
        _tensor("up4.4.bias", torch.full((3,), torch.nan)),
        r"up4\.4\.bias holds numbers that are not",
    ),
    (_tensor("up4.4.bias", torch.zeros(3, dtype=torch.int32)), r"up4\.4\.bias is of int32"),
    (_tensor("up4.4.bias", torch.zeros(3).to(torch.float8_e4m3fn)), "is of float8_e4m3fn"),
    (lambda state: save(state, NARROW)[:-1], "not a safetensors file, or damaged"),
    (lambda state: save(state, NARROW) + b"more", "not a safetensors file, or damaged"),
    (_header('{"a":'), "not a safetensors file, or damaged"),
    (_header("{" + "[" * 100_000), "not a safetensors file, or damaged"),
    (_header('{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'), "or damaged"),
    (_header(json.dumps({"__metadata__": NARROW})), "not DMDNet's weights: missing"),
    (lambda _: b"\xff" * 8 + b"{", "not a safetensors file, or damaged"),
]


@pytest.mark.parametrize(("make", "says"), WRONG)
def test_what_is_wrong_with_a_file(
    make: Callable[[State], bytes], says: str, narrow: State, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(make(narrow))
    with pytest.raises(CheckpointError, match=says) as caught:
        load_weights(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.write(b"\0" * 8 + b"{")
        file.truncate(LARGEST + 1)  # sparse: it takes no room on the disk
    with pytest.raises(CheckpointError, match="more than a safetensors file of weights has"):
        load_weights(str(tmp_path / "large"))
