"""What PyCUDA's build from source needs and this machine lacks.

PyCUDA's setup looks for `nvcc` in PATH, takes the folder above the one that holds it for the CUDA
toolkit (links are not followed), and links with the libraries in it. It takes other places from
`/etc/aksetup-defaults.py` and `~/.aksetup-defaults.py`.
"""

import ast
import os
import shutil
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

_SETTINGS = "~/.aksetup-defaults.py"
_SETTINGS_OF_ALL = "/etc/aksetup-defaults.py"
_LIBRARY_FOLDERS = ("lib", "lib64", "lib/stubs", "lib64/stubs")  # of the toolkit
_SYSTEM = ("/usr/local/lib", "/usr/lib64", "/usr/lib", "/usr/lib/{machine}-linux-gnu")


def missing() -> Iterator[tuple[str, str]]:
    """What is missing, each with its remedy. Nothing is compiled, and the settings are not run."""
    compiler = (os.environ.get("CXX") or "g++").split()[0]
    if shutil.which(compiler) is None:
        yield f"PyCUDA's build needs {compiler}", "install the system's C++ compiler: package g++"
    headers = Path(sysconfig.get_paths()["include"])
    if not (headers / "Python.h").is_file():
        remedy = "install Python's headers: package python3-dev or python3-devel"
        yield f"PyCUDA's build needs {headers / 'Python.h'}", remedy
    settings = _settings()
    found = shutil.which("nvcc")
    root = settings.get("CUDA_ROOT") or (found and str(Path(found).absolute().parent.parent))
    includes = _folders(settings, "CUDA_INC_DIR", root)
    if not root and not includes:
        remedy = "install the CUDA toolkit, and put the folder with nvcc first in PATH"
        yield "PyCUDA's build needs nvcc, which is not in PATH", remedy
        return
    includes = includes or [Path(str(root), "include")]
    if not any((folder / "cuda.h").is_file() for folder in includes):
        yield (
            f"PyCUDA's build needs cuda.h, and {includes[0]} has none",
            "put the folder with the toolkit's own nvcc first in PATH, such as /usr/local/cuda/bin "
            f"(a script or a link elsewhere does not do), or write CUDA_ROOT to {_SETTINGS}",
        )
    for name, key, remedy in (
        ("cuda", "CUDADRV_LIB_DIR", "write its folder to {settings}: {key} = ['FOLDER']"),
        ("curand", "CURAND_LIB_DIR", "write to {settings}: CUDA_ENABLE_CURAND = False"),
    ):
        if name == "curand" and settings.get("CUDA_ENABLE_CURAND") is False:
            continue
        folders = _folders(settings, key, root)
        if not folders and root:
            folders = [Path(str(root), each) for each in _LIBRARY_FOLDERS]
        if not any((folder / f"lib{name}.so").exists() for folder in (*folders, *_of_linker())):
            problem = f"PyCUDA's build needs lib{name}.so, and finds none"
            yield problem, remedy.format(settings=_SETTINGS, key=key)


def _of_linker() -> Iterator[Path]:
    """Where the linker looks by itself."""
    yield from (Path(each) for each in os.environ.get("LIBRARY_PATH", "").split(":") if each)
    yield from (Path(each.format(machine=os.uname().machine)) for each in _SYSTEM)


def _folders(settings: Mapping[str, object], key: str, root: object) -> list[Path]:
    value = settings.get(key)
    values = value if isinstance(value, list) else [value] if value else []
    return [Path(str(each).replace("${CUDA_ROOT}", str(root))) for each in values]


def _settings() -> dict[str, object]:
    """The plain values that the machine's settings assign, and then the user's."""
    found: dict[str, object] = {}
    for file in (Path(_SETTINGS_OF_ALL), Path(_SETTINGS)):
        try:
            tree = ast.parse(file.expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError, RuntimeError):  # PyCUDA's setup says what ails it
            continue
        for line in tree.body:
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                try:
                    found[line.targets[0].id] = ast.literal_eval(line.value)
                except ValueError:
                    continue  # computed: only running it would tell
    return found
