"""Which weights the demo uses when the user names none; it never downloads any by itself."""

import os

from export.model.checkpoint import ENVIRONMENT, PUBLISHED_URL
from export.model.download import Source
from runtime.bundle.weights import COMPACT, PUBLISHED_SHA256


def choose_checkpoint() -> tuple[str, str]:
    """The checkpoint, as `export.model.checkpoint.load_weights` takes it, and why it was chosen.

    It is what `DMDNET_CHECKPOINT` names, or the published weights if they were downloaded before,
    or the compact ones, which come with this package.
    """
    if named := os.environ.get(ENVIRONMENT):
        return named, f"{ENVIRONMENT} names them"
    if Source.parse(PUBLISHED_URL, PUBLISHED_SHA256).cached().is_file():
        return PUBLISHED_URL, "the published weights are on this machine already"
    return COMPACT, (
        "the published weights are not on this machine, and the demo does not download them; "
        f"{ENVIRONMENT} can name them"
    )
