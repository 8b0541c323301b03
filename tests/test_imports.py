"""The shape of the tree: which file may import which, how large a file is, and what is shipped."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import runtime
from runtime import errors
from tests.conftest import ROOT, SAMPLES

BELOW = {
    "runtime": set[str](),
    "calibration": {"runtime"},
    "export": {"calibration", "runtime"},
    "benchmarks": {"calibration", "export", "runtime"},
}
"""The packages that each package may import."""

FILES = sorted(file for package in BELOW for file in (ROOT / package).rglob("*.py"))
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
LONGEST, MOST_LOOSE = 350, 10

Graph = Mapping[str, set[str]]


def imported(node: ast.AST) -> Iterator[str]:
    """The names that a piece of code imports, in functions too, but not for type checkers."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (str(word.value) for word in node.args if isinstance(word, ast.Constant))
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def own_file(name: str) -> str | None:
    """The file of ours that an imported name comes from."""
    path = ROOT / name.replace(".", "/")
    for file in (path.with_suffix(".py"), path / "__init__.py", path.parent.with_suffix(".py")):
        if name.split(".")[0] in BELOW and file.is_file():
            return str(file.relative_to(ROOT))
    return f"{name.split('.')[0]}/__init__.py" if name.split(".")[0] in BELOW else None


def names_in(file: Path) -> set[str]:
    return set(imported(ast.parse(file.read_text())))


@pytest.fixture(scope="module")
def arrows() -> Graph:
    """The files of ours that each file imports, as paths from the root."""
    return {
        str(file.relative_to(ROOT)): {found for name in names_in(file) if (found := own_file(name))}
        for file in FILES
    }


def room(file: str) -> str:
    """The first-level folder of a package, or its loose module."""
    return "/".join(Path(file).parts[:2])


def test_packages_import_those_below(arrows: Graph) -> None:
    for file, targets in arrows.items():
        package = Path(file).parts[0]
        assert {Path(target).parts[0] for target in targets} <= BELOW[package] | {package}, file


def test_the_runtime_imports_no_torch() -> None:
    for file in (ROOT / "runtime").rglob("*.py"):
        words = {word for name in names_in(file) for word in name.split(".")}
        assert not words & {"torch", "onnx", "onnxscript"}, file  # nor safetensors.torch


def test_files_import_each_other_in_no_circle(arrows: Graph) -> None:
    TopologicalSorter(arrows).prepare()  # raises CycleError, which names the circle


def test_rooms_import_each_other_in_no_circle(arrows: Graph) -> None:
    rooms: dict[str, set[str]] = {}
    for file, targets in arrows.items():
        rooms.setdefault(room(file), set()).update(
            {room(target) for target in targets} - {room(file)}
        )
    TopologicalSorter(rooms).prepare()


def test_no_module_is_too_long() -> None:
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in FILES}
    assert {file: lines for file, lines in lengths.items() if lines > LONGEST} == {}


def test_no_folder_holds_too_many_modules() -> None:
    for folder in {file.parent for file in FILES} - {ROOT / "calibration"}:
        loose = [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
        assert len(loose) <= MOST_LOOSE, folder


def test_sub_packages_list_no_names() -> None:
    for file in FILES:
        if file.name == "__init__.py" and file.parent.parent != ROOT:
            assert file.read_text() == "", file


def test_public_names() -> None:
    """They are all there and documented, and every error of ours is one of them."""
    raised = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert raised <= set(runtime.__all__)
    assert set(runtime.__all__) == raised | set(runtime._HOME)
    for name in runtime.__all__:
        assert getattr(runtime, name).__doc__, name


@pytest.mark.parametrize("command", SCRIPTS)
def test_help_imports_nothing_heavy(command: str) -> None:
    """So that it answers at once; `import runtime` is light for the same reason."""
    module, function = SCRIPTS[command].split(":")
    code = f"""
import atexit, sys
heavy = set("torch onnx onnxruntime cv2 numpy PIL matplotlib ray tensorrt rich av".split())
atexit.register(lambda: print("heavy:", *(heavy & set(sys.modules))))
import runtime
from {module} import {function}
sys.argv = [{command!r}, "--help"]
{function}()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: {command}" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["heavy:"]


def test_a_wheel_holds_what_is_not_code(tmp_path: Path) -> None:
    """Built from a copy: what earlier builds left in the tree would go into the wheel, too."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for package in BELOW:
        copytree(ROOT / package, tmp_path / package, ignore=ignore_patterns("__pycache__"))
    code = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        shipped = set(opened.namelist())
    expected = {f"{package}/py.typed" for package in BELOW}
    networks = ("runtime/faces/models", "runtime/people/models")
    others = ("export/model/traced", "export/model/weights")
    for folder in (*(ROOT / name for name in networks + others), SAMPLES, SAMPLES / "photos"):
        files = (file for file in folder.iterdir() if file.is_file())
        expected |= {str(file.relative_to(ROOT)) for file in files}
    licences = ("faces/models/LICENSE", "faces/models/LICENSE-yunet", "people/models/LICENSES")
    notices = ("faces/models/NOTICE", "people/models/NOTICE")
    assert {f"runtime/{name}" for name in licences + notices} <= expected
    assert len([name for name in expected if name.endswith(".onnx")]) == 2 + 1 + 4
    assert expected <= shipped
    assert {str(file.relative_to(ROOT)) for file in FILES} <= shipped
