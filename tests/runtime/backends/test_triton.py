"""Restorer against a Triton server: the real one, and one that fails as a test wants it to."""

import errno
import gc
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, service_pb2, service_pb2_grpc

from benchmarks.studies.closing import endure
from export.triton.config import APP, MEMORIZER, RESTORER
from export.triton.local_server import Server, missing, stand_in
from export.triton.repository import Serving, write_repository
from runtime import DmdnetWarning, Remote, RemoteError, Restorer, SpecificDictionary
from runtime.backends.triton.address import Address
from runtime.bundle.manifest import Manifest
from runtime.bundle.opening import Bundle, open_bundle
from runtime.errors import ClosedError, DeviceError, DictionaryError, UsageError
from runtime.images.files import read_image
from tests.conftest import ROOT, SAMPLES, Command, Face, levels, one_line, picture
from tests.fakes.triton import FakeTriton, gray, serving

SHARED_MEMORY = Path("/dev/shm")
ONCE = Remote(retries=0)
OTHER_WEIGHTS = r"another model now, weights 1{64} in place"


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Up to four faces a call; requests wait long for others, for two cores are slow."""
    out = tmp_path_factory.mktemp("triton") / "made"
    serve = Serving(device="cpu", max_batch=4, max_references=6, queue_delay_us=100_000)
    write_repository(open_bundle(bundle), out, serve)
    stand_in(out)
    return out


@pytest.fixture(scope="module")
def served(repository: Path) -> Path:
    return Path(shutil.copytree(repository, repository.with_name("served")))


@dataclass(frozen=True)
class World:
    """A server, a Restorer that calls it, one that does the same work here, and two people."""

    server: Server
    remote: Restorer
    local: Restorer
    alice: SpecificDictionary
    bob: SpecificDictionary


@pytest.fixture(scope="module")
def world(
    served: Path, bundle: Path, alice: SpecificDictionary, bob: SpecificDictionary
) -> Iterator[World]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with (
        Server(served, ("--model-control-mode=explicit", "--load-model=*")) as server,
        Restorer(server.url, remote=Remote(timeout=120)) as remote,
        Restorer(bundle, device="cpu", max_batch=4) as local,
    ):
        yield World(server, remote, local, alice, bob)


@pytest.fixture
def fake(repository: Path) -> Iterator[FakeTriton]:
    with serving(FakeTriton(repository)) as running:
        yield running


def engine_calls(server: Server) -> int:
    """Calls of the restorer so far, by Triton's own count."""
    with InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        (statistics,) = client.get_inference_statistics(RESTORER).model_stats
        return int(statistics.execution_count)


# --- the real server ---


def test_results_are_the_local_ones(world: World, faces: list[Face]) -> None:
    remote, local, alice, bob = world.remote, world.local, world.alice, world.bob
    assert remote.backend == f"Triton at {world.server.url}, fp32"
    assert remote.manifest == local.manifest
    assert remote.max_batch == 4
    with pytest.raises(DictionaryError, match="9 references, the engine takes 6"):
        remote.check(alice.merge(alice, alice))
    pictures, points = zip(*faces, *faces, faces[0], strict=True)
    people = [alice, bob, None, alice, None]
    there = remote.restore_batch(pictures, points, people)
    here = local.restore_batch(pictures, points, people)
    assert all((a == b).all() for a, b in zip(there, here, strict=True))
    assert levels(here[0], here[4]) > 10  # the dictionary makes a difference
    again = remote.memorize([faces[1][0]], [faces[1][1]])
    assert (again.rows == bob.rows).all()
    assert again.weights_sha256 == bob.weights_sha256


def test_threads_share_calls(world: World, faces: list[Face]) -> None:
    people = zip(faces * 2, [world.alice, world.bob, None, world.bob], strict=True)
    jobs = [(*face, person) for face, person in people]
    expected = [world.local.restore_aligned(*job) for job in jobs]
    before = engine_calls(world.server)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda job: world.remote.restore_aligned(*job), jobs * 3))
    assert all(levels(out, expected[n % 4]) <= 1 for n, out in enumerate(results))
    assert engine_calls(world.server) - before <= 9


def regions() -> set[Path]:
    return set(SHARED_MEMORY.glob("dmdnet-*"))


def test_shared_memory(world: World, faces: list[Face]) -> None:
    server, alice, bob = world.server, world.alice, world.bob
    pictures, points = zip(*faces, strict=True)
    here = world.local.restore_batch(pictures, points, [alice, bob])
    before = regions()
    with InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        with Restorer(server.url, remote=Remote(shared_memory=True)) as sharing:
            shared: list[set[Path]] = []
            for _ in range(2):
                there = sharing.restore_batch(pictures, points, [alice, bob])
                assert all((a == b).all() for a, b in zip(there, here, strict=True))
                sharing.restore_aligned(*faces[1], bob)
                shared.append(regions() - before)
            assert shared[0] == shared[1]  # each once
            assert len(shared[0]) == len(client.get_system_shared_memory_status().regions) == 2
            assert all(file.stat().st_mode & 0o077 == 0 for file in shared[0])  # nobody else's
        assert not client.get_system_shared_memory_status().regions
    assert regions() == before


def test_shared_memory_is_bounded(world: World, faces: list[Face]) -> None:
    before, kept, sharing = regions(), [], Remote(shared_memory=True)
    with Restorer(world.server.url, remote=sharing, dictionary_cache=1) as restorer:
        for person in (world.bob, world.bob, world.alice):
            restorer.restore_aligned(*faces[0], person)
            kept.append(regions() - before)
    assert len(kept[0]) == 1
    assert kept[1] == kept[0]
    assert not kept[2]  # alice's 1.3 MB are more than 1 MiB


@pytest.mark.long
def test_a_server_that_is_killed_and_comes_back(world: World, faces: list[Face]) -> None:
    """Four clients go on; each call is answered rightly, or fails with an error of ours."""
    server, job = world.server, (*faces[1], world.bob)
    expected = world.local.restore_aligned(*job)
    back = threading.Event()
    errors: list[str] = []
    late: list[str] = []
    wrong: list[int] = []
    shared = Remote(shared_memory=True, retries=1)

    def client(number: int) -> int:
        after = 0
        with Restorer(server.url, remote=shared if number % 2 else Remote(retries=1)) as restorer:
            started.wait()
            while after < 2:
                was_back = back.is_set()
                try:
                    out = restorer.restore_aligned(*job)
                except RemoteError as error:
                    (late if was_back else errors).append(str(error))
                else:
                    after += was_back
                    if levels(out, expected) > 1:
                        wrong.append(number)
        return after

    started = threading.Barrier(5)
    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, number) for number in range(4)]
        started.wait()
        while engine_calls(server) == 0:
            time.sleep(0.01)
        server.kill()
        while len(errors) < 4:
            time.sleep(0.01)
        server.start()
        back.set()
        assert [future.result() for future in clients] == [2] * 4
    assert not wrong
    assert not late
    assert all(server.url in error and "cannot be reached" in error for error in errors)
    # a Restorer that was idle meanwhile, too
    assert levels(world.remote.restore_aligned(*job), expected) <= 1


def test_command(world: World, tmp_path: Path, command: Command) -> None:
    world.bob.save(tmp_path / "bob.safetensors")
    photo = SAMPLES / "photos" / "astronaut.png"
    done = command(
        *("dmd-restore", photo, "--bundle", world.server.url, "--out", tmp_path / "out"),
        *("--identity", tmp_path / "bob.safetensors", "--remote-timeout", 100),
    )
    assert done.returncode == 0, done.stderr
    assert f"Triton at {world.server.url}" in done.stdout
    wanted = world.local.restore(picture(photo), world.bob).image
    assert np.array_equal(read_image(tmp_path / "out/astronaut.png"), wanted)


def test_models_that_are_not_there(world: World) -> None:
    url = world.server.url
    for ending, says in (
        ("x", "no model dmdnetx ready"),
        ("/9", r"no model dmdnet ready.*version 9"),
        ("_restorer", "not a model that dmd-triton wrote"),
    ):
        with pytest.raises(RemoteError, match=says):
            Restorer(url + ending, remote=ONCE)
    with Restorer(f"{url}/1", remote=ONCE) as first:
        assert first.max_batch == 4


# a tensor's Triton type, its shape, and its bytes, or its region in shared memory
Tensor = tuple[str, list[int], bytes | str]


def ask(server: Server, model: str, tensors: dict[str, Tensor], **parameters: object) -> Any:
    """Send a request as it is, with nothing of a client's checks."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, (datatype, shape, content) in tensors.items():
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if isinstance(content, bytes):
            request.raw_input_contents.append(content)
        else:
            tensor.parameters["shared_memory_region"].string_param = content
            tensor.parameters["shared_memory_byte_size"].int64_param = 1 << 40
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        return service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)


@pytest.mark.long
def test_hostile_requests(world: World, faces: list[Face], bob: SpecificDictionary) -> None:
    """Each is an error of its own; the server goes on, and those beside it are answered.

    A Triton of before 2.47 does not compare a tensor's bytes with its shape, and reads what lies
    behind them: those requests are sent to a newer one only.
    """
    with InferenceServerClient(f"127.0.0.1:{world.server.port}") as client:
        version = client.get_server_metadata().version
    compares_sizes = tuple(map(int, version.split(".")[:2])) >= (2, 47)
    columns, job = bob.rows.shape[1], (*faces[1], bob)
    expected = world.local.restore_aligned(*job)
    picture_, box = bytes(512 * 512 * 3), np.array([[100, 100, 200, 200]] * 4, np.int32).tobytes()
    row, one = bytes(4 * columns), np.ones(1, np.float32).tobytes()
    nan = np.full(1, np.nan, np.float32).tobytes()
    good: dict[str, Tensor] = {}
    huge = 1 << 62
    changes: list[dict[str, Tensor | None]] = []
    for name, kind, shape, content in (
        ("image", "UINT8", [1, 1, 512, 512, 3], picture_),
        ("boxes", "INT32", [1, 1, 4, 4], box),
        ("dictionary", "FP32", [1, 1, columns], row),
        ("membership", "FP32", [1, 1, 1], one),
    ):
        good[name] = (kind, shape, content)
        wrong: list[Tensor | None] = [
            None,
            *((other, shape, bytes(9)) for other in ("BYTES", "FP64", "", "nonsense")),
            (kind, [], content),
            (kind, [-1, *shape[1:]], content),
            (kind, [2, *shape[1:]], 2 * content),
            (kind, [1, huge, *shape[2:]], content),
            (kind, [1, 0, *shape[2:]], b""),
            (kind, shape, "no-such-region"),
            (kind, shape, "../../etc/passwd"),
            *([(kind, shape, b"7")] if compares_sizes else []),
        ]
        changes += [{name: tensor} for tensor in wrong]
    seven = ("FP32", [1, 7, columns], 7 * row), ("FP32", [1, 1, 7], 7 * one)
    changes += [
        {"evil": ("FP32", [1, 1], one)},
        {"membership": ("FP32", [1, 1, 1], nan)},
        {"membership": ("FP32", [1, 1, huge], b"")},
        {"boxes": ("INT32", [1, 1, 4, 4], b"\xff" * 64)},
        {"boxes": ("INT32", [1, 1, 4, 4], b"\x7f" * 64)},
        dict(zip(("dictionary", "membership"), seven, strict=True)),
        {"dictionary": ("FP32", [1, 1, columns - 1], row[4:])},
        {"dictionary": ("FP16", [1, 1, columns], row[: 2 * columns])},
    ]
    parameters: list[dict[str, object]] = [
        {"weights": ""},
        {"weights": 5},
        {"weights": True},
        {"weights": '"}{\\ \x01\u2028'},
        {"weights": "x" * 1_000_000},
    ]

    def refused(request: tuple[dict[str, Tensor | None], dict[str, object]]) -> str:
        change, named = request
        sent = {name: tensor for name, tensor in (good | change).items() if tensor is not None}
        try:
            ask(world.server, APP, sent, **named)
        except grpc.RpcError as error:
            return str(error.code())
        return f"answered: {list(change)} {named}"

    ask(world.server, APP, good, unheard_of="x" * 1000)
    hostile = [*((change, {}) for change in changes), *(({}, named) for named in parameters)]
    with ThreadPoolExecutor(8) as pool:
        beside = pool.map(lambda _: world.remote.restore_aligned(*job), range(12))
        outcomes = list(pool.map(refused, hostile))
        assert all(levels(out, expected) <= 1 for out in beside)
    # Triton says INTERNAL for some bytes that do not fit a shape, NOT_FOUND for an unknown region
    refusals = {f"StatusCode.{code}" for code in ("INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND")}
    assert set(outcomes) <= refusals, Counter(outcomes)
    for model in (RESTORER, MEMORIZER):  # operators' alone, but they must live, too
        for change in changes:
            sent = {name: each for name, each in (good | change).items() if each is not None}
            names = ("image", "boxes") if model == MEMORIZER else tuple(good)
            with suppress(grpc.RpcError):
                ask(world.server, model, {name: sent[name] for name in names if name in sent})
    assert levels(world.remote.restore_aligned(*job), expected) <= 1


@pytest.mark.long
def test_sixteen_threads_and_close(world: World) -> None:
    """A short form of `python -m benchmarks.studies.closing`."""
    sharing = Remote(shared_memory=True, timeout=120)
    seen = endure(lambda: Restorer(world.server.url, remote=sharing), 0, life=1, levels=1)
    assert seen.failures == {}
    assert len(seen.right) == 8
    assert min(seen.refused.values()) >= 16


def test_another_version(
    world: World, served: Path, bundle: Path, faces: list[Face], tmp_path: Path
) -> None:
    """The same weights: it goes on and says so. Others: an error, and no picture.

    The last test of `world`, whose server keeps what is put there.
    """
    remote, server, job = world.remote, world.server, (*faces[1], world.bob)
    expected = remote.restore_aligned(*job)
    same = open_bundle(bundle)
    weights = replace(same.manifest.weights, sha256="1" * 64)
    other = Bundle(same.path, replace(same.manifest, weights=weights))
    serve_instead(server, served, same, 2, tmp_path)
    with pytest.warns(DmdnetWarning, match="version 2 now, in place of 1; the weights are"):
        assert levels(remote.restore_aligned(*job), expected) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was said once
        remote.restore_aligned(*job)
    serve_instead(server, served, other, 2, tmp_path)  # under the same number
    with pytest.raises(RemoteError, match=OTHER_WEIGHTS):
        remote.restore_aligned(*job)
    with pytest.raises(RemoteError, match=OTHER_WEIGHTS):
        remote.memorize([faces[1][0]], [faces[1][1]])
    with (
        Restorer(server.url) as opened_now,
        pytest.raises(DictionaryError, match="made with the compact weights"),
    ):
        opened_now.restore_aligned(*job)


def serve_instead(server: Server, served: Path, bundle: Bundle, version: int, folder: Path) -> None:
    """What an operator does: a new repository in the old one's place, then reload."""
    made = folder / f"repository-{bundle.manifest.weights.sha256[:4]}"
    write_repository(
        bundle, made, Serving(device="cpu", max_batch=4, max_references=6, version=version)
    )
    stand_in(made)
    shutil.rmtree(served)
    made.rename(served)
    with InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        for model in (RESTORER, MEMORIZER, APP):
            client.load_model(model)


@pytest.mark.long
def test_encrypted(bundle: Path, restorer: Restorer, faces: list[Face], tmp_path: Path) -> None:
    reason = missing() or (None if shutil.which("openssl") else "openssl is not installed")
    if reason is not None:
        pytest.skip(reason)
    key, ca, other = (tmp_path / name for name in ("key.pem", "ca.pem", "other.pem"))
    for certificate in (other, ca):  # the key is the last one's
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=dmdnet", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
    out = tmp_path / "repository"
    write_repository(open_bundle(bundle), out, Serving(device="cpu"))
    stand_in(out)
    options = "--grpc-use-ssl=true", f"--grpc-server-cert={ca}", f"--grpc-server-key={key}"
    with Server(out, options) as server:
        url = server.url.replace("grpc://", "grpcs://")
        with Restorer(url, remote=Remote(ca=ca)) as encrypted:
            there = encrypted.restore_aligned(*faces[0])
        assert (there == restorer.restore_aligned(*faces[0])).all()
        for untrusted in (None, other):
            with pytest.raises(RemoteError, match=r"no encrypted connection.*ca="):
                Restorer(url, remote=Remote(ca=untrusted, retries=0))
        with pytest.raises(RemoteError, match="cannot be reached"):
            Restorer(server.url, remote=ONCE)  # plain, to a server that encrypts
    (tmp_path / "bad.pem").write_text("no certificate")
    for address, file, says in (
        (url, tmp_path / "none.pem", "cannot be read"),
        (url, tmp_path / "bad.pem", "not a PEM file"),
        (server.url, ca, "needs a grpcs:"),
    ):
        with pytest.raises(UsageError, match=says):
            Restorer(address, remote=Remote(ca=file))


# --- a server that fails as it is told ---


def test_it_tries_again_what_is_safe(fake: FakeTriton, faces: list[Face]) -> None:
    def busy_twice(request: Any, context: grpc.ServicerContext) -> Any:
        if len(fake.calls) <= 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        return gray(request, context)

    fake.infer = busy_twice
    with Restorer(fake.url, remote=Remote(retries=2)) as restorer:
        assert (restorer.restore_aligned(*faces[0]) == 7).all()
        assert len(fake.calls) == 3
        fake.calls.clear()
    with Restorer(fake.url, remote=Remote(retries=1)) as restorer:
        with pytest.raises(RemoteError, match=r"reached, after 1 retries \(going down\)"):
            restorer.restore_aligned(*faces[0])
        assert len(fake.calls) == 2


@pytest.mark.parametrize(
    "message",
    [
        "Failed to process the request(s) for model instance 'dmdnet_0_0', message: ValueError",
        "Stub process 'dmdnet_0_0' is not healthy.",
    ],
)
def test_it_tries_again_what_a_stranger_broke(
    fake: FakeTriton, faces: list[Face], message: str
) -> None:
    """Triton fails all that it handed over together; our model answers each by itself."""

    def broken_once(request: Any, context: grpc.ServicerContext) -> Any:
        fake.infer = gray
        context.abort(grpc.StatusCode.INTERNAL, message)

    fake.infer = broken_once
    with Restorer(fake.url) as restorer:
        assert (restorer.restore_aligned(*faces[0]) == 7).all()
    assert len(fake.calls) == 2


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "refused .INVALID_ARGUMENT: because"),
        (grpc.StatusCode.INTERNAL, "refused .INTERNAL: because"),
        (grpc.StatusCode.PERMISSION_DENIED, "access denied.*DMDNET_AUTHORIZATION"),
        (grpc.StatusCode.UNAUTHENTICATED, "access denied.*DMDNET_AUTHORIZATION"),
    ],
)
def test_it_does_not_try_again_what_was_refused(
    fake: FakeTriton, faces: list[Face], status: grpc.StatusCode, says: str
) -> None:
    fake.infer = lambda request, context: context.abort(status, "because")
    with Restorer(fake.url) as restorer, pytest.raises(RemoteError, match=says):
        restorer.restore_aligned(*faces[0])
    assert len(fake.calls) == 1


def test_timeout_holds_for_all_tries(fake: FakeTriton, faces: list[Face]) -> None:
    release = threading.Event()

    def stuck(request: Any, context: grpc.ServicerContext) -> Any:
        release.wait(30)
        return gray(request, context)

    fake.infer = stuck
    with Restorer(fake.url, remote=Remote(timeout=0.5, retries=99)) as restorer:
        with pytest.raises(RemoteError, match=r"no answer within 0\.5 s.*--remote-timeout"):
            restorer.restore_aligned(*faces[0])
        # the server is told, too, so that it does not work for nobody
        assert 0 < fake.calls[0].parameters["timeout"].int64_param <= 500_000
        release.set()
        fake.infer = lambda request, context: context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        fake.calls.clear()
        with pytest.raises(RemoteError, match="cannot be reached"):
            restorer.restore_aligned(*faces[0])
        assert len(fake.calls) <= 2  # and not 99 times
        fake.infer = gray
        assert (restorer.restore_aligned(*faces[0]) == 7).all()


def test_answers_are_checked(fake: FakeTriton, faces: list[Face]) -> None:
    side = "1, 1, 512, 512"
    changes: list[tuple[Callable[[Any], object], str]] = [
        (lambda answer: answer.raw_output_contents.__setitem__(0, b"7"), "broken"),
        (lambda answer: answer.raw_output_contents.pop(), "broken"),
        (lambda answer: setattr(answer.outputs[0], "name", "else"), "missing"),
        (lambda answer: answer.outputs.pop(), "missing"),
        (lambda answer: setattr(answer.outputs[0], "datatype", "INT8"), rf"INT8 \({side}, 3\)"),
        (lambda answer: setattr(answer.outputs[0], "datatype", "BYTES"), rf"BYTES \({side}, 3\)"),
        (lambda answer: setattr(answer.outputs[0], "datatype", "X" * 9999), "X{80}, in place"),
        (lambda answer: answer.outputs[0].shape.append(1), rf"UINT8 \({side}, 3, 1\)"),
        (lambda answer: answer.outputs[0].shape.__setitem__(0, -1), r"UINT8 \(-1, 1"),
    ]
    with Restorer(fake.url) as restorer:
        for change, says in changes:

            def changed(request: Any, context: Any, change: Any = change) -> Any:
                answer = gray(request, context)
                change(answer)
                return answer

            fake.infer = changed
            with pytest.raises(RemoteError, match=f"restored in the answer is {says}"):
                restorer.restore_aligned(*faces[0])


def test_nobodys_rows_do_not_cross_the_network(
    fake: FakeTriton, faces: list[Face], bob: SpecificDictionary
) -> None:
    with Restorer(fake.url) as restorer:
        restorer.restore_aligned(*faces[0])
        restorer.restore_aligned(*faces[0], bob)
    generic, specific = (sum(map(len, call.raw_input_contents)) for call in fake.calls)
    assert generic == 512 * 512 * 3 + 4 * 4 * 4
    assert specific == generic + bob.rows.nbytes + 4


def test_recognition_stays_with_the_client(
    fake: FakeTriton, faces: list[Face], bob: SpecificDictionary
) -> None:
    """The server gets the rows of the person who it is, and neither vectors nor the name."""
    known = replace(bob, name="Bob of the sea")
    with Restorer(fake.url) as restorer:
        result = restorer.restore(faces[1][0], people=[known])
    assert [face.name for face in result.faces] == ["Bob of the sea"]
    assert result.faces[0].likeness is not None
    (call,) = fake.calls
    sent = sum(map(len, call.raw_input_contents))
    assert sent == 512 * 512 * 3 + 4 * 4 * 4 + bob.rows.nbytes + 4
    assert known.vectors.tobytes()[:16] not in call.SerializeToString()
    assert b"Bob" not in call.SerializeToString()


def test_a_server_whose_graph_does_not_isolate_people(
    fake: FakeTriton, faces: list[Face], bob: SpecificDictionary
) -> None:
    """A repository of an earlier version: strangers share its calls, our own faces do not."""
    manifest = fake.config.parameters["manifest"]
    old = replace(Manifest.from_json(manifest.string_value), isolates_people=False)
    manifest.string_value = old.to_json()
    with pytest.warns(DmdnetWarning, match="joins requests of people.*export the bundle again"):
        restorer = Restorer(fake.url)
    (face, points), _ = faces
    with restorer, pytest.warns(DmdnetWarning, match="calls of their own"):
        restorer.restore_batch([face] * 3, [points] * 3, [bob, bob, None])
    assert len(fake.calls) == 2


def test_authorization_goes_with_every_call(
    fake: FakeTriton,
    faces: list[Face],
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = Remote(authorization="Bearer 1234")
    assert "1234" not in repr(secret)
    with Restorer(fake.url, remote=secret) as restorer:
        restorer.restore_aligned(*faces[0])
    assert len(fake.headers) >= 3
    assert {heard["authorization"] for heard in fake.headers} == {"Bearer 1234"}
    fake.headers.clear()
    monkeypatch.setenv("DMDNET_AUTHORIZATION", "Bearer 5678")
    fake.infer = lambda request, context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    photo = SAMPLES / "astronaut.png"
    done = command("dmd-restore", photo, "--bundle", fake.url, "--out", tmp_path / "out")
    one_line(done, "access denied", "DMDNET_AUTHORIZATION")
    assert "5678" not in done.stdout + done.stderr
    assert {heard["authorization"] for heard in fake.headers} == {"Bearer 5678"}


def test_authorization_unencrypted_to_another_host() -> None:
    with (
        pytest.warns(DmdnetWarning, match="unencrypted"),
        pytest.raises(RemoteError, match=r"cannot be reached|no answer"),
    ):
        Restorer(
            "grpc://nowhere.invalid:8001/dmdnet",
            remote=Remote(authorization="Bearer 1234", retries=0, timeout=5),
        )


def test_a_manifest_that_is_altered(fake: FakeTriton) -> None:
    manifest = fake.config.parameters["manifest"]
    manifest.string_value = manifest.string_value.replace("fp32", "fp16")
    with pytest.raises(RemoteError, match="manifest is unusable: it was altered"):
        Restorer(fake.url)
    manifest.string_value = "[" * 100_000
    with pytest.raises(RemoteError, match="manifest is unusable: it is nested too deeply"):
        Restorer(fake.url)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_batch", "1.5"),
        ("max_batch", "0"),
        ("max_batch", "-1"),
        ("max_batch", "9" * 5000),
        ("max_references", "many"),
        ("memorizer", "a/b"),
        ("memorizer", "\0"),
    ],
)
def test_parameters_of_a_wrong_form(fake: FakeTriton, key: str, value: str) -> None:
    fake.config.parameters[key].string_value = value
    with pytest.raises(RemoteError, match=rf"the model's parameters are unusable: .*\$\.{key}"):
        Restorer(fake.url)


@pytest.mark.parametrize("versions", [[], ["newest"], ["1", ""], ["9" * 5000]])
def test_versions_of_a_wrong_form(fake: FakeTriton, versions: list[str]) -> None:
    fake.versions = versions
    with pytest.raises(RemoteError, match="the server names no version of the model"):
        Restorer(fake.url)


def test_wrong_arguments(bundle: Path, fake: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="server chooses its device"):
        Restorer(fake.url, device="cpu")
    with pytest.raises(UsageError, match="remote needs a server's address"):
        Restorer(bundle, remote=Remote())
    with pytest.raises(UsageError, match=r"max_batch 5.*takes 4.*dmd-triton"):
        Restorer(fake.url, max_batch=5)
    for wrong in (0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="timeout must be over 0 s, 1000000 s at most"):
            Remote(timeout=wrong)
    for text in ("Bearer \n", "Bearer \u0663"):
        with pytest.raises(UsageError, match="must be one line of ASCII text"):
            Remote(authorization=text)
    monkeypatch.setattr(Address, "is_local", lambda self: False)
    with pytest.raises(UsageError, match="needs the server on this host"):
        Restorer(fake.url, remote=Remote(shared_memory=True))
    monkeypatch.setitem(__import__("sys").modules, "tritonclient.grpc", None)
    with pytest.raises(DeviceError, match=r"install dmdnet-runtime\[triton\]"):
        Restorer(fake.url)


@pytest.mark.parametrize(
    "url",
    [
        "grpc://host/dmdnet",
        "grpc://host:8001",
        "grpc://host:8001/",
        "grpc://:8001/dmdnet",
        "grpc://host:x/dmdnet",
        "grpc://host:8001/dmdnet/new",
        "grpc://host:99999/dmdnet",
        "grpc://host:8001/dmdnet?x=1",
        "grpc://me:secret@host:8001/dmdnet",
        "grpc://[x",
        "grpc://[x]:1/m",
        "grpc://ho st:1/m",
        "grpc://\ud800:1/m",
        "grpc://h\0:1/m",
        "grpc://host:8001/dmdnet/\u0663",
        f"grpc://host:8001/dmdnet/{'9' * 5000}",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Restorer(url)
    assert "secret" not in str(caught.value)


def test_addresses() -> None:
    address = Address.parse("grpcs://[::1]:8001/dmdnet/3")
    assert (address.host, address.port, address.model) == ("::1", 8001, "dmdnet")
    assert (address.version, address.secure, address.target) == ("3", True, "[::1]:8001")
    assert Address.parse("grpc://host:1/m").version == ""
    assert not Address.parse("grpc://a..b:1/m").is_local()
    assert Address.parse("grpc://127.0.0.1:1/m").is_local()
    assert not Address.parse("grpc://192.0.2.1:1/m").is_local()  # of documentation


def refuse(status: grpc.StatusCode, request: Any, context: grpc.ServicerContext) -> Any:
    context.abort(status, "because")


STUCK = 60  # seconds that no call of these tests takes


@dataclass
class Working:
    """A call with a dictionary in shared memory, which the server has and does not answer."""

    fake: FakeTriton
    release: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.fake.infer = lambda request, context: (
            self.release.wait(STUCK) and gray(request, context)
        )

    def begun(self) -> None:
        deadline = time.monotonic() + STUCK
        while not self.fake.calls and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.fake.calls


def test_nothing_is_left_when_a_restorer_is_closed_at_work(
    fake: FakeTriton, faces: list[Face], bob: SpecificDictionary
) -> None:
    """The region goes when the call ends that reads it, from the server, too."""
    before, working = regions(), Working(fake)
    restorer = Restorer(fake.url, remote=Remote(shared_memory=True))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(restorer.restore_aligned, *faces[0], bob)
        working.begun()
        assert len(regions() - before) == len(fake.regions) == 1
        restorer.close()
        with pytest.raises(ClosedError):
            waiting.result()
        working.release.set()
    assert regions() == before
    assert fake.regions == {}
    with pytest.raises(ClosedError):
        restorer.restore_aligned(*faces[0], bob)
    assert regions() == before


def test_nothing_is_left_by_a_restorer_that_is_forgotten(
    fake: FakeTriton, faces: list[Face], bob: SpecificDictionary
) -> None:
    before = regions()
    restorer = Restorer(fake.url, remote=Remote(shared_memory=True))
    restorer.restore_aligned(*faces[0], bob)
    assert len(regions() - before) == len(fake.regions) == 1
    del restorer
    gc.collect()
    assert regions() == before
    assert fake.regions == {}


def test_nothing_is_left_by_calls_that_fail(
    fake: FakeTriton, faces: list[Face], bob: SpecificDictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = regions()
    sharing = Remote(shared_memory=True, retries=0)
    for status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
        fake.infer = partial(refuse, status)
        with Restorer(fake.url, remote=sharing) as restorer, pytest.raises(RemoteError):
            restorer.restore_aligned(*faces[0], bob)
        assert regions() == before
        assert fake.regions == {}

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("runtime.backends.triton.shared_memory._write", no_room)
    with Restorer(fake.url, remote=sharing) as restorer:
        with pytest.raises(RemoteError, match="/dev/shm: no room for a dictionary of 0 MiB"):
            restorer.restore_aligned(*faces[0], bob)
        assert regions() == before


CLIENT = """
import sys, time
from runtime import Remote, Restorer, SpecificDictionary
from runtime.samples.faces import samples
face = samples()[0]
restorer = Restorer(sys.argv[1], remote=Remote(shared_memory=True))
restorer.restore_aligned(face.image, face.landmarks, SpecificDictionary.load(sys.argv[2]))
print("done", flush=True)
if sys.argv[3] == "stays":
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["exit", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_by_a_process_that_ends(
    fake: FakeTriton, bob: SpecificDictionary, tmp_path: Path, end: str
) -> None:
    """However it ends, and although nobody closes the Restorer."""
    before = regions()
    bob.save(tmp_path / "bob.safetensors")
    words = [fake.url, str(tmp_path / "bob.safetensors"), "goes" if end == "exit" else "stays"]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == "done\n", client.stderr.read()
        if end != "exit":
            assert len(regions() - before) == 1
            client.send_signal(getattr(signal, end))
        errors = client.stderr.read()  # ends when Python's tracker of shared memory has ended, too
    assert regions() == before
    if end == "exit":
        assert client.returncode == 0
        assert errors == ""
        assert fake.regions == {}


def test_closed(fake: FakeTriton, faces: list[Face]) -> None:
    """Before a call, and in the middle of one."""
    release = threading.Event()
    fake.infer = lambda request, context: release.wait(30) and gray(request, context)
    restorer = Restorer(fake.url)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(restorer.restore_aligned, *faces[0])
        deadline = time.monotonic() + 20
        while not fake.calls and time.monotonic() < deadline:
            time.sleep(0.01)
        restorer.close()
        with pytest.raises(ClosedError, match="this Restorer is closed"):
            waiting.result()
        release.set()
    restorer.close()
    with pytest.raises(ClosedError, match="this Restorer is closed"):
        restorer.restore_aligned(*faces[0])
