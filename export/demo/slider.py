"""A slider that compares two pictures, for HTML pages that load no other file."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">"""
"""The element for a page's head that forbids every request, whatever else the page holds."""


@dataclass(frozen=True)
class Comparison:
    """What a slider shows.

    `before`: the picture on the left; `after`: by name, the pictures that can be chosen for the
    right; all as data URIs. `left` is written under the left side, `right` before the name of the
    picture on the right.
    """

    name: str
    before: str
    after: Mapping[str, str]
    left: str = "before"
    right: str = "after"


def data_uri(kind: str, data: bytes) -> str:
    """A picture file's bytes as a data URI; `kind` is "png" or "jpeg"."""
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def slider(shown: Comparison) -> str:
    """The slider as HTML, for a page with `STYLE` in its style and `SCRIPT` at its body's end."""
    name, right = escape(shown.name), escape(shown.right)
    options, images = [], [_image(shown.before, f"{name} before", "")]
    for place, (subject, after) in enumerate(shown.after.items()):
        options.append(f'<option value="{place}">{escape(subject)}</option>')
        hidden = "hidden" if place else ""
        alt = f"{name}, {escape(subject)}"
        images.append(_image(after, alt, f'class="after" {hidden}'))
    label = f"{name}: share of the picture that shows before, in percent"
    choice = f'<label>{right}: <select aria-label="{right}">{"".join(options)}</select></label>'
    if len(options) == 1:
        choice = f"{right}: {escape(next(iter(shown.after)))}"
    return f"""<div class="comparison"><h3>{name}</h3>
<div class="stack">{"".join(images)}<span class="line"></span>
<input type="range" min="0" max="100" value="50" aria-label="{label}"></div>
<div class="sides"><span>{escape(shown.left)}</span><span>{choice}</span></div></div>
"""


def _image(address: str, alt: str, attributes: str) -> str:
    return f'<img src="{escape(address)}" alt="{alt}" {attributes}>'


STYLE = """.comparison h3 { font-weight: 600; margin: 0 0 .4rem; font-size: 1rem }
.comparisons { display: grid; gap: 2rem;
 grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)) }
.stack { position: relative; --at: 50%; line-height: 0 }
.stack:focus-within { outline: 3px solid #48f }
.stack img { width: 100% }
.stack .after { position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--at)) }
.stack .line { position: absolute; inset: 0 auto 0 var(--at); width: 2px; margin-left: -1px;
 background: #fff; box-shadow: 0 0 3px #000 }
.stack input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
 cursor: ew-resize; appearance: none; touch-action: pan-y }
.stack input::-webkit-slider-thumb { appearance: none; width: 2px }
.stack input::-moz-range-thumb { width: 2px; border: 0 }
.sides { display: flex; justify-content: space-between; gap: 1rem; margin-top: .4rem }
.sides span { min-width: 0 }
.sides > :first-child { flex: none }
.sides select { max-width: 100% }"""

SCRIPT = """for (const box of document.querySelectorAll(".comparison")) {
  const range = box.querySelector("input"), choice = box.querySelector("select");
  const show = () => {
    box.querySelector(".stack").style.setProperty("--at", range.value + "%");
    box.querySelectorAll(".after").forEach((image, place) =>
      image.hidden = choice && place != choice.value);
  };
  box.addEventListener("input", show);
  show();  // a reloaded page may bring back what was chosen
}"""
