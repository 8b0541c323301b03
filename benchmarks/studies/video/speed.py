"""How fast a clip is restored: against its network alone, and against decoding and encoding alone.

The first needs a bundle of the size that is asked about; the second takes an engine that costs
nothing. In either race both take turns in one run, on all cores.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure.clips import Clip, Recipe, one_person, write_clip
from benchmarks.measure.timing import Ratio, Times, race, seconds_of
from benchmarks.studies.video.engines import Call, NotingEngine
from benchmarks.suites.ceiling import FLOOR, NULL, NullEngine
from runtime import VideoReport, restore_video
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.opening import open_bundle
from runtime.errors import BenchmarkError
from runtime.restorer import Restorer
from runtime.video.files.encoding import Encoding, plan_for
from runtime.video.files.source import Source
from runtime.video.frames import ClipFrame

SIZE = (1280, 720)
MOST_OVER_NETWORK = 1.15  # times the network's own time, that a whole clip may take
LEAST_OF_FLOOR = 0.5  # of decoding and encoding alone, in frames a second
CLIP, NETWORK = "whole clip", "network alone"

_LOOKS = 20  # frames in which faces are searched for, to say what it costs


@dataclass(frozen=True)
class Network:
    """A whole clip against its network alone.

    `stages_ms_a_frame`: of work, by stage; stages overlap, and wait for each other's cores.
    """

    backend: str
    frames: int
    faces: int
    clip_over_network: Ratio
    frames_a_second: float
    seconds: dict[str, tuple[float, ...]]
    stages_ms_a_frame: dict[str, float]


@dataclass(frozen=True)
class Floor:
    """A whole clip with a network of no cost against decoding and encoding alone.

    `search_ms`: of the search for faces in a frame, by itself.
    """

    frames: int
    null_engine_of_floor: Ratio  # in frames a second
    frames_a_second: dict[str, float]
    seconds: dict[str, tuple[float, ...]]
    stages_ms_a_frame: dict[str, float]
    search_ms: float


def measure(bundle: Path, seconds: float, network_seconds: float, rounds: int) -> dict[str, object]:
    """Both races, with clips of so many seconds; `failures` says which goal was missed."""
    with TemporaryDirectory() as folder:
        floor = against_floor(bundle, _clip(Path(folder) / "floor", seconds), rounds)
        network = against_network(bundle, _clip(Path(folder) / "clip", network_seconds), rounds)
    failures = []
    if (ratio := network.clip_over_network.median) > MOST_OVER_NETWORK:
        failures.append(f"a clip takes {ratio:.2f} times the network's own time")
    if (share := floor.null_engine_of_floor.median) < LEAST_OF_FLOOR:
        failures.append(f"with a null engine, {share:.2f} of decoding and encoding alone")
    return {
        "what": f"{SIZE[0]} x {SIZE[1]}, one face, H.264 and AAC",
        "rounds": rounds,
        "network": network,
        "floor": floor,
        "failures": failures,
    }


def _clip(base: Path, seconds: float) -> Clip:
    recipe = Recipe(one_person(SIZE, seconds))
    return write_clip(base.with_suffix(recipe.suffix), recipe)


def against_network(bundle: Path, clip: Clip, rounds: int) -> Network:
    """Race a whole clip and the calls that its network had, which are noted beforehand."""
    opened = open_bundle(bundle, verify=True)
    engine = NotingEngine(open_backend(opened, Choice("cpu")))
    calls, reports = list[Call](), list[VideoReport]()
    with Restorer(bundle, engine=engine) as restorer:
        engine.notes = calls
        _restore(restorer, clip, [])
        engine.notes = None
        works = {
            CLIP: partial(_restore, restorer, clip, reports),
            NETWORK: partial(engine.repeat, calls),
        }
        times = race(works, fewest=rounds)
    return Network(
        backend=engine.description,
        frames=len(clip.times),
        faces=sum(len(call.image) for call in calls),
        clip_over_network=times[CLIP].against(times[NETWORK], NETWORK),
        frames_a_second=len(clip.times) / times[CLIP].median,
        seconds={name: each.seconds for name, each in times.items()},
        stages_ms_a_frame=_stages(reports[1:], len(clip.times)),
    )


def against_floor(bundle: Path, clip: Clip, rounds: int) -> Floor:
    """Race a whole clip with the null engine, and its decoding and encoding alone."""
    frames, reports = len(clip.times), list[VideoReport]()
    with Restorer(bundle, engine=NullEngine()) as restorer:
        works = {
            NULL: partial(_restore, restorer, clip, reports),
            FLOOR: partial(recode, clip.path),
        }
        times = race(works, fewest=rounds)
        source = Source(str(clip.path))
        pictures = [ClipFrame(each).rgb() for each in islice(source.pictures(), _LOOKS)]
        search = [seconds_of(partial(restorer.detect, rgb, "rgb")) for rgb in pictures]
    rates = {
        name: Times(tuple(tuple(frames / s for s in turn) for turn in each.turns))
        for name, each in times.items()
    }
    return Floor(
        frames=frames,
        null_engine_of_floor=rates[NULL].against(rates[FLOOR], FLOOR),
        frames_a_second={name: each.median for name, each in rates.items()},
        seconds={name: each.seconds for name, each in times.items()},
        stages_ms_a_frame=_stages(reports[1:], frames),
        search_ms=1000 * statistics.median(search[1:]),
    )


def recode(clip: Path) -> None:
    """Decode a clip, and encode its frames with the settings of its result; nothing is written."""
    import av

    source = Source(str(clip))
    with av.open(str(clip)) as container:
        plan = plan_for(source, Encoding(), str(clip))
        encoder = plan.open(source)
        video = container.streams.video[0]
        video.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video)):
            frame.pts, frame.time_base = number, plan.time_base
            frame.pict_type = 0  # else the encoder would have to take the source's
            encoder.encode(frame)
        encoder.encode(None)


def _restore(restorer: Restorer, clip: Clip, reports: list[VideoReport]) -> None:
    """Restore the clip, and add the report to `reports`."""
    with TemporaryDirectory() as folder:
        target = Path(folder) / clip.path.name
        report = restore_video(restorer, str(clip.path), str(target))
    if report.frames != len(clip.times) or not report.tracks:
        raise BenchmarkError(f"{clip.path.name}: {report.frames} frames, {report.tracks}")
    reports.append(report)


def _stages(reports: Sequence[VideoReport], frames: int) -> dict[str, float]:
    """The median of each stage's milliseconds a frame."""
    return {
        name: 1000 * statistics.median(each.timings[name] for each in reports) / frames
        for name in reports[0].timings
    }
