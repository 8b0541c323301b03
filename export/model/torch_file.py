"""Read the tensors of a PyTorch file without executing, importing or trusting anything in it.

`torch.load` believes the sizes that a file states: a few bytes become gigabytes, or it reads beyond
its memory. Here every size is compared with the file's own before anything of that size is made.
"""

import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from export.model.pickle_data import LARGEST as LARGEST_PICKLE
from export.model.pickle_data import Call, Name, Persistent, read_pickle
from runtime.errors import CheckpointError

LARGEST = 5 << 30
"""Largest file that is read, in bytes; a network of width 256 with 128 entries has 4.1 GiB."""

_TYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
}
_PLAIN = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_PARAMETER = "torch._utils._rebuild_parameter"
_LONGEST_NAME = 200
_LARGEST_DIRECTORY = 16 << 20  # bytes of a zip file's list of members
_OLD_MAGIC, _OLD_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before PyTorch 1.6
# what Python raises for bytes that are no zip file, no pickle, or not the one that is expected
_MALFORMED = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, EOFError),
    *(NotImplementedError, RuntimeError, struct.error, zipfile.BadZipFile),
)

Storages = Mapping[str, Callable[[], bytearray]]  # by key, what reads one


def read_tensors(
    file: BinaryIO, source: str, check: Callable[[Mapping[str, tuple[int, ...]]], object]
) -> dict[str, torch.Tensor]:
    """Read the state dict in an open file, as contiguous float32 tensors.

    The file is in the zip format of `torch.save` or in the one before PyTorch 1.6; its numbers have
    16, 32 or 64 bits, and its tensors together are not larger than the file. `source`: what errors
    call the file. `check` gets the tensors' names and shapes before any number is read, and raises
    an error if they are wrong. Raises `CheckpointError`, and OSError if the file cannot be read.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if size > LARGEST:
        raise CheckpointError(f"{source}: {size} bytes; a checkpoint has {LARGEST} at most")
    try:
        zipped = file.read(4) == b"PK\3\4"
        file.seek(0)
        value, storages = (_read_zip if zipped else _read_old)(file, size)
    except _MALFORMED as error:
        raise CheckpointError(
            f"{source}: not a PyTorch file of plain tensors ({_reason(error)})"
        ) from None
    if not isinstance(value, dict) or not value:
        raise CheckpointError(f"{source}: not a state dict (names with floating-point tensors)")
    views: dict[str, _View] = {}
    for name, item in value.items():
        if len(name) > _LONGEST_NAME:
            raise CheckpointError(f"{source}: not a state dict (a name of {len(name)} characters)")
        try:
            views[name] = _view(item)
        except _MALFORMED as error:
            raise CheckpointError(
                f"{source}: not a state dict of plain floating-point tensors: {name} is "
                f"{_reason(error)}"
            ) from None
    needed = sum(view.nbytes for view in views.values())
    if needed > size:
        raise CheckpointError(
            f"{source}: its tensors have {needed} bytes, the file {size}: save clones of expanded "
            "or shared ones"
        )
    check({name: view.shape for name, view in views.items()})
    try:
        return _load(views, storages)
    except _MALFORMED as error:
        raise CheckpointError(f"{source}: damaged ({_reason(error)})") from None


@dataclass(frozen=True)
class _View:
    """A tensor as the file describes it: where its numbers lie in a storage, counted in numbers."""

    key: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The byte of the storage behind its last number."""
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return (self.offset + last + 1) * self.dtype.itemsize


def _view(item: Any) -> _View:
    """Raises ValueError that says what it is in place of a plain tensor of floats."""
    if isinstance(item, Call) and item.function == _PARAMETER:
        item = item.arguments[0]
    if not isinstance(item, Call):
        raise ValueError(f"of type {type(item).__name__}")
    if item.function not in _PLAIN:
        raise ValueError(f"made by {item.function}, and not a plain tensor")
    stored, offset, shape, stride = item.arguments[:4]
    if not isinstance(stored, Persistent):
        raise ValueError("a tensor without a storage")
    if any(item.arguments[6:]):
        raise ValueError("a tensor that is read in another way than it is stored, such as negated")
    key, kind, _ = _storage(stored)
    if kind not in _TYPES:
        raise ValueError(f"a tensor of {kind.removeprefix('torch.')}")
    numbers = (offset, *_tuple(shape), *_tuple(stride))
    if not all(type(n) is int and n >= 0 for n in numbers) or len(shape) != len(stride):
        raise ValueError("a tensor with an invalid shape")
    if not all(shape):
        raise ValueError(f"an empty tensor ({' x '.join(map(str, shape))})")
    room = 1  # numbers that the dimensions so far reach over, from the nearest on
    for step, length in sorted((s, n) for s, n in zip(stride, shape, strict=True) if n > 1):
        if step < room:
            raise ValueError("an expanded tensor, or one that overlaps itself; save a clone")
        room = step * length
    return _View(key, _TYPES[kind], offset, shape, stride)


def _storage(stored: Persistent) -> tuple[str, str, int]:
    """Key, kind and count of numbers of a storage that a tensor names."""
    word, kind, key, _, count = _tuple(stored.reference)[:5]
    if word != "storage" or not isinstance(kind, Name) or not isinstance(key, str):
        raise ValueError("a tensor whose storage is of an unknown kind")
    if type(count) is not int or count < 0 or any(_tuple(stored.reference)[5:]):
        raise ValueError("a tensor with a view of a storage")
    return key, kind.text, count


def _load(views: Mapping[str, _View], storages: Storages) -> dict[str, torch.Tensor]:
    """Each storage is read once, and given up before the next."""
    by_key: dict[str, list[str]] = {}
    for name, view in views.items():
        by_key.setdefault(view.key, []).append(name)
    state: dict[str, torch.Tensor] = {}
    for key, names in by_key.items():
        numbers = storages[key]()
        for name in names:
            view = views[name]
            if view.end > len(numbers):
                raise ValueError(f"{name} ends at byte {view.end} of {len(numbers)}")
            whole = len(numbers) // view.dtype.itemsize
            flat = torch.frombuffer(numbers, dtype=view.dtype, count=whole)
            cut = flat.as_strided(view.shape, view.stride, view.offset)
            state[name] = cut.float().contiguous()
    return {name: state[name] for name in views}


def _read_zip(file: BinaryIO, size: int) -> tuple[Any, Storages]:
    """The value of a zip file, and its storages."""
    _check_directory(file, size)
    archive = zipfile.ZipFile(file)
    members = {member.filename: member for member in archive.infolist()}
    if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
        raise ValueError("compressed, as torch.save never does")
    if sum(member.file_size for member in archive.infolist()) > size:
        raise ValueError("its members are larger than the file")
    if not all(0 <= member.header_offset < size for member in archive.infolist()):
        raise ValueError("its members are not in the file")
    (main,) = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    folder = main.removesuffix("data.pkl")
    order = members.get(f"{folder}byteorder")
    if order is not None and archive.read(order) != b"little":
        raise ValueError("not of little-endian numbers")
    if members[main].file_size > LARGEST_PICKLE:
        raise ValueError(f"its list of tensors is larger than {LARGEST_PICKLE} bytes")
    value, _ = read_pickle(archive.read(main))

    def reader(member: zipfile.ZipInfo) -> Callable[[], bytearray]:
        def read() -> bytearray:
            with archive.open(member) as stored:
                return _filled(stored, member.file_size)  # also checks its CRC

        return read

    data = f"{folder}data/"
    return value, {
        name.removeprefix(data): reader(member)
        for name, member in members.items()
        if name.startswith(data)
    }


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse a zip file with millions of members, before `zipfile` makes an object of each."""
    file.seek(max(0, size - 98))
    end = file.read(98).rjust(98)
    large = end[:4] == b"PK\6\6"  # zip64's own end, before its locator and the usual end
    listed = struct.unpack("<Q", end[40:48])[0] if large else struct.unpack("<L", end[88:92])[0]
    plain = end[76:80] == b"PK\5\6" and end[96:] == b"\0\0" and (end[56:60] == b"PK\6\7") == large
    if not plain or listed > _LARGEST_DIRECTORY:
        raise ValueError("its end is missing, or its list of members is too long")


def _read_old(file: BinaryIO, size: int) -> tuple[Any, Storages]:
    """The value of a file from before PyTorch 1.6, and its storages."""
    magic, protocol, system, value, keys = (_next_pickle(file) for _ in range(5))
    if not isinstance(value, dict):
        return value, {}
    if magic != _OLD_MAGIC or protocol != _OLD_PROTOCOL:
        raise ValueError("unknown format")
    if system.get("little_endian") is not True:
        raise ValueError("not of little-endian numbers")
    tensors = [item.arguments[0] if _is(item, _PARAMETER) else item for item in value.values()]
    kinds: dict[str, tuple[str, int]] = {}
    for tensor in tensors:
        if isinstance(tensor, Call) and isinstance(tensor.arguments[0], Persistent):
            key, kind, count = _storage(tensor.arguments[0])
            if kinds.setdefault(key, (kind, count)) != (kind, count):
                raise ValueError(f"storage {key} is of two kinds")

    def reader(start: int, nbytes: int) -> Callable[[], bytearray]:
        def read() -> bytearray:
            file.seek(start)
            return _filled(file, nbytes)

        return read

    storages: dict[str, Callable[[], bytearray]] = {}
    for key in keys:
        kind, count = kinds.get(key, ("", 0))
        if kind not in _TYPES:
            break  # of no size that is known here; what it belongs to is refused
        if file.read(8) != struct.pack("<q", count):
            raise ValueError(f"storage {key} is not of the size that its tensors say")
        nbytes = count * _TYPES[kind].itemsize
        if file.tell() + nbytes > size:
            raise ValueError(f"it ends within storage {key}")
        storages[key] = reader(file.tell(), nbytes)
        file.seek(nbytes, 1)
    return value, storages


def _next_pickle(file: BinaryIO) -> Any:
    start = file.tell()
    value, length = read_pickle(file.read(LARGEST_PICKLE))
    file.seek(start + length)
    return value


def _filled(file: Any, nbytes: int) -> bytearray:
    numbers = bytearray(nbytes)
    view = memoryview(numbers)
    done = 0
    while done < nbytes:
        count = file.readinto(view[done : done + (16 << 20)])
        if not count:
            raise EOFError("it ends too early")
        done += count
    return numbers


def _is(item: Any, function: str) -> bool:
    return isinstance(item, Call) and item.function == function


def _tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise ValueError(f"a tensor with a {type(value).__name__} in place of a tuple")
    return value


def _reason(error: Exception) -> str:
    text = str(error)[:_LONGEST_NAME] if type(error) in (ValueError, EOFError) else ""
    return text or type(error).__name__
