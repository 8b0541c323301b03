"""Opening a bundle: its manifest is read, and every file is checked against it."""

from dataclasses import dataclass
from pathlib import Path

from runtime.bundle.manifest import MANIFEST, Manifest
from runtime.errors import BundleError
from runtime.storage.local import fault


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its manifest."""

    path: Path
    manifest: Manifest


def open_bundle(path: str | Path, verify: bool = True) -> Bundle:
    """Read a bundle's manifest and check its files: sizes always, SHA-256 if `verify`.

    Raises `BundleError` that names the missing, truncated or altered file.
    """
    path = Path(path)
    manifest_file = path / MANIFEST
    if not path.exists():
        raise BundleError(f"{path}: no such bundle; make one with dmd-export")
    try:
        manifest = Manifest.from_json(manifest_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{manifest_file}: missing; is {path} a bundle?") from None
    except NotADirectoryError:
        raise BundleError(f"{path}: a file, but a bundle is a folder") from None
    except OSError as error:
        raise BundleError(f"{manifest_file}: cannot be read: {error.strerror}") from None
    except KeyError as error:
        raise BundleError(f"{manifest_file}: not a manifest: {error} is missing") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"{manifest_file}: not a manifest: {error}") from None
    for name, record in manifest.files.items():
        if Path(name).name != name:
            raise BundleError(f"{manifest_file}: file name {name!r} leads out of the bundle")
        wrong = fault(path / name, record.size, record.sha256 if verify else None)
        if wrong:
            raise BundleError(f"{path / name}: {wrong}; export again")
    return Bundle(path, manifest)
