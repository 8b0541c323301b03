"""The Dockerfile against the package, as no test builds it."""

import re
import tomllib

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_it_installs_the_extra_for_engines() -> None:
    """All but TensorRT, which the image has in its own version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["tensorrt"]
    installed = re.findall(r"'([a-z]+>=[\d.]+)'", DOCKERFILE)
    assert sorted(installed) == sorted(each for each in extra if not each.startswith("tensorrt"))


def test_it_copies_all_packages() -> None:
    folders = re.findall(r"^COPY (\w+) \./(\w+)$", DOCKERFILE, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {f"{source}*" for source, target in folders if source == target} == set(packages)
    [files] = re.findall(r"^COPY (.*) \./$", DOCKERFILE, re.MULTILINE)
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert sent == {source for source, _ in folders} | set(files.split())


def test_it_runs_as_an_unprivileged_user() -> None:
    last = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[-1]
    assert re.findall(r"^USER (\d+)$", last, re.MULTILINE) == ["10001"]
    assert '\nENTRYPOINT ["dmd-restore"]\n' in last
