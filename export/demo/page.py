"""The demo's result as one self-contained HTML page, which loads no other file."""

from html import escape
from string import Template

from export.demo.pictures import UPSCALE, Trial
from export.demo.slider import POLICY, SCRIPT, STYLE, Comparison, data_uri, slider
from runtime.images.arrays import Image
from runtime.images.encoding import encode


def page(trials: list[Trial], remark: str | None, notes: list[str]) -> str:
    """The page as HTML; `remark` goes beside each result, each of `notes` is a sentence."""
    return _PAGE.substitute(
        policy=POLICY,
        style=STYLE,
        script=SCRIPT,
        notes="".join(f"<p>{escape(note)}.</p>" for note in notes),
        photographs="".join(_photograph(trial, remark) for trial in trials),
    )


def _photograph(trial: Trial, remark: str | None) -> str:
    after = f"after ({remark})" if remark else "after"
    face, height, width = trial.faces, *trial.before.shape[:2]
    before_db, after_db = trial.psnr_db
    comparisons = [
        Comparison(
            "The face",
            _picture(face["before"]),
            {after: _picture(face["after"]), "original": _picture(face["original"])},
            right="on the right",
        ),
        Comparison(
            "The photograph",
            _picture(trial.before),
            {after: _picture(trial.after), "original": _picture(trial.original)},
            right="on the right",
        ),
    ]
    said = (
        f"Before: {trial.recipe.text}, {width} x {height} pixels. After: restored at {UPSCALE} "
        f"times that size. PSNR of the face against the original: {before_db:.1f} dB before, "
        f"{after_db:.1f} dB after."
    )
    return (
        f"<h2>{escape(trial.name)}</h2><p>{escape(said)}</p>"
        f'<div class="comparisons">{"".join(map(slider, comparisons))}</div>'
    )


def _picture(image: Image) -> str:
    return data_uri("jpeg", encode(image, ".jpg", None, None)[0])


_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
$policy
<meta name="viewport" content="width=device-width">
<title>dmdnet-runtime: demo</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem }
h1, h2, h3 { line-height: 1.2; font-weight: 600 }
h2 { margin-top: 2.5rem }
$style
.comparisons { grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)) }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e4e6ea } }
</style></head><body>
<h1>Faces degraded and restored</h1>
$notes
<p>Drag over a picture, or focus it and use the arrow keys.</p>
$photographs
<script>
$script
</script></body></html>
""")
