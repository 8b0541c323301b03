"""The blocks of code in README, CONTRIBUTING and docs: what a reader would copy."""

import re
from dataclasses import dataclass

from tests.conftest import ROOT

PAGES = tuple(
    page.relative_to(ROOT).as_posix() for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
)
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str  # from the top of the repository
    line: int  # of its first line, from 1
    language: str  # what stands behind the fence: sh, python, json, text, ...
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of one page that are in one of `languages`, or all, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start(3)) + 1, match[2], match[3])
        for match in _FENCE.finditer(text)
        if not languages or match[2] in languages
    ]


def commands(block: Block) -> list[str]:
    """The commands of a `sh` block, without comments and with continued lines joined."""
    joined = block.text.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]
