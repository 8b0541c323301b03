"""What PyCUDA's build lacks, on machines that are made of empty files."""

from pathlib import Path

import pytest

from runtime.machine import pycuda_build
from runtime.machine.pycuda_build import missing


class Toolkit:
    """A machine with a compiler, Python's headers and the CUDA toolkit; tests change it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.root = folder / "home", folder / "cuda"
        self.path = folder / "usr" / "bin"
        for name in ("home/", "usr/bin/g++", "usr/include/Python.h", "cuda/bin/nvcc"):
            self.file(folder / name, name.endswith("/"))
        for name in ("include/cuda.h", "lib64/libcurand.so"):
            self.file(self.root / name)
        self.file(self.root / "lib64/stubs/libcuda.so")
        patch.setenv("HOME", str(self.home))
        patch.setenv("PATH", f"{self.root / 'bin'}:{self.path}")
        patch.delenv("LIBRARY_PATH", raising=False)
        patch.delenv("CXX", raising=False)
        patch.setattr(pycuda_build, "_SETTINGS_OF_ALL", str(folder / "etc"))
        patch.setattr(pycuda_build, "_SYSTEM", (str(folder / "usr/lib"),))
        paths = {"include": str(folder / "usr/include")}
        patch.setattr("sysconfig.get_paths", lambda: paths)

    @staticmethod
    def file(path: Path, folder: bool = False) -> None:
        (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
        if not folder:
            path.touch(mode=0o755)

    def settings(self, text: str) -> None:
        (self.home / ".aksetup-defaults.py").write_text(text)


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolkit:
    return Toolkit(tmp_path, monkeypatch)


def test_nothing_is_missing(toolkit: Toolkit) -> None:
    assert list(missing()) == []


@pytest.mark.parametrize(
    ("removed", "word", "remedy"),
    [
        ("../usr/bin/g++", "g++", "package g++"),
        ("../usr/include/Python.h", "Python.h", "python3-dev"),
        ("bin/nvcc", "nvcc, which is not in PATH", "install the CUDA toolkit"),
        ("include/cuda.h", "cuda.h", "the toolkit's own nvcc first in PATH"),
        ("lib64/stubs/libcuda.so", "libcuda.so", "CUDADRV_LIB_DIR = ['FOLDER']"),
        ("lib64/libcurand.so", "libcurand.so", "CUDA_ENABLE_CURAND = False"),
    ],
)
def test_one_thing_is_missing(toolkit: Toolkit, removed: str, word: str, remedy: str) -> None:
    (toolkit.root / removed).unlink()
    ((problem, advice),) = missing()
    assert problem.startswith("PyCUDA's build needs ")
    assert word in problem
    assert remedy in advice


def test_a_script_in_path_hides_the_toolkit(
    toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyCUDA takes /usr for the toolkit, and finds nothing there; neither is a link followed."""
    monkeypatch.setenv("PATH", str(toolkit.path))
    (toolkit.path / "nvcc").symlink_to(toolkit.root / "bin/nvcc")
    problems = [problem for problem, _ in missing()]
    assert len(problems) == 3
    assert f"{toolkit.path.parent / 'include'} has none" in problems[0]
    toolkit.settings(f"CUDA_ROOT = {str(toolkit.root)!r}\n")
    assert list(missing()) == []


def test_settings_and_the_linkers_folders(
    toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toolkit.root / "lib64/libcurand.so").unlink()
    (toolkit.root / "lib64/stubs/libcuda.so").rename(toolkit.home / "libcuda.so")
    toolkit.settings("import os\nCUDA_ENABLE_CURAND = False\nCUDADRV_LIB_DIR = os.environ['X']\n")
    assert ["libcuda.so" in problem for problem, _ in missing()] == [True]
    monkeypatch.setenv("LIBRARY_PATH", f":{toolkit.home}")
    assert list(missing()) == []
    monkeypatch.delenv("LIBRARY_PATH")
    toolkit.settings(f"CUDA_ENABLE_CURAND = False\nCUDADRV_LIB_DIR = [{str(toolkit.home)!r}]\n")
    assert list(missing()) == []
    (toolkit.root / "bin/nvcc").unlink()
    (toolkit.home.parent / "etc").write_text(f"CUDA_INC_DIR = [{str(toolkit.root / 'include')!r}]")
    assert list(missing()) == []  # the toolkit itself is not needed then
    toolkit.settings("CUDA_ENABLE_CURAND = False\nCUDA_INC_DIR = ['/nowhere']\n")
    assert [problem.split(",")[0] for problem, _ in missing()] == [
        "PyCUDA's build needs cuda.h",  # the user's settings come after the machine's
        "PyCUDA's build needs libcuda.so",
    ]
