"""Reading a page that we wrote: as a parser does, and as a real browser shows it."""

import json
import re
import shutil
import subprocess
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

VOID = {"meta", "img", "input", "br"}
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")


class Page(HTMLParser):
    """Parses a page; elements that are not closed in order are errors."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.drawn: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "text":
            self.drawn.append(data)

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.attributes if name in names]


def text_of(page: str) -> str:
    """The text of a page without plots and scripts."""
    bare = re.sub(r"<(svg|script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub("<[^>]+>", " ", bare)).split())


def assert_loads_nothing(page: str) -> None:
    """It makes no request, whatever is in it."""
    parsed = Page(page)
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    assert policy in [" ".join(value.split()) for value in parsed.values("content")]
    for link in parsed.values("src", "href", "xlink:href", "srcset", "action", "data"):
        assert link.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "#"))
    assert not parsed.tags.keys() & {"link", "iframe", "object", "embed", "base", "form"}
    assert "@import" not in page
    bare = re.sub(r' xmlns(:xlink)?="http://www\.w3\.org/[\w/]+"', "", page)
    assert not re.search(r"https?:|url\((?!#)|[\"']//", bare)


def ask(folder: Path, page: str, script: str) -> object:
    """What the script's `answer` is in a browser that shows the page."""
    early = "<script>let refused = 0;"
    early += "document.addEventListener('securitypolicyviolation', () => refused++)</script>"
    late = f"<script>{script}\ndocument.body.dataset.answer = JSON.stringify(answer)</script>"
    page = page.replace("<head>", f"<head>{early}", 1).replace("</body>", f"{late}</body>", 1)
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1200,4000", path.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-answer="([^"]*)"', ran.stdout)
    assert found
    return json.loads(unescape(found[1]))
