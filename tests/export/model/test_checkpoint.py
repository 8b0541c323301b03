import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from export.model.checkpoint import build_network, load_weights
from export.model.synthetic import synthetic_state
from runtime import CheckpointError
from runtime.storage.local import sha256_of

State = dict[str, torch.Tensor]


@pytest.fixture
def state() -> State:
    return synthetic_state(width=8, entries=2)


def test_size_is_read_off_the_tensors(state: State) -> None:
    network = build_network(state, "x")
    assert (network.width, network.entries) == (8, 2)


def test_spectral_norm_is_folded(state: State) -> None:
    plain = build_network(state, "x").MSDilate.convi.weight
    torch.testing.assert_close(plain, state["MSDilate.convi.weight_orig"], atol=1e-5, rtol=0)
    state["MSDilate.convi.weight_u"] *= 4  # sigma = u . (W v) becomes 4
    quarter = build_network(state, "x").MSDilate.convi.weight
    torch.testing.assert_close(quarter * 4, plain)


def test_missing_surplus_and_misshaped_names_are_listed(state: State) -> None:
    del state["up1.conv1.0.bias"]
    state["extra"] = torch.zeros(1)
    state["up4.4.bias"] = torch.zeros(4)
    with pytest.raises(
        CheckpointError,
        match=r"missing up1\.conv1\.0\.bias; surplus extra; up4\.4\.bias is 4, not 3",
    ):
        build_network(state, "file")


def test_only_the_first_wrong_names_are_listed() -> None:
    with pytest.raises(CheckpointError, match="and 1010 more"):
        build_network({}, "file")


def test_numbers_must_be_finite(state: State) -> None:
    state["up4.4.bias"][0] = float("nan")
    with pytest.raises(CheckpointError, match=r"up4\.4\.bias holds numbers that are not finite"):
        build_network(state, "file")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('executed')",))


def test_nothing_is_executed(tmp_path: Path) -> None:
    savers: dict[str, Callable[..., None]] = {"pickle": pickle.dump, "torch": torch.save}
    for name, save in savers.items():
        with (tmp_path / name).open("wb") as file:
            save({"a": Evil()}, file)
        with pytest.raises(CheckpointError, match=f"{name}: not a"):
            load_weights(str(tmp_path / name))


def test_what_is_no_checkpoint_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it
    (tmp_path / "empty.pth").touch()
    for name, says in (
        (str(tmp_path / "none.pth"), "no such checkpoint"),
        (str(tmp_path / "empty.pth"), "not a PyTorch file"),
        (str(tmp_path), "a folder, not a"),
        (str(tmp_path / "pipe"), "a pipe or device, not a"),
        ("/dev/zero", "a pipe or device, not a"),
        (str(tmp_path / ("x" * 300)), "cannot be read: File name too long"),
        ("a\0b", "not a file name"),
        ("\ud800", "not a file name"),
        ("", "a folder"),  # and not the default
    ):
        with pytest.raises(CheckpointError, match=says):
            load_weights(name)


def test_the_folded_weights_must_be_finite(state: State) -> None:
    state["up4.4.weight_u"][:] = 0
    with pytest.raises(CheckpointError, match=r"file: up4\.4\.weight has no usable spectral norm"):
        build_network(state, "file")


def test_environment_names_the_default(
    narrow_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMDNET_CHECKPOINT", str(narrow_checkpoint))
    weights = load_weights()
    assert weights.record.sha256 == sha256_of(narrow_checkpoint)
    assert (weights.record.source, weights.record.kind) == ("narrow.pth", "other")
    assert not weights.network.training
