"""Strangers whose requests a real Triton server joins into one engine call."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.studies.isolation import attacks, queries
from export.triton.local_server import Server, missing, stand_in
from export.triton.repository import Serving, write_repository
from runtime import Remote, Restorer, SpecificDictionary
from runtime.bundle.opening import open_bundle
from runtime.samples.faces import sample_faces
from tests.conftest import BundleOf, Face, levels
from tests.runtime.backends.test_triton import engine_calls
from tests.runtime.test_isolation import FROM_ALONE

pytestmark = [
    pytest.mark.long,  # a server for each precision
    pytest.mark.filterwarnings("ignore:a float16 bundle is slower on a CPU"),
]
ROUNDS = 4


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_attacker_on_the_same_server(
    precision: str,
    bundle_of: BundleOf,
    faces: list[Face],
    tmp_path: Path,
) -> None:
    """Pairs of an attacker and a victim, who ask at the same time, and one of nobody known."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    bundle = bundle_of(precision)
    images, boxes = sample_faces()
    (face, points), (other, other_points) = faces
    with Restorer(bundle, device="cpu") as local:
        honest, theirs = local.memorize([face], [points]), local.memorize([other], [other_points])
        graph = bundle / local.manifest.restorer.file
        asked = [queries(graph, images[[each]], boxes[[each]]) for each in (0, 1)]
        made = attacks(honest.rows, *asked)
        jobs = [(other, other_points, theirs), (other, other_points, None)]
        for name in ("keys away from the own query", "keys towards the neighbour's query"):
            attack = SpecificDictionary(made[name], honest.layout, honest.weights_sha256)
            jobs.append((face, points, attack))
        wanted = [local.restore_aligned(*job) for job in jobs]
        from_theirs = local.restore_aligned(face, points, theirs)
    out = tmp_path / "repository"
    serving = Serving(device="cpu", max_batch=4, max_references=8, queue_delay_us=200_000)
    write_repository(open_bundle(bundle), out, serving)
    stand_in(out)
    with (
        Server(out) as server,
        Restorer(server.url, remote=Remote(timeout=120)) as remote,
        ThreadPoolExecutor(len(jobs)) as pool,
    ):
        assert remote.manifest.isolates_people
        before = engine_calls(server)
        for _ in range(ROUNDS):
            got = list(pool.map(lambda job: remote.restore_aligned(*job), jobs))
            for one, alone in zip(got, wanted, strict=True):
                assert levels(one, alone) <= FROM_ALONE[precision]
            assert all(levels(one, from_theirs) > 10 for one in got[2:])
        # else nobody shared a call, and nothing was tried
        assert engine_calls(server) - before < ROUNDS * len(jobs)
