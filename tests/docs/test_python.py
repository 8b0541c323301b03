"""Every Python block of README, CONTRIBUTING and docs is run, or stands in a list with the reason.

A block stands alone, in a namespace of its own; the blocks of a page share a folder. One that names
a file in its first line (`# batch.py`) is saved there, so that later ones may import it.
"""

import ast
import re
from pathlib import Path

import pytest

import runtime
from tests.docs.blocks import PAGES, Block, blocks
from tests.docs.conftest import NewFolder

NOT_RUN = {
    "import face_alignment": "it is no dependency of ours, and downloads its weights",
    "import dlib": "it is no dependency of ours, and needs weights that are not free",
    ':8001/dmdnet"': "it needs a server; tests of the backend have one",
    "import tkinter": "it needs a screen",
}
"""A line of each block that is compiled only, and why it cannot be run here."""

PYTHON = [block for page in PAGES for block in blocks(page, "python")]
RUN = [block for block in PYTHON if not any(line in block.text for line in NOT_RUN)]


def compiled(block: Block) -> ast.Module:
    """The block's syntax tree, with the page's line numbers."""
    return ast.parse("\n" * (block.line - 1) + block.text, block.page)


@pytest.mark.parametrize("page", sorted({block.page for block in RUN}))
def test_blocks_run(page: str, new_folder: NewFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run = [block for block in RUN if block.page == page]
    folder = new_folder(int8=any('"bundle8"' in block.text for block in run))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for block in run:
        if name := re.match(r"# (\w+\.py)\n", block.text):
            Path(name[1]).write_text(block.text)
        try:
            exec(compile(compiled(block), block.page, "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            if end.code:
                pytest.fail(f"{block}: {end.code}")


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_what_blocks_import_is_public(block: Block) -> None:
    """Also of those that are not run: the names exist, and apps are shown no module of ours."""
    for node in ast.walk(compiled(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "runtime":
            assert node.module == "runtime", f"{block}: {node.module} is not public"
            assert {alias.name for alias in node.names} <= set(runtime.__all__), block


def test_the_list_has_no_stale_line() -> None:
    for line in NOT_RUN:
        assert any(line in block.text for block in PYTHON), f"no page has {line!r} any more"
