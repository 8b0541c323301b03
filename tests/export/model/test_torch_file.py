"""Files that state more than they hold, or hold other things than tensors."""

import random
import resource
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from export.model.network import DMDNet, checkpoint_shapes
from export.model.synthetic import synthetic_state
from export.model.torch_file import read_tensors
from runtime import CheckpointError
from tests.conftest import ROOT

State = dict[str, torch.Tensor]
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])


@pytest.fixture(scope="module")
def state() -> State:
    return synthetic_state(width=8, entries=2)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., State]:
    """What is read of what `torch.save` wrote."""

    def round_trip(value: object, zipped: bool = True) -> State:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tensors in beta state
            torch.save(value, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        return read_file(tmp_path / "x.pth")

    return round_trip


def read_file(path: Path) -> State:
    with path.open("rb") as file:
        return read_tensors(file, path.name, dict)


def flat(state: State) -> State:
    """All tensors as parts of one storage."""
    numbers = torch.cat([tensor.flatten() for tensor in state.values()])
    found: State = {}
    start = 0
    for name, tensor in state.items():
        found[name] = numbers[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    return found


def with_metadata(state: State) -> State:
    ordered = OrderedDict(state)
    ordered._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]  # as PyTorch's modules do
    return ordered


@FORMATS
@pytest.mark.parametrize(
    "change",
    [
        dict,
        with_metadata,
        flat,
        lambda state: {name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
        lambda state: {name: tensor.double() for name, tensor in state.items()},
        lambda state: {name: tensor.mT.contiguous().mT if tensor.ndim > 1 else tensor
                       for name, tensor in state.items()},
    ],
    ids=["plain", "ordered", "flat", "parameters", "double", "transposed"],
)  # fmt: skip
def test_what_was_saved_is_read(
    read: Callable[..., State], state: State, change: Callable[[State], State], zipped: bool
) -> None:
    found = read(change(state), zipped)
    assert list(found) == list(state)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert all(tensor.is_contiguous() for tensor in found.values())
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(
    read: Callable[..., State], state: State, dtype: torch.dtype, zipped: bool
) -> None:
    half = {name: tensor.to(dtype) for name, tensor in state.items()}
    found = read(half, zipped)
    assert all(torch.equal(found[name], tensor.float()) for name, tensor in half.items())


class Subclass(torch.Tensor):
    pass


ODD: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "expanded": (lambda: torch.zeros(1).expand(3), "an expanded tensor"),
    "overlapping": (lambda: torch.zeros(9).as_strided((3, 2), (1, 1)), "overlaps itself"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "_rebuild_sparse_tensor"),
    "compressed rows": (lambda: torch.eye(3).to_sparse_csr(), "_rebuild_sparse_tensor"),
    "meta": (lambda: torch.zeros(3, device="meta"), "_rebuild_meta_tensor"),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
        "_rebuild_qtensor",
    ),
    "complex": (lambda: torch.zeros(3, dtype=torch.complex64), "a tensor of ComplexFloatStorage"),
    "nested": (
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(1)]),
        "_rebuild_nested_tensor",
    ),
    "subclass": (lambda: torch.zeros(3).as_subclass(Subclass), "_rebuild_from_type_v2"),
    "negated": (lambda: torch._neg_view(torch.ones(3)), "in another way than it is stored"),
    "whole": (lambda: torch.zeros(3, dtype=torch.int32), "a tensor of IntStorage"),
    "8 bits": (lambda: torch.zeros(3).to(torch.float8_e4m3fn), "_rebuild_tensor_v3"),
    "empty": (lambda: torch.zeros(0, 3), "an empty tensor"),
}


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # PyTorch's, about kinds that may change
@pytest.mark.parametrize("kind", ODD)
def test_odd_tensors(read: Callable[..., State], kind: str) -> None:
    make, says = ODD[kind]
    with pytest.raises(CheckpointError, match=says) as caught:
        read({"plain": torch.zeros(9), "odd one": make()})
    assert "odd one is" in str(caught.value)


@FORMATS
@pytest.mark.parametrize(
    "value", [{"a": 1}, {"a": {"b": torch.zeros(1)}}, [torch.zeros(1)], torch.zeros(1), None, {}]
)
def test_no_state_dict(read: Callable[..., State], value: object, zipped: bool) -> None:
    with pytest.raises(CheckpointError, match=r"x\.pth: not a state dict"):
        read(value, zipped)


@FORMATS
def test_shared_numbers_are_not_multiplied(read: Callable[..., State], zipped: bool) -> None:
    numbers = torch.arange(100_000.0)
    with pytest.raises(CheckpointError, match=r"have 4000000 bytes, the file 4\d{5}: save clones"):
        read({str(n): numbers for n in range(10)}, zipped)


def rewritten(path: Path, change: Callable[[str, bytes], bytes], compression: int = 0) -> Path:
    """The zip file with its members changed."""
    out = path.with_name("changed.pth")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", compression) as new:
        for member in old.infolist():
            new.writestr(member.filename, change(member.filename, old.read(member)))
    return out


def test_sizes_in_a_zip_file_are_not_believed(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1_000_000), "b": torch.zeros(1_000_000)}, tmp_path / "x.pth")

    def cut(name: str, data: bytes) -> bytes:
        return data[:16] if name.endswith("data/0") else data

    def turned(name: str, data: bytes) -> bytes:
        return b"big" if name.endswith("byteorder") else data

    for change, compression, says in (
        (cut, zipfile.ZIP_STORED, "its tensors have 8000000 bytes, the file 400"),
        (turned, zipfile.ZIP_STORED, "not of little-endian"),
        (lambda _, data: data, zipfile.ZIP_DEFLATED, "compressed, as torch.save never"),
    ):
        with pytest.raises(CheckpointError, match=says):
            read_file(rewritten(tmp_path / "x.pth", change, compression))
    with zipfile.ZipFile(tmp_path / "x.pth", "a") as archive:
        archive.writestr("x/more", bytes(9_000_000))

    with pytest.raises(CheckpointError, match=r"damaged \(a ends at byte 4000000 of 16"):
        read_file(rewritten(tmp_path / "x.pth", cut))


def test_names_and_shapes_are_checked_before_numbers_are_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2, 3), "b": torch.zeros(())}, tmp_path / "x.pth")

    class OtherNetworkError(Exception):
        pass

    def check(shapes: Mapping[str, tuple[int, ...]]) -> None:
        assert shapes == {"a": (2, 3), "b": ()}
        raise OtherNetworkError

    changed = rewritten(tmp_path / "x.pth", lambda name, data: b"" if "/data/" in name else data)
    with changed.open("rb") as file, pytest.raises(OtherNetworkError):
        read_tensors(file, "x.pth", check)


LOAD = """
import resource, sys
from export.model.checkpoint import load_weights
from runtime import CheckpointError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_weights(sys.argv[1])
except CheckpointError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """The widest network, all of it expanded from single numbers: 0.3 MB, and once 3.4 GiB."""
    with torch.device("meta"):
        shapes = checkpoint_shapes(DMDNet(256, 128))
    expanded = {name: torch.ones(1).expand(shape) for name, shape in shapes.items()}
    torch.save(expanded, tmp_path / "x.pth")
    words = [sys.executable, "-c", LOAD, str(tmp_path / "x.pth")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    # a child begins with its parent's peak on some systems, and would then hide its own
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 << 20
    assert int(done.stdout) < 100 << 10  # KiB


@FORMATS
def test_damaged_files(tmp_path: Path, state: State, zipped: bool) -> None:
    """Anything may be wrong with a file: it is read, or it is a `CheckpointError` of one line."""
    path = tmp_path / "x.pth"
    small = {name: state[name] for name in list(state)[20:60]}
    torch.save(small, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    # where what is not numbers lies
    head = range(2000) if zipped else range(6000)
    tail = range(len(whole) - 5000, len(whole)) if zipped else head
    chance = random.Random(0)
    refused: list[str] = []
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            place = chance.choice((chance.choice(head), chance.choice(tail)))
            data[place] = chance.randrange(256)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            read_file(path)
        except CheckpointError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert not any("\n" in message for message in refused)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + b"]" * 20_000 + b".",
        b"\x80\x02" + b"]" + b"\x85" * 50_000 + b".",  # nested
        b"\x80\x02]r\xff\xff\xff\xff.",  # would have Python's own make a memo of 32 GiB
        b"\x80\x02]q\x00h\x01.",
        b"\x80\x02(t(t(t.",
        b"\x80\x02a.",
        b"\x80\x02}X\xff\xff\xff\x7fa.",
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
        b"\x80\x02cos\nsystem\n}b.",
    ],
)
def test_hostile_pickles(tmp_path: Path, pickled: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(pickled)
    torch.save({"a": torch.zeros(1)}, tmp_path / "y.pth")
    inside = rewritten(
        tmp_path / "y.pth", lambda name, data: pickled if name.endswith("data.pkl") else data
    )
    for path in (tmp_path / "x.pth", inside):
        with pytest.raises(CheckpointError, match="not a"):
            read_file(path)


def test_a_zip_file_with_a_million_members(tmp_path: Path) -> None:
    """Its list of members would take hundreds of MB; it is refused unread."""
    entry = b"PK\1\2" + bytes(42)
    listed = entry * 400_000
    end = b"PK\5\6" + bytes(8) + len(listed).to_bytes(4, "little") + bytes(6)
    (tmp_path / "x.pth").write_bytes(b"PK\3\4" + listed + end)
    with pytest.raises(CheckpointError, match="list of members is too long"):
        read_file(tmp_path / "x.pth")


def test_nothing_of_the_name_is_shown_without_end(read: Callable[..., State]) -> None:
    with pytest.raises(CheckpointError, match="a name of 5000 characters"):
        read({"x" * 5000: torch.zeros(1)})


def test_the_largest_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.model.torch_file.LARGEST", 1000)
    torch.save({"a": torch.zeros(1000)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="a checkpoint has 1000 at most"):
        read_file(tmp_path / "x.pth")
