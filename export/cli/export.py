"""`dmd-export`: weights -> a checked bundle."""

from argparse import Namespace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from runtime.cli import console
from runtime.errors import ExportError, UsageError

_PROG = "dmd-export"
_NEEDS = (
    "torch",
    "onnx",
    "onnxscript",
    "onnx_ir",
    "onnxruntime",
    "platformdirs",
    "filelock",
    "skimage",
)


def main() -> NoReturn:
    console.run(_PROG, export)


def export() -> int:
    args = _arguments()
    named = {
        "faces": args.calibration,
        "size": args.calibration_size,
        "method": args.method,
        "target": args.target,
        "min_psnr_db": args.min_psnr,
    }
    given = {name: value for name, value in named.items() if value is not None}
    if (given or args.chart) and not args.int8:
        raise UsageError("calibration, method, target, min-psnr and chart go with --int8")
    refuse_missing_packages()
    if args.chart is not None and find_spec("matplotlib") is None:
        raise ExportError("--chart needs matplotlib: install it, or dmdnet-runtime[export]")
    precision = "int8" if args.int8 else "fp16" if args.fp16 else "fp32"
    out = args.out or Path(f"dmdnet-{precision}")

    with console.loading(_PROG):
        import onnxruntime  # noqa: F401 - these would be loaded in the middle of the work
        import onnxscript  # noqa: F401
        import torch.export  # noqa: F401

        from calibration.options import Options
        from export.bundle import export_bundle
        from export.cli.build_engine import engine_options

    bundle = export_bundle(
        out,
        precision,
        args.checkpoint,
        int8=Options(**given),
        engine=engine_options(args),
        force=args.force,
        report=console.report,
    )
    if args.chart is not None and bundle.manifest.quantization is not None:
        from calibration.chart import draw

        draw(bundle.manifest.quantization, args.chart)
    if notice := bundle.manifest.weights.notice:
        console.say(f"dmd-export: {notice}")
    console.tell(f"{precision} bundle in {out}")
    return 0


def refuse_missing_packages() -> None:
    """Raise `ExportError` unless all that an export needs is installed."""
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ExportError(f"{', '.join(missing)} not installed: install dmdnet-runtime[export,cpu]")


def _arguments() -> Namespace:
    from calibration.options import METHODS, TARGETS
    from export.cli.build_engine import add_engine_arguments
    from runtime.cli.inputs import number

    parser = console.Parser(
        _PROG, "Export DMDNet to a bundle: two ONNX graphs, a manifest and parity figures."
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--fp32", action="store_true", help="float32 (default)")
    precision.add_argument("--fp16", action="store_true", help="strongly typed float16, for GPUs")
    eight = "8 bits, calibrated, and judged against float32"
    precision.add_argument("--int8", action="store_true", help=eight)
    checkpoint = (
        "weights (default: $DMDNET_CHECKPOINT, or the published ones, downloaded once); "
        "`compact`: this package's own small ones; `synthetic`: a stand-in that restores nothing"
    )
    parser.add_argument("--checkpoint", metavar="PATH|URL|compact|synthetic", help=checkpoint)
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: dmdnet-PRECISION")
    parser.add_argument("--force", action="store_true", help="replace an existing bundle")
    add = parser.add_argument_group("with --int8 (docs/int8.md)").add_argument
    faces = "photographs of faces; clean ones are degraded (default: two built-in people)"
    add("--calibration", type=Path, metavar="DIR", help=faces)
    add("--calibration-size", type=int, metavar="N", help="faces (default: 32)")
    add("--method", choices=METHODS, help="of choosing ranges (default: percentile)")
    add("--target", choices=TARGETS, help="who runs it (default: cpu)")
    gate = (
        "the gate: mean PSNR of held-out faces against float32, 3 dB less on each component "
        "(default: 35)"
    )
    add("--min-psnr", type=partial(number, below=100, what="dB"), metavar="DB", help=gate)
    add("--chart", type=Path, metavar="PNG", help="draw each layer's error, alone")
    add_engine_arguments(parser)
    return parser.parse_args()
