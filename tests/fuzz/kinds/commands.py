"""Arguments of our commands, run in this process as `main` runs them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from runtime.errors import UsageError
from runtime.samples.faces import SAMPLES
from tests.fakes.bundle import write_bundle
from tests.fuzz.kinds.command_line import COMMANDS, call
from tests.fuzz.mutations import Draw
from tests.fuzz.rule import Kind

_OPTIONS = {
    "dmd-restore": (
        "--only",
        "--upscale",
        "--aligned",
        "--require-face",
        "--compare",
        "--draw",
        "--resume",
        "--report",
        "--landmarks",
        "--identity",
        "--min-face",
        "--max-pixels",
        "--device",
        "--threads",
        "--no-fallback",
        "--remote-timeout",
        "--remote-ca",
        "--ray-cpus",
        "--out",
        "--bundle",
    ),
    "dmd-enroll": (
        "--skip-bad",
        "--landmarks",
        "--min-face",
        "--max-pixels",
        "--out",
        "--threads",
        "--bundle",
    ),
    "dmd-people": ("--min-face", "--max-pixels", "--max-bytes", "--threads", "--out"),
    "dmd-triton": (
        "--max-batch",
        "--max-references",
        "--queue-delay",
        "--instances",
        "--engine",
        "--model-version",
        "--device",
    ),
}
_ALONE = ("--aligned", "--require-face", "--compare", "--draw", "--resume", "--skip-bad")
# fmt: off
_VALUES = (
    "", "0", "-1", "1", "2", "1.5", "nan", "1e400", "9" * 400, "\u0663", "\u00b2",
    " 1", "cpu", "largest", "cuda", "auto", "given", "given/face.png",
    "given/face.png.txt", "bundle", "bundle/manifest.json", "missing", "missing/x",
    ".", "/", "/dev/null", "a\nb", "\x1b[2J", "\udcff.png", "x" * 300, "*.png", "[",
    "given/*", "http://[x/a.png", "http://", "http://127.0.0.1:1/a.png",
    "file:///etc/hostname", "file://", "ftp://127.0.0.1:1/x", "zip://a::b",
    "nothing://x", "memory://x.png", "grpc://", "grpc://x", "grpc://[x/y",
    "grpc://a:b@c:1/d", "grpcs://127.0.0.1:x/m", "s3://", "://", "x.parquet",
    "given/face.png.txt.parquet", "--", "-", "@x", "~", "person.safetensors", "out",
    "%00.png", "null",
)
# fmt: on


@contextmanager
def commands(folder: Path) -> Iterator[Kind]:
    """A command ends with an exit code, and what it prints are clean lines."""
    world = folder / "world"

    def attempt(words: list[str]) -> None:
        shutil.rmtree(world, ignore_errors=True)
        (world / "given").mkdir(parents=True)
        write_bundle(world / "bundle")
        for name in ("astronaut.png", "astronaut.png.txt"):
            (world / "given" / name.replace("astronaut", "face")).write_bytes(
                (SAMPLES / name).read_bytes()
            )
        code = call(words, world)
        kept = (world / "given" / "face.png").read_bytes()
        assert kept == (SAMPLES / "astronaut.png").read_bytes(), "an input was changed"
        if code:
            raise UsageError(f"exit code {code}")

    yield Kind(_words(), attempt)


@st.composite
def _words(draw: Draw) -> list[str]:
    """A command line that would work, with some of its words replaced and some added."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    words = {
        "dmd-restore": ["given/face.png", "--bundle", "bundle", "--out", "out", "--device", "cpu"],
        "dmd-enroll": ["given/face.png", "--bundle", "bundle", "--out", "person.safetensors"],
        "dmd-people": ["given/face.png", "--out", "out"],
        "dmd-triton": ["bundle", "out", "--device", "cpu"],
    }[command]
    for _ in range(draw(st.integers(0, 3))):
        value = draw(st.sampled_from(_VALUES))
        if draw(st.booleans()):
            words[draw(st.integers(0, len(words) - 1))] = value
        else:
            option = draw(st.sampled_from(_OPTIONS[command]))
            words += [option] if option in _ALONE and draw(st.booleans()) else [option, value]
    return [command, *words]
