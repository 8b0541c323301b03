"""`dmd-restore`: restore the faces of photographs and videos with a bundle."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from runtime.cli import console
from runtime.cli.clips import (
    FrameBar,
    add_clip_arguments,
    clip_options,
    line_of,
    refuse_without_clips,
)
from runtime.cli.inputs import (
    add_common_arguments,
    check_landmark_file,
    picture_files,
    positive,
    refuse_in_bundle,
    server_of,
)
from runtime.cli.tally import Tally
from runtime.errors import UsageError
from runtime.redaction import public_name

if TYPE_CHECKING:
    from runtime.archive.job import Job, Outcome
    from runtime.archive.tables import Tables
    from runtime.options import Only


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-restore", "Restore the faces of photographs and videos with a bundle."
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="picture, video, folder, glob or URL (s3://..., https://...), or NAME.parquet of many "
        "pictures (docs/archive.md)",
    )
    parser.add_argument("--out", required=True, help="folder or URL for what is restored")
    parser.add_argument(
        "--identity", type=Path, metavar="FILE", help="dictionary made by dmd-enroll"
    )
    parser.add_argument(
        "--people",
        type=Path,
        action="append",
        metavar="FILE|DIR",
        help="dictionary made by dmd-enroll, or a folder of them: each face is restored by that of "
        "the person who it is, if any; may be given again (docs/restoring.md)",
    )
    parser.add_argument(
        "--people-threshold",
        type=_part,
        metavar="D",
        help="accept a person up to this distance, from 0 to 1 (default: 0.57)",
    )
    parser.add_argument(
        "--strength",
        type=_part,
        default=1.0,
        metavar="S",
        help="how much of the restored faces is in the result, from 0 to 1 (default: 1)",
    )
    parser.add_argument(
        "--only",
        metavar="largest|center|N",
        help="restore one face only; N is its index as --draw shows it, from 0; of a video, the "
        "number of its track, as the report has it",
    )
    parser.add_argument(
        "--upscale",
        type=int,
        choices=(1, 2, 4),
        default=1,
        help="enlarge the photo so many times first (default: 1)",
    )
    for flag, meaning in (
        ("--aligned", "every picture is an aligned face crop"),
        ("--require-face", "a picture without a face is an error"),
        ("--compare", "also write NAME.compare.png, before and after"),
        ("--draw", "also write NAME.draw.png, with the box, index and landmarks of each face"),
        ("--resume", "skip what is done, and go on with videos that are not"),
    ):
        parser.add_argument(flag, action="store_true", help=meaning)
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write a line of JSON for each picture; with --resume, append to the earlier report",
    )
    add_clip_arguments(parser)
    add_common_arguments(parser)
    ray = parser.add_argument_group("on many machines (docs/archive.md)")
    ray.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="work on the Ray cluster at host:port, or on the one that Ray finds (auto); without "
        "ADDRESS, start one on this machine",
    )
    ray.add_argument(
        "--ray-actors",
        type=positive,
        metavar="N",
        help="number of workers (default: one for each GPU or, without GPUs, for each node)",
    )
    ray.add_argument(
        "--ray-gpus",
        type=_share,
        metavar="SHARE",
        help="GPUs for each worker; with 0.25, four share one (default: 1 where there are GPUs)",
    )
    ray.add_argument(
        "--ray-cpus",
        type=_share,
        metavar="N",
        help="CPUs for each worker (default: 1 beside a GPU, else an equal share of its node's)",
    )
    args = parser.parse_args()
    console.run(parser.prog, lambda: restore(args))


def restore(args: Namespace) -> int:
    """Restore every picture; report those that failed at the end. Returns the exit code."""
    from tqdm import tqdm

    from runtime.archive.report import Report

    job = _job(args)
    if args.report is not None:
        refuse_in_bundle("--report", args.report, args.bundle)
    remark = job.check().weights.remark
    with ExitStack() as stack:
        tally = stack.enter_context(Tally(args.out, remark))
        bars = FrameBar()
        tally.count, outcomes = _begin(args, job, stack, bars)
        report = None
        if args.report is not None:
            report = stack.enter_context(Report(args.report, args.resume, _say))
        bar = stack.enter_context(tqdm(total=tally.count, unit="photo", disable=None, leave=False))
        stack.enter_context(bars)
        for outcome in outcomes:
            console.check_interrupted()
            bars.end()
            bar.update()
            tally.add(outcome)
            if outcome.there:
                continue
            for note in outcome.notes:
                console.say_above_bar(f"dmd-restore: {public_name(outcome.input)}: {note}")
            if outcome.clip is not None:
                console.say_above_bar(f"dmd-restore: {line_of(outcome)}")
            if report:
                report.add(outcome)
    return console.FAILED if tally.failed else 0


def _begin(
    args: Namespace, job: "Job", stack: ExitStack, bars: FrameBar
) -> "tuple[int, Generator[Outcome, None, None]]":
    """How many pictures there are, and what becomes of each: here, or on Ray."""
    from runtime.archive.job import Picture
    from runtime.archive.local import restore_archive
    from runtime.archive.outputs import check_inputs, check_outputs

    tables = [argument for argument in args.inputs if argument.rstrip("/").endswith(".parquet")]
    if tables and len(tables) < len(args.inputs):
        raise UsageError("give either Parquet files or pictures, not both")
    if args.ray is None and (args.ray_actors or args.ray_gpus or args.ray_cpus):
        raise UsageError("--ray-actors, --ray-gpus and --ray-cpus need --ray")
    archive: Tables | list[str]
    if tables:
        from runtime.archive.tables import open_tables

        archive = open_tables(tables, job)
        count, pictures = archive.count, archive.pictures()
        check_landmark_file(args.landmarks, count)
    else:
        archive = picture_files(args.inputs, clips=True)
        refuse_without_clips(args, archive)
        count, pictures = len(archive), map(Picture, archive)
        check_landmark_file(args.landmarks, count)
        check_outputs(job, lambda: archive)
        check_inputs(job, archive)
    if args.ray is None:
        outcomes = restore_archive(job, pictures, bars.show)
    else:
        from runtime.archive.ray_driver import Cluster, Workers

        console.end_without_clean_up()
        cluster = stack.enter_context(Cluster(args.ray))
        workers = Workers(args.ray_actors, args.ray_gpus, args.ray_cpus)
        outcomes = cluster.restore(job, archive, workers)
    stack.callback(outcomes.close)
    return count, outcomes


def _job(args: Namespace) -> "Job":
    from runtime.archive.job import Job
    from runtime.images.files import MAX_PIXELS
    from runtime.options import RestoreOptions
    from runtime.people.known import people_files
    from runtime.people.matching import THRESHOLD
    from runtime.storage.locations import MAX_BYTES, local

    if args.people_threshold is not None and not args.people:
        raise UsageError("--people-threshold needs --people")
    threshold = THRESHOLD if args.people_threshold is None else args.people_threshold
    return Job(
        bundle=args.bundle,
        out=local(args.out),
        identity=args.identity,
        people=people_files(args.people or ()),
        options=RestoreOptions(
            _only(args.only),
            args.upscale,
            args.require_face,
            people_threshold=threshold,
            strength=args.strength,
        ),
        clip=clip_options(args),
        aligned=args.aligned,
        compare=args.compare,
        draw=args.draw,
        resume=args.resume,
        landmarks=args.landmarks,
        max_pixels=args.max_pixels or MAX_PIXELS,
        max_bytes=args.max_bytes or MAX_BYTES,
        device=args.device,
        allow_fallback=not args.no_fallback,
        threads=args.threads,
        min_face=args.min_face,
        remote=server_of(args),
        report=args.report,
    )


def _say(line: str) -> None:
    console.say(f"dmd-restore: {line}")


def _only(text: str | None) -> "Only | None":
    names: dict[str | None, Only | None] = {None: None, "largest": "largest", "center": "center"}
    if text in names:
        return names[text]
    if text and text.isdecimal() and len(text) < 10:
        return int(text)
    raise UsageError(f"--only must be largest, center or a face's index, not {str(text)[:40]!r}")


def _part(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _share(text: str) -> float:
    """Parse a number of GPUs or CPUs: a fraction of one, or a whole number."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 10_000 or (value > 1 and value != int(value)):
        raise ArgumentTypeError(f"{text!r} is neither a fraction under 1 nor a whole number")
    return value
