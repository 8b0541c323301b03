"""`dmd-build-engine`: build the TensorRT engines of a bundle on the machine that will run them."""

from argparse import ArgumentParser, Namespace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from runtime.cli import console
from runtime.errors import ExportError

if TYPE_CHECKING:
    from export.tensorrt.options import BuildOptions

_PROG = "dmd-build-engine"


def main() -> NoReturn:
    console.run(_PROG, build)


def build() -> int:
    args = _arguments()
    if find_spec("onnx") is None:
        raise ExportError("onnx is not installed: install dmdnet-runtime[tensorrt]")
    with console.loading(_PROG):
        from export.tensorrt.build import build_engines
        from runtime.bundle.opening import open_bundle

    bundle = open_bundle(args.bundle)
    records = build_engines(
        bundle, engine_options(args), rebuild=args.rebuild, report=console.report
    )
    if not records:
        return console.FAILED
    console.tell(f"{len(records)} engines in {args.bundle}")
    return 0


def _arguments() -> Namespace:
    parser = console.Parser(
        _PROG, "Build the TensorRT engines of a bundle; needs neither torch nor ONNX Runtime."
    )
    parser.add_argument("bundle", type=Path, help="folder made by dmd-export")
    parser.add_argument("--rebuild", action="store_true", help="replace existing engines")
    add_engine_arguments(parser)
    return parser.parse_args()


def add_engine_arguments(parser: ArgumentParser) -> None:
    """Add the options that say how engines are built; `engine_options` reads them."""
    from runtime.cli.inputs import number, positive
    from runtime.machine.tensorrt_editions import EXTRAS

    add = parser.add_argument_group("engine (docs/tensorrt.md)").add_argument
    engine = "edition that builds (default: auto, the first that can on this machine, if any)"
    add("--engine", choices=("auto", *EXTRAS.values(), "none"), default="auto", help=engine)
    for name, default, meaning in (
        ("max-batch", 8, "most faces in one call"),
        ("max-references", 32, "most dictionary rows in one call, of all people together"),
        ("opt-batch", 1, "number of faces that the engine is optimised for"),
        ("opt-references", 10, "number of dictionary rows that the engine is optimised for"),
    ):
        said = f"{meaning} (default: {default})"
        add(f"--{name}", type=positive, default=default, metavar="N", help=said)
    cache = "measured kernel times, read and extended: they make later builds faster"
    add("--timing-cache", type=Path, metavar="FILE", help=cache)
    size = partial(number, below=1024, what="GiB")
    add("--workspace", type=size, metavar="GiB", help="GPU memory for the builder (default: all)")


def engine_options(args: Namespace) -> "BuildOptions":
    from export.tensorrt.options import BuildOptions
    from runtime.bundle.engine_record import Profile

    profile = Profile(args.max_batch, args.max_references, args.opt_batch, args.opt_references)
    return BuildOptions(args.engine, profile, args.timing_cache, args.workspace)
