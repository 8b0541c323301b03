"""The demo's bundle: exported once, and used again while it is whole and of the same weights."""

from collections.abc import Callable
from pathlib import Path

from export.bundle import export_bundle
from runtime.bundle.opening import Bundle, open_bundle
from runtime.bundle.weights import WeightsRecord
from runtime.errors import BundleError

_PRECISION = "fp32"


def place_in(out: Path, weights: WeightsRecord) -> Path:
    """Where in the demo's folder the bundle of these weights is, so that others have their own."""
    return out / f"bundle-{weights.kind}-{weights.sha256[:8]}"


def bundle_of(
    checkpoint: str, wanted: WeightsRecord, folder: Path, report: Callable[[str], None]
) -> Bundle:
    """The float32 bundle of these weights at `folder`, which is exported if nothing is there.

    `checkpoint`, whose record is `wanted`, as in `export.model.checkpoint.load_weights`; `report`
    as in `export.bundle.export_bundle`. What else is at `folder` is never replaced. Raises
    `BundleError` if that is no bundle, a damaged one or one of other weights, and `ExportError`.
    """
    if not (folder.exists() or folder.is_symlink()):
        return export_bundle(folder, _PRECISION, checkpoint, report=report)
    what_to_do = f"choose another --out, or remove {folder}"
    try:
        bundle = open_bundle(folder)
    except BundleError as error:
        raise BundleError(f"{folder} is in the way: {error}; {what_to_do}") from None
    found = bundle.manifest.weights
    if found.sha256 != wanted.sha256 or bundle.manifest.precision != _PRECISION:
        raise BundleError(
            f"{folder} is in the way: a bundle of other weights or another precision "
            f"({found.source}, {bundle.manifest.precision}; the demo needs {wanted.source}, "
            f"{_PRECISION}); {what_to_do}"
        )
    report(f"using the bundle in {folder}")
    return bundle
