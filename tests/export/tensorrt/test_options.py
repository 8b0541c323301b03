import pytest

from export.tensorrt import options
from export.tensorrt.options import BuildOptions, choose_edition
from runtime.bundle.engine_record import Profile
from runtime.errors import DeviceError, UsageError
from runtime.machine import gpu as cuda
from runtime.machine.tensorrt_editions import load_edition


def test_edition(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> tuple[cuda.Gpu, ...]:
        raise DeviceError("no NVIDIA driver is installed here")

    monkeypatch.setattr(cuda, "gpus", no_driver)
    assert choose_edition("none", None) == (None, "none was asked for")
    edition, why = choose_edition("auto", None)
    assert edition is not None
    assert edition.name == "tensorrt_rtx"
    assert why == "not tensorrt: no NVIDIA driver is installed here"
    assert choose_edition("auto", "tensorrt")[0] == load_edition("tensorrt_rtx")
    assert choose_edition("auto", "cpu")[0] is None
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        choose_edition("tensorrt", None)
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"polygraphy, filelock not installed; install .*rtx"):
        choose_edition("tensorrt-rtx", None)
    edition, why = choose_edition("auto", None)
    assert edition is None
    assert "polygraphy" in why


def test_options() -> None:
    with pytest.raises(UsageError, match="--opt-references is 40 and --max-references 32"):
        BuildOptions(profile=Profile(opt_references=40))
