"""Checkpoints: damaged PyTorch files, and tensors of every odd kind under the right names."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from export.model.checkpoint import build_network, load_weights
from export.model.network import DMDNet, checkpoint_shapes
from export.model.safetensors_file import FORMAT, VERSION
from export.model.synthetic import synthetic_state
from tests.fuzz.mutations import Draw, json_text, mutated
from tests.fuzz.rule import MEMORY, Kind

State = Mapping[str, Tensor]

SAME: Mapping[str, Callable[[Tensor], Any]] = {
    "double": Tensor.double,
    "parameter": torch.nn.Parameter,
    "transposed": lambda t: t.mT.contiguous().mT if t.ndim > 1 else t,
    "view": lambda t: torch.cat([t.flatten(), t.flatten()])[: t.numel()].view(t.shape),
    "gradient": lambda t: t.clone().requires_grad_(),
}
"""Other forms of the same numbers, which must be read, or be refused."""

ODD: Mapping[str, Callable[[Tensor], Any]] = {
    "half": Tensor.half,
    "bfloat16": Tensor.bfloat16,
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "complex": lambda t: t.to(torch.complex64),
    "integer": Tensor.int,
    "boolean": Tensor.bool,
    "expanded": lambda t: t.flatten()[:1].expand(t.numel()).view(t.shape),
    "huge": lambda t: torch.zeros(1).expand(1 << 40),
    "long": lambda t: torch.zeros(1).expand(1 << 20, 1 << 20),
    "sparse": Tensor.to_sparse,
    "csr": lambda t: t.flatten()[None].to_sparse_csr(),
    "meta": lambda t: t.to("meta"),
    "quantized": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "nested": lambda t: torch.nested.nested_tensor([t.flatten(), t.flatten()]),
    "negative": lambda t: torch._neg_view(t),
    "conjugate": lambda t: t.to(torch.complex64).conj(),
    "empty": lambda t: t[:0],
    "scalar": lambda t: t.sum(),
    "more": lambda t: t[None],
    "nan": lambda t: t * float("nan"),
    "infinite": lambda t: t / 0,
    "large": lambda t: t * 1e38,
    "zero": torch.zeros_like,
    "overlapping": lambda t: (
        torch.zeros(t.numel() + 2).as_strided((t.numel(),), (1,), 1).view(t.shape)
    ),
    "list": Tensor.tolist,
    "number": lambda t: 1.5,
    "none": lambda t: None,
    "text": lambda t: "x",
}
"""What a tensor may be replaced by."""


@contextmanager
def checkpoints(folder: Path) -> Iterator[Kind]:
    """One that is accepted gives a network of finite numbers; the same numbers in another form
    give the same network."""
    path = folder / "model.pth"
    state = synthetic_state(seed=1, width=8, entries=1)
    bias = next(name for name in state if name.endswith("bias"))
    names = [*sorted(state)[:: len(state) // 12], "E_lq.conv1.0.bias", "le_256_mem_key", bias]
    plain, folded = _saved(state), _folded(state)

    def attempt(given: bytes | tuple[str, list[str]]) -> None:
        if isinstance(given, bytes):
            path.write_bytes(given)
        else:
            form, those = given
            change = {**SAME, **ODD}[form]
            with warnings.catch_warnings(action="ignore"):  # some kinds are prototypes in torch
                changed = {name: change(state[name]) for name in those}
                path.write_bytes(_saved(state | changed))
        network = load_weights(str(path)).network
        for name, tensor in network.state_dict().items():
            assert torch.isfinite(tensor).all(), "numbers that are not finite"
            assert tensor.dtype == torch.float32, f"{tensor.dtype}"
            assert tensor.layout == torch.strided, f"{tensor.layout}"
            if name in state and not isinstance(given, bytes) and given[0] in SAME:
                assert torch.equal(tensor, state[name]), "other numbers than in the file"

    forms = st.sampled_from(sorted({**SAME, **ODD}))
    odd = st.tuples(forms, st.lists(st.sampled_from(names), min_size=1, max_size=2))
    files = _files(plain) | _safetensors(folded) | st.sampled_from(_others(state))
    yield Kind(odd | files, attempt)


def _saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _folded(state: State) -> bytes:
    """The same network as a safetensors file, spectral norm folded, float16."""
    network = build_network(dict(state), "fuzz")
    tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
    size = {"width": "8", "entries": "1"}
    return save(tensors, {"format": FORMAT, "version": VERSION, **size})


@st.composite
def _safetensors(draw: Draw, plain: bytes) -> bytes:
    """Such a file with its bytes, its header or its metadata made worse."""
    length = int.from_bytes(plain[:8], "little")
    header = json.loads(plain[8 : 8 + length])
    match draw(st.sampled_from(("bytes", "numbers", "header", "metadata"))):
        case "bytes":
            return bytes(draw(mutated([plain], hot=lambda data: range(8 + length))))
        case "numbers":
            return bytes(draw(mutated([plain], hot=lambda data: range(8 + length, len(data)))))
        case "header":
            first = dict(list(header.items())[:3])
            text = draw(json_text(first)).rstrip().removesuffix("}")
            others = {name: value for name, value in header.items() if name not in first}
            text = f"{text}, {json.dumps(others)[1:]}"
        case _:
            metadata = draw(json_text(header.pop("__metadata__")))
            text = f'{{"__metadata__": {metadata}, {json.dumps(header)[1:]}'
    data = text.encode(errors="surrogatepass")
    return len(data).to_bytes(8, "little") + data + plain[8 + length :]


def _others(state: State) -> list[bytes]:
    """Files that are whole, and hold something else."""
    stream = io.BytesIO()
    torch.save(dict(state), stream, _use_new_zipfile_serialization=False)
    some = dict(list(state.items())[:3])
    contents: list[Any] = [
        {},
        [],
        None,
        1,
        "text",
        list(state.values()),
        {"state_dict": some},
        some,
    ]
    contents += [{1: torch.zeros(1)}, {"\x1b[2J\n": torch.zeros(1)}, {"x" * 9000: torch.zeros(1)}]
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("archive/version", "3")
        with file.open("archive/data.pkl", "w", force_zip64=True) as member:
            for _ in range(MEMORY + 100):
                member.write(bytes(1 << 20))
    with torch.device("meta"):
        shapes = checkpoint_shapes(DMDNet(256, 1))
    contents.append({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()})
    return [stream.getvalue(), bomb.getvalue(), b"", b"<html>", *map(_saved, contents)]


@st.composite
def _files(draw: Draw, plain: bytes) -> bytes:
    """The file's bytes made worse; or a member of its zip, whose check sums then fit."""
    if draw(st.booleans()):
        return bytes(draw(mutated([plain], hot=lambda data: range(len(data) - 400, len(data)))))
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as file, zipfile.ZipFile(made, "w") as other:
        chosen = draw(st.sampled_from(("data.pkl", "data.pkl", "version", "byteorder", "data/0")))
        for name in file.namelist():
            content = file.read(name)
            if name.endswith(f"/{chosen}"):
                content = draw(mutated([content], hot=lambda data: range(len(data))))
            other.writestr(name, content)
    return made.getvalue()
