"""Attack a stranger who shares an engine call: what a dictionary does to another person's face.

    python -m benchmarks.studies.isolation --bundle BUNDLE --json FILE

The graph alone is attacked, on the CPU, without the runtime's checks of dictionaries. A call has
the attacker's face and a neighbour's, who brings a dictionary or none. Three differences are
measured, in levels of 255: of the neighbour's face from the same face restored alone; of that face
from the one beside an honest dictionary of as many rows, where the same arithmetic must give the
same bits; and of the attacker's face beside two different neighbours, which is what it can learn of
them.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies import record
from runtime.backends.base import Boxes, Engine, Rows
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.layout import dictionary_layout
from runtime.bundle.opening import Bundle, open_bundle
from runtime.dictionary import LARGEST
from runtime.images.arrays import Image
from runtime.machine.onnx_session import open_session
from runtime.samples.faces import sample_faces

Queries = Mapping[tuple[int, str], NDArray[np.float32]]
"""The queries of a face to its dictionary, (N,) by scale and part."""


@dataclass(frozen=True)
class Effect:
    """The largest differences that an attack makes, in levels of 255.

    `from_alone`: of the neighbour's face from the same face restored alone. `from_honest`: of that
    face from the one beside an honest dictionary. `learnt`: of the attacker's face beside one
    neighbour and another. `from_theirs`: of the attacker's face from what the neighbour's
    dictionary would make of it; 0 means that the attacker reads somebody else's dictionary.
    """

    attack: str
    from_alone: int
    from_alone_without_dictionary: int
    from_honest: int
    from_honest_without_dictionary: int
    learnt: int
    from_theirs: int

    @property
    def is_isolated(self) -> bool:
        changes = (self.from_honest, self.from_honest_without_dictionary, self.learnt)
        return not any(changes)


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.isolation", __doc__)
    bundles = "bundle to attack; may be given several times"
    parser.add_argument("--bundle", required=True, type=Path, action="append", help=bundles)
    args = parser.parse_args()
    record.record(parser.prog, args.json, lambda: measure(args.bundle))


def measure(paths: Sequence[Path]) -> dict[str, object]:
    """The effects in each bundle; `failures`: those that a bundle's manifest says cannot be."""
    found: dict[str, object] = {}
    failures: list[str] = []
    for path in paths:
        bundle = open_bundle(path)
        backend = open_backend(bundle, Choice("cpu"))
        rows = effects(bundle, backend)
        backend.close()
        isolates = bundle.manifest.isolates_people
        for row in rows:
            print(f"{path.name}: {row}", file=sys.stderr, flush=True)
            if isolates and not row.is_isolated:
                failures.append(f"{path.name}: {row.attack}")
        found[path.name] = {
            "precision": bundle.manifest.precision,
            "isolates_people": isolates,
            "effects": rows,
        }
    result: dict[str, object] = {"what": "largest differences in levels of 255", "bundles": found}
    return result | ({"failures": failures} if failures else {})


def effects(bundle: Bundle, engine: Engine) -> list[Effect]:
    """The effect of each attack on a bundle whose graphs `engine` runs, with two faces a call."""
    images, boxes = sample_faces()
    honest, theirs, others = (
        engine.memorize(images[chosen], boxes[chosen]) for chosen in ([0, 2], [1], [2])
    )
    graph = bundle.path / bundle.manifest.restorer.file
    asked = [queries(graph, images[[face]], boxes[[face]]) for face in (0, 1)]

    def call(mine: Rows, neighbours: Rows | None) -> list[Image]:
        people = [mine] if neighbours is None else [mine, neighbours]
        membership = np.zeros((2, sum(map(len, people))), np.float32)
        membership[0, : len(mine)] = 1
        membership[1, len(mine) :] = 1
        return list(engine.restore(images[:2], boxes[:2], people, membership))

    def alone(face: int, rows: Rows, known: bool) -> Image:
        membership = np.full((1, len(rows)), known, np.float32)
        (one,) = engine.restore(images[[face]], boxes[[face]], [rows], membership)
        return np.asarray(one)

    their_picture = alone(0, theirs, True)
    by_itself, by_itself_unknown = alone(1, theirs, True), alone(1, theirs, False)
    (_, beside_honest), (_, unknown_beside_honest) = call(honest, theirs), call(honest, None)
    found = []
    for attack, rows in attacks(honest, *asked).items():
        mine, neighbour = call(rows, theirs)
        _, unknown = call(rows, None)
        elsewhere, _ = call(rows, others)
        found.append(
            Effect(
                attack,
                from_alone=_levels(neighbour, by_itself),
                from_alone_without_dictionary=_levels(unknown, by_itself_unknown),
                from_honest=_levels(neighbour, beside_honest),
                from_honest_without_dictionary=_levels(unknown, unknown_beside_honest),
                learnt=_levels(mine, elsewhere),
                from_theirs=_levels(mine, their_picture),
            )
        )
    return found


def attacks(honest: Rows, own: Queries, theirs: Queries) -> dict[str, Rows]:
    """Dictionaries like `honest` (K, D), by an attacker who knows the queries of both faces."""
    most = float(np.finfo(honest.dtype).max)
    holes = honest.copy()
    holes[0, -1], holes[-1, -2] = np.nan, -np.inf
    return {
        "keys away from the own query": _with_keys(honest, own, -LARGEST),
        "keys towards the neighbour's query": _with_keys(honest, theirs, LARGEST),
        "own logits at the lowest number": _with_keys(honest, own, -most),
        "the largest numbers": np.full_like(honest, most),
        "one NaN, one infinity": holes,
        "nothing but NaN": np.full_like(honest, np.nan),
    }


def queries(graph: Path, image: Image, boxes: Boxes) -> Queries:
    """The queries of the face in `image` (1, 512, 512, 3), read from the restorer file `graph`."""
    import onnx
    from onnx.external_data_helper import load_external_data_for_model
    from onnx.utils import Extractor

    model = onnx.load(graph, load_external_data=False)
    wanted = {}
    for segment in dictionary_layout():
        name = f"{segment.part.upper()}_{segment.scale}_Q.Query.2.weight"
        (node,) = [n for n in model.graph.node if any(i.endswith(name) for i in n.input)]
        wanted[segment.scale, segment.part] = node.output[0]
    asking = Extractor(model).extract_model(["image", "boxes"], list(wanted.values()))
    load_external_data_for_model(asking, str(graph.parent))
    session = open_session(asking.SerializeToString())
    inputs: dict[str, NDArray[Any]] = {"image": image, "boxes": boxes}
    found = session.run(list(wanted.values()), inputs)
    return {
        key: np.asarray(query, np.float32).ravel() for key, query in zip(wanted, found, strict=True)
    }


def _with_keys(honest: Rows, asked: Queries, largest: float) -> Rows:
    """`honest` with keys along the queries, whose largest number is `largest` (below 0: away)."""
    rows, width = honest.copy(), honest.shape[1] * 64 // dictionary_layout()[-1].stop
    for segment in dictionary_layout(width):
        if segment.kind == "key":
            query = asked[segment.scale, segment.part]
            rows[:, segment.start : segment.stop] = query / np.abs(query).max() * largest
    return rows


def _levels(one: Image, other: Image) -> int:
    return int(np.abs(one.astype(int) - other).max())


if __name__ == "__main__":
    main()
