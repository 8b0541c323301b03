from pathlib import Path

import pytest

from export.tensorrt.place import locked
from runtime.errors import BundleError


@pytest.mark.parametrize("name", ["engines", "engines/.lock", "engines/.building"])
def test_a_link_in_a_strangers_bundle_is_not_followed(tmp_path: Path, name: str) -> None:
    outside, bundle = tmp_path / "outside", tmp_path / "bundle"
    bundle.mkdir()
    if name == "engines":
        outside.mkdir()
    else:
        (bundle / "engines").mkdir()
        outside.write_text("precious")
    (bundle / name).symlink_to(outside)
    with (
        pytest.raises(BundleError, match=f"{name}: a link; remove it"),
        locked(bundle / "engines", pytest.fail),
    ):
        pytest.fail("it was locked")
    if outside.is_dir():
        assert list(outside.iterdir()) == []
    else:
        assert outside.read_text() == "precious"
