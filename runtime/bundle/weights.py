"""The weights that a bundle was made from, and what its users must know of them."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from runtime.bundle.typed_json import Sha256, Text

PUBLISHED_SHA256 = "70daeb4b1fd10f241043b587d892a941f2651d7322db02f06ff64b166537f65c"
"""SHA-256 of the authors' weights; whatever is made from them is under their licence."""

COMPACT_SHA256 = "8289c53ee1d4bec38efd1426666f3db00d65926fa7240a89d9af314c3715f3ae"
"""SHA-256 of the weights that come with this package: export/model/weights/README.md."""

PUBLISHED, COMPACT, SYNTHETIC, OTHER = "published", "compact", "synthetic", "other"

COMPACT_REMARK = "compact weights, not the published ones"
"""What is shown beside results of the compact weights."""

TRAINED_FOR = (
    "compact weights were trained against the network that measures identity: a gain in it proves "
    "nothing for other weights"
)
"""What is shown beside identity distances of faces that the compact weights restored."""

_NOTICES = {
    PUBLISHED: "the published weights are CC BY-NC-SA 4.0: for non-commercial use only",
    COMPACT: "compact weights (Apache-2.0): a small network that restores modestly; it does not "
    "show what the published weights can do",
    SYNTHETIC: "warning: synthetic weights: they restore nothing",
}
_REMARKS = {
    COMPACT: COMPACT_REMARK,
    SYNTHETIC: "synthetic weights: nothing is restored",
}


@dataclass(frozen=True)
class WeightsRecord:
    """Where the weights came from, and what they are."""

    source: Annotated[Text, Meta(description="file name, URL, or seed")]
    sha256: Annotated[
        Sha256,
        Meta(description="of the checkpoint file; of names, shapes and numbers if synthetic"),
    ]
    kind: Annotated[
        str,
        Meta(
            pattern=r"^(published|compact|synthetic|other)$(?!\n)",
            description="published: the authors'; compact: this package's own small ones; "
            "synthetic: a stand-in that restores nothing; other: of unknown origin",
        ),
    ]

    @property
    def notice(self) -> str | None:
        """What users of these weights must know, such as licence and limits; None: nothing."""
        return _NOTICES.get(self.kind)

    @property
    def remark(self) -> str | None:
        """A few words to show beside results of these weights; None where none are needed."""
        return _REMARKS.get(self.kind)

    @property
    def likeness_remark(self) -> str | None:
        """A sentence to show beside identity distances of faces that these weights restored."""
        return TRAINED_FOR if self.kind == COMPACT else self.remark


def kind_of(sha256: str) -> str:
    """The kind of a checkpoint file's weights, by the file's SHA-256."""
    return {PUBLISHED_SHA256: PUBLISHED, COMPACT_SHA256: COMPACT}.get(sha256, OTHER)


def weights_name(sha256: str) -> str:
    """What an error calls the weights of a checkpoint file with this SHA-256."""
    kind = kind_of(sha256)
    return f"weights {sha256}" if kind == OTHER else f"the {kind} weights"
