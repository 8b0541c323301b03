"""The form of the pages: fences, links, and the files that they name."""

import re

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import HISTORY, LANGUAGES, PAGES, blocks, prose

PACKAGES = ("benchmarks", "calibration", "docs", "export", "runtime", "tests")


@pytest.mark.parametrize("page", PAGES)
def test_code_is_fenced_and_names_its_language(page: str) -> None:
    """What is only indented has no language, so no test would run it."""
    assert [str(block) for block in blocks(page) if block.language not in LANGUAGES] == []
    text = prose(page)
    indented = re.findall(r"^(?:#.*)?\n {4,}\S.*|^[ \t]*dmd-\w.*|^.*```.*", text, re.MULTILINE)
    assert indented == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", path):
            continue
        linked = (ROOT / page).parent / path if path else ROOT / page
        if not linked.exists() or (anchor and anchor not in _anchors(linked.read_text("utf-8"))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY])
def test_files_that_are_named_exist(page: str) -> None:
    """Those of our packages; `*` and words in capital letters stand for any name."""
    named = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w./*-]*)`", prose(page))
    patterns = {name: re.sub(r"[A-Z]{4,}(?![A-Z]|\.md)", "*", name) for name in named}
    assert [name for name in named if not any(ROOT.glob(patterns[name].rstrip("/")))] == []


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.*)", text, re.MULTILINE)
    bare = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in bare}
