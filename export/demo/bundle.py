"""The demo's bundle: exported once, and used again as long as it is whole and of those weights."""

from collections.abc import Callable
from pathlib import Path

from export.bundle import export_bundle
from runtime.bundle.opening import Bundle, open_bundle
from runtime.bundle.weights import WeightsRecord
from runtime.errors import BundleError

_PRECISION = "fp32"


def place_in(out: Path, weights: WeightsRecord) -> Path:
    """The bundle's path inside the demo's folder `out`, which is another one for other weights."""
    return out / f"bundle-{weights.kind}-{weights.sha256[:8]}"


def bundle_of(
    checkpoint: str, wanted: WeightsRecord, folder: Path, report: Callable[[str], None]
) -> Bundle:
    """Open the float32 bundle of these weights at `folder`, or export it if nothing is there.

    `checkpoint`, whose record is `wanted`, as in `export.model.checkpoint.load_weights`; `report`
    as in `export.bundle.export_bundle`. Raises `BundleError` if there is something else at
    `folder`, which is never replaced, and `ExportError` if the export fails.
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
