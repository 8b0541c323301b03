"""The blocks of code in README, CONTRIBUTING and docs: what a reader would copy."""

import re
from dataclasses import dataclass

from tests.conftest import ROOT

PAGES = tuple(
    page.relative_to(ROOT).as_posix()
    for page in (
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("docs/*.md")),
        ROOT / "export" / "model" / "weights" / "README.md",
    )
)
HISTORY = "CHANGELOG.md"
"""It names options and files that are gone."""

LANGUAGES = {"sh", "python", "json", "text"}
"""What may stand behind a fence; `text` is for anything that is not run."""

_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str  # from the top of the repository
    line: int  # of its first line, from 1
    language: str  # what stands behind the fence: sh, python, json, text, ...
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of one page that are in one of `languages`, or all, in their order."""
    text = read(page)
    return [
        Block(page, text.count("\n", 0, match.start(3)) + 1, match[2], match[3])
        for match in _FENCE.finditer(text)
        if not languages or match[2] in languages
    ]


def prose(page: str) -> str:
    """The text of one page, with an empty line in the place of each line of a fenced block."""
    return _FENCE.sub(lambda match: "\n" * match[0].count("\n"), read(page))


def commands(block: Block) -> list[str]:
    """The commands of a `sh` block, without comments and with continued lines joined."""
    joined = block.text.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]
