"""A chart of the error that each block causes when it alone is quantised."""

import io
from pathlib import Path

from runtime.bundle.manifest import Quantization
from runtime.storage.local import write_atomically

_COLORS = {True: "tab:blue", False: "tab:orange"}


def draw(quantization: Quantization, path: Path) -> None:
    """Draw each block's PSNR alone as a PNG at `path`; a lower bar is a greater error."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    blocks = quantization.blocks
    figure = Figure(figsize=(9, 0.24 * len(blocks) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(
        [block.name for block in blocks],
        [block.psnr_db["whole"] for block in blocks],
        color=[_COLORS[block.integer] for block in blocks],
    )
    axes.axvline(quantization.min_psnr_db, color="black", linestyle=":")
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlabel("PSNR against float32 with this block alone in INT8, dB (dotted: the gate)")
    handles = [Patch(color=_COLORS[kept]) for kept in (True, False)]
    axes.legend(handles, ["INT8", "put back to float"], loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
