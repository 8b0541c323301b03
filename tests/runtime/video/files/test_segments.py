"""What an interrupted run leaves, and how a later one goes on: with the same pictures and times."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from runtime.errors import OutputError, VideoError
from runtime.storage.local import write_atomically
from runtime.storage.temporary import remove_unfinished
from runtime.video.files import parts, records, segments
from runtime.video.files.encoding import Encoding, Plan, plan_for
from runtime.video.files.joining import join
from runtime.video.files.parts import PartWriter
from runtime.video.files.picture import VideoPicture
from runtime.video.files.records import finished, state_file
from runtime.video.files.segments import Segments
from runtime.video.files.source import Source
from tests.conftest import ROOT
from tests.runtime.video.files.clips import UNEVEN, Clip, in_segments, pictures

OPTIONS = {"strength": 1.0}
ANEW = "the segments of an earlier run are damaged or used up: the clip begins anew"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Clip(pictures=20, options={"g": "7"}).write(
        tmp_path_factory.mktemp("clips") / "clip.mp4"
    )


class StoppedError(Exception):
    """Somebody pressed Ctrl-C."""


def until(stop: int | None, pictures: Iterable[VideoPicture]) -> Iterator[VideoPicture]:
    for picture in pictures:
        if picture.index == stop:
            raise StoppedError
        yield picture


def work(
    clip: Path | Source,
    target: Path,
    stop: int | None = None,
    resume: bool = True,
    options: dict[str, Any] | None = None,
    encoding: Encoding | None = None,
) -> tuple[int, list[str]]:
    """Make every picture a little brighter, up to the one where it stops.

    Returns the first picture that was made, and the notes.
    """
    source = clip if isinstance(clip, Source) else Source(str(clip))
    plan = plan_for(source, encoding or Encoding(), str(target))
    with Segments(str(target), source, plan, options or OPTIONS, resume) as made:
        first, state = made.done()
        assert state == ({"before": first} if first else None)
        for picture in in_segments(made, until(stop, source.pictures(first, made.mark))):
            before = picture.layout.shown(picture.frame)[:32, :32]
            picture.change(before, np.minimum(before, 235) + np.uint8(20), (0, 0))
            made.add(picture)
        join(source, made, str(target))
    return first, made.notes


def left(target: Path) -> list[str]:
    folder = Path(f"{target}.segments")
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


@pytest.fixture(scope="module")
def whole(clip: Path) -> list[tuple[Any, ...]]:
    """The pictures of a run that nobody interrupts."""
    work(clip, clip.parent / "whole.mp4")
    return pictures(clip.parent / "whole.mp4")


@pytest.mark.parametrize("stop", [0, 3, 4, 5, 11, 19])
def test_a_later_run_goes_on_at_the_last_finished_segment(
    stop: int, clip: Path, whole: list[Any], tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    with pytest.raises(StoppedError):
        work(clip, target, stop)
    assert not target.exists()
    finished = max(0, stop - 1) // 4 * 4  # a segment ends when the next one begins
    assert bool(left(target)) == bool(finished)
    assert work(clip, target) == (finished, [])
    assert pictures(target) == whole
    assert left(target) == []


def test_a_later_run_notes_no_other_damage(tmp_path: Path) -> None:
    """Where frames were rare before, a break is none, also when somebody goes on behind them."""
    times = [0, 900, 1800, 2700, *range(2740, 3300, 40), 5200, 5240]
    path = Clip(len(times), unit=Fraction(1, 1000), times=times, sound=(), options={"g": "5"})
    source = Source(str(path.write(tmp_path / "clip.mkv")))
    with pytest.raises(StoppedError):
        work(source, tmp_path / "out.mkv", stop=16)
    resumed = Source(source.path)
    assert work(resumed, tmp_path / "out.mkv") == (15, [])
    assert resumed.damage == source.damage == []


def test_many_interruptions(clip: Path, whole: list[Any], tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    for stop in (6, 7, 9, 15, 18):
        with pytest.raises(StoppedError):
            work(clip, target, stop)
    assert work(clip, target) == (16, [])
    assert pictures(target) == whole


def test_a_killed_process_leaves_its_segments(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    code = f"""
import os, signal
from pathlib import Path
from runtime.video.files.source import Source
from tests.runtime.video.files.test_segments import work
pictures = Source.pictures
def killed(*arguments):
    for picture in pictures(*arguments):
        if picture.index == 14:
            os.kill(os.getpid(), signal.SIGKILL)
        yield picture
Source.pictures = killed
work(Path({str(clip)!r}), Path({str(target)!r}))
"""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == -9
    remove_unfinished(tmp_path)  # what every run does in its output folder
    assert work(clip, target) == (12, [])


def test_a_run_without_resume_begins_anew(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with pytest.raises(StoppedError):
        work(clip, target, 9)
    assert work(clip, target, resume=False) == (0, [])


@pytest.mark.parametrize("what", ["options", "quality", "source", "part"])
def test_other_settings_never_go_on(what: str, clip: Path, tmp_path: Path) -> None:
    mine, target = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    mine.write_bytes(clip.read_bytes())
    with pytest.raises(StoppedError):
        work(mine, target, 9)
    options, encoding = OPTIONS, Encoding()
    if what == "options":
        options = {"strength": 0.5}
    elif what == "quality":
        encoding = Encoding(crf=30)
    elif what == "source":
        os.utime(mine, (1, 1))
    else:
        key = Path(f"{target}.segments/clip.json")
        found = json.loads(key.read_bytes())
        assert found["part"] == ["None", "None"]
        key.write_text(json.dumps({**found, "part": ["1", "None"]}))
    before = left(target)
    with pytest.raises(VideoError, match=r"out\.mp4\.segments: .* delete this folder to begin"):
        work(mine, target, options=options, encoding=encoding)
    assert left(target) == before
    assert work(mine, target, options=options, encoding=encoding, resume=False) == (0, [])


@pytest.mark.parametrize(
    "hurt",
    [
        *("altered", "shorter", "missing", "no record", "a large number", "a fraction", "no list"),
        *("no rows", "fewer rows", "another picture"),
        *("no state", "half a state", "a state too large", "no states"),
    ],
)
def test_a_damaged_last_segment_is_done_again(
    hurt: str, clip: Path, whole: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing before it, as the state before it lies there, too."""
    target = tmp_path / "out.mp4"
    with pytest.raises(StoppedError):
        work(clip, target, 13)
    folder = Path(f"{target}.segments")
    assert [name for name in left(target) if name.endswith(".state")] == [
        "00000008.state",
        "00000012.state",
    ]
    part, state = min(folder.glob("00000008-*.part")), folder / "00000012.state"
    record = folder / "00000008.record"
    content = json.loads(record.read_bytes())
    if hurt == "altered":
        part.write_bytes(bytes(part.stat().st_size))
    elif hurt == "shorter":
        os.truncate(part, part.stat().st_size - 1)
    elif hurt == "missing":
        part.unlink()
    elif hurt == "no record":
        record.unlink()
    elif hurt in (wrong := wrong_fields(content)):
        record.write_text(json.dumps({**content, **wrong[hurt]}))
    elif hurt == "half a state":
        state.write_bytes(state.read_bytes()[:-9])
    elif hurt == "a state too large":
        monkeypatch.setattr(records, "_MOST", 1 << 20)
        state.write_bytes(zlib.compress(b'{"before": ' + b" " * (1 << 20) + b"12}"))
    else:
        state.unlink()
    if hurt == "no states":
        (folder / "00000008.state").unlink()
        assert work(clip, target) == (0, [ANEW])
    else:
        assert work(clip, target) == (8, [])
    assert pictures(target) == whole


def wrong_fields(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A field of a record's content that cannot be right, by what is wrong with it."""
    pts, packets = content["pts"], content["packets"]
    return {
        "a large number": {"pts": [2**63, *pts[1:]]},
        "a fraction": {"pts": [pts[0] + 0.5, *pts[1:]]},
        "no list": {"packets": 7},
        "no rows": {"packets": pts},
        "fewer rows": {"packets": packets[1:]},
        "another picture": {"packets": [[100, *packets[0][1:]], *packets[1:]]},
    }


def test_a_damaged_earlier_segment_costs_all(clip: Path, whole: list[Any], tmp_path: Path) -> None:
    """The states behind those before it are not kept."""
    target = tmp_path / "out.mp4"
    with pytest.raises(StoppedError):
        work(clip, target, 13)
    min(Path(f"{target}.segments").glob("00000004-*.part")).unlink()
    assert work(clip, target) == (0, [ANEW])
    assert pictures(target) == whole


def test_states_take_little_room(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are larger than a small clip's pictures: two at most lie there, and none at last."""
    target, source, state = tmp_path / "out.mp4", Source(str(clip)), {"numbers": list(range(9999))}
    plan, found = plan_for(source, Encoding(), str(target)), list[int]()

    def states() -> list[int]:
        return [each.stat().st_size for each in Path(f"{target}.segments").glob("*.state")]

    def watched(path: Path, data: bytes) -> None:
        found.append(len(states()) + (path.suffix == ".state"))
        write_atomically(path, data)

    monkeypatch.setattr(segments, "write_atomically", watched)
    with Segments(str(target), source, plan, {}, resume=False) as made:
        for picture in source.pictures():
            if picture.index % 4 == 0:
                if picture.index:
                    made.end()
                made.begin(picture.index, state)
            made.add(picture)
        made.end()
        assert max(found) == len(states()) == 2
        assert max(states()) < len(json.dumps(state)) / 2
        assert not made.are_spent()
        made.spend()
        assert states() == []
        assert made.are_spent()


def test_a_long_clip_takes_little_memory(clip: Path, tmp_path: Path) -> None:
    """What is known of each picture stays in memory until the join: of two hours, of 216,000."""
    target, many = tmp_path / "out.mp4", 100_000
    with pytest.raises(StoppedError):
        work(clip, target, 6)
    folder = Path(f"{target}.segments")
    content = json.loads((folder / "00000000.record").read_bytes())
    content["pts"], content["durations"] = list(range(1000, 1000 + many)), [1000] * many
    content["packets"] = [[number, 1000 + number, False] for number in range(many)]
    (folder / "00000000.record").write_text(json.dumps(content))
    (folder / "00000004.state").rename(state_file(folder, many))
    del content
    tracemalloc.start()
    try:
        (record,), _ = finished(folder)
        assert record.after == many
        assert tracemalloc.get_traced_memory()[0] / many < 50
    finally:
        tracemalloc.stop()


def test_what_was_damaged_is_remembered(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    source = Source(str(clip))
    plan = plan_for(source, Encoding(), str(target))
    with Segments(str(target), source, plan, {}, resume=True) as made:
        source.remember([(0.1, "a damaged frame was left out")])
        made.begin(0, {})
        for picture in source.pictures():
            if picture.index == 4:
                break
            made.add(picture)
        made.end()
        made.begin(4, {})
    again = Source(str(clip))
    with Segments(str(target), again, plan, {}, resume=True) as made:
        assert made.done() == (4, {})
        assert again.damage == [(0.1, "a damaged frame was left out")]


@pytest.mark.parametrize("stop", [9, 14, 17])
def test_a_damaged_clip_is_resumed_as_it_was(stop: int, clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as opened:
        for each in opened.demux(video=0):
            if each.pts in (512 * 3, 512 * 13):
                assert each.pos is not None
                data[each.pos : each.pos + each.size] = bytes(each.size)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    undisturbed, resumed = Source(str(path)), Source(str(path))
    assert work(undisturbed, tmp_path / "whole.mp4") == (0, [])
    assert {seconds for seconds, _ in undisturbed.damage} >= {0.12, 0.52}
    with pytest.raises(StoppedError):
        work(path, tmp_path / "out.mp4", stop)
    assert work(resumed, tmp_path / "out.mp4")[0] > 4
    assert resumed.damage == undisturbed.damage
    assert pictures(tmp_path / "out.mp4") == pictures(tmp_path / "whole.mp4")


def test_two_runs_do_not_share_a_folder(clip: Path, tmp_path: Path) -> None:
    target, source = str(tmp_path / "out.mp4"), Source(str(clip))
    plan = plan_for(source, Encoding(), target)
    with (
        Segments(target, source, plan, {}, resume=True),
        pytest.raises(VideoError, match="another run is working on this clip"),
        Segments(target, source, plan, {}, resume=True),
    ):
        pass


def test_a_run_that_ends_takes_no_lock_of_another_away(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It deletes its folder when the other has opened the lock, and not locked it yet."""
    target, source, real = str(tmp_path / "out.mp4"), Source(str(clip)), fcntl.flock
    plan = plan_for(source, Encoding(), target)

    def late(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        shutil.rmtree(f"{target}.segments")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        Segments(target, source, plan, {}, resume=True),
        pytest.raises(VideoError, match="another run is working on this clip"),
        Segments(target, source, plan, {}, resume=True),
    ):
        pass


@pytest.mark.parametrize("what", ["ends", "begins"])
def test_folders_of_others_at_the_same_moment(
    what: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run deletes its folder, or writes its key, while this one looks at the files."""
    target, source, real = str(tmp_path / "out.mp4"), Source(str(clip)), Path.iterdir
    folder, plan = Path(f"{target}.segments"), plan_for(source, Encoding(), target)
    other = Segments(target, source, plan, {}, resume=True)

    def late(path: Path) -> Iterator[Path]:
        monkeypatch.undo()
        if what == "ends":
            shutil.rmtree(folder)
        else:
            other.__enter__()
        return real(path)

    monkeypatch.setattr(Path, "iterdir", late)
    made = Segments(target, source, plan, {}, resume=True)
    if what == "ends":
        with made:
            assert left(Path(target)) == ["clip.json", "lock"]
    else:
        with pytest.raises(VideoError, match="another run is working on this clip"):
            made.__enter__()
        other.__exit__()


def test_segments_that_cannot_be_deleted(
    clip: Path, whole: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is whole, so that the clip has not failed."""
    target, real = tmp_path / "out.mp4", Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == "clip.json":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    said = f"{target}.segments could not be deleted: Permission denied"
    assert work(clip, target, resume=True) == (0, [said])
    assert pictures(target) == whole


def test_states_that_cannot_be_deleted_cost_no_segment(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, real = tmp_path / "out.mp4", Path.unlink
    with monkeypatch.context() as patch:

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if path.name == "00000016.state":
                raise OSError(errno.EIO, "Input/output error")
            real(path, missing_ok)

        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(OutputError, match="Input/output error; a run with --resume goes on"):
            work(clip, target)
    assert work(clip, target) == (16, [])


@pytest.mark.parametrize("name", ["holiday.jpg", "movie.mkv.part", "00000000-00000.part"])
def test_a_folder_of_somebody_else_is_left_alone(name: str, clip: Path, tmp_path: Path) -> None:
    """Where there is no key, it is somebody else's, whatever its files are called."""
    folder = tmp_path / "out.mp4.segments"
    folder.mkdir()
    (folder / name).touch()
    with pytest.raises(VideoError, match=rf"{name} is not ours; move the folder away"):
        work(clip, tmp_path / "out.mp4")
    assert left(tmp_path / "out.mp4") == [name]


def test_a_file_of_somebody_else_among_the_segments_stays(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with pytest.raises(StoppedError):
        work(clip, target, 9)
    Path(f"{target}.segments/movie.mkv.part").touch()
    with pytest.raises(VideoError, match=r"movie\.mkv\.part is not ours; move the folder away"):
        work(clip, target, resume=False)
    assert work(clip, target) == (8, [])
    assert left(target) == ["movie.mkv.part"]


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_full_disk_is_one_line_and_keeps_what_is_done(
    size: int, clip: Path, whole: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk says so when a part is full, or when the segment ends."""
    target, begin = tmp_path / "out.mp4", PartWriter.__init__
    full = Path(f"{target}.segments/00000012-00000.part")

    def begins(writer: PartWriter, folder: Path, stem: str, before: int) -> None:
        begin(writer, folder, stem, before)
        if stem == "00000012":
            full.symlink_to("/dev/full")

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "__init__", begins)
        patch.setattr(parts, "_LEAST", size)
        with pytest.raises(OutputError) as error:
            work(clip, target)
    folder = f"{target}.segments"
    assert str(error.value) == f"{folder}: No space left on device; a run with --resume goes on"
    assert not full.is_symlink()
    assert work(clip, target) == (12, [])
    assert pictures(target) == whole


def test_a_clip_with_a_long_name_is_its_own_trouble(clip: Path, tmp_path: Path) -> None:
    """Others of the run need not suffer: OutputError would end it."""
    with pytest.raises(VideoError, match="File name too long"):
        work(clip, tmp_path / f"{'n' * 248}.mp4")


def test_a_file_in_place_of_the_folder_is_the_clips_own_trouble(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4.segments").touch()
    with pytest.raises(VideoError, match=r"out\.mp4\.segments: File exists"):
        work(clip, tmp_path / "out.mp4")


def test_a_folder_is_no_target(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(VideoError, match=r"out\.mp4: is a folder"):
        work(clip, tmp_path / "out.mp4")
    assert left(tmp_path / "out.mp4") == []


def test_segments_that_nobody_can_join_are_refused(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file has one beginning for the decoder."""
    target, real = tmp_path / "out.mp4", Plan.open

    class Other:
        def __init__(self, context: Any) -> None:
            self.encode, self.codec_tag = context.encode, context.codec_tag
            self.extradata = os.urandom(8)

    monkeypatch.setattr(Plan, "open", lambda plan, source: Other(real(plan, source)))
    with pytest.raises(VideoError, match="choose another codec"):
        work(clip, target)
    assert [name for name in left(target) if name.endswith(".record")] == ["00000000.record"]


def test_two_pictures_in_one_frame_of_an_avi(tmp_path: Path) -> None:
    """It cannot hold them, which is said at the second, not when all is done."""
    uneven = Clip(unit=Fraction(1, 1000), times=UNEVEN).write(tmp_path / "uneven.mp4")
    with pytest.raises(VideoError, match=r"out\.avi: .* picture at 0\.02 s has none; choose \.mkv"):
        work(uneven, tmp_path / "out.avi")
    assert left(tmp_path / "out.avi") == []
    even = Clip(times=[512 * number + 100 for number in range(12)]).write(tmp_path / "even.mp4")
    assert work(even, tmp_path / "out.avi") == (0, [])
    assert len(pictures(tmp_path / "out.avi")) == 12


def test_a_protected_folder_is_one_line(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"out\.mp4\.segments: (Not a directory|File exists)"):
        work(clip, tmp_path / "file" / "out.mp4")


def test_times_of_decoding_rise_over_the_borders(tmp_path: Path) -> None:
    """Muxers refuse all else; at a variable rate the encoders' own would not."""
    clip = Clip(unit=Fraction(1, 90_000), times=[90 * time for time in UNEVEN])
    path, target = clip.write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    assert work(path, target) == (0, [])
    assert [pts for pts, _ in pictures(target)] == clip.times
