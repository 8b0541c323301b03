"""What is in a clip and in its result, side by side, as `ffprobe` lists it: for docs/video.md."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.measure.clips import RECIPES, write_clip
from runtime import restore_video
from runtime.restorer import Restorer

if TYPE_CHECKING:
    from av.stream import Stream

EVERYTHING = replace(
    RECIPES["movie"], codec="libx265", deep=True, hdr=True, variable=True, rotation=90
)
"""HEVC of 10 bits with PQ, of a variable rate, turned, with two sounds, subtitles and chapters."""

Listing = dict[str, str]
"""What is known of a clip, line by line."""


def measure(bundle: Path, keep: Path | None) -> dict[str, object]:
    """Restore a clip that has everything, and list both; `failures` says what was not kept.

    `keep`: a folder for both clips, made if it is missing.
    """
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with Restorer(bundle) as restorer, TemporaryDirectory() as folder:
        place = folder if keep is None else keep
        source, target = (Path(place, f"{name}.mp4") for name in ("source", "result"))
        write_clip(source, EVERYTHING)
        report = restore_video(restorer, str(source), str(target))
        lists = listing(source), listing(target)
    return {
        "what": "a clip that has everything, and its result",
        "report": report,
        "markdown": table(*lists).splitlines(),
        "failures": differences(*lists),
    }


def listing(path: Path) -> Listing:
    """The streams of a clip, its chapters and metadata, as they can be compared."""
    import av

    found: Listing = {}
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        beside: Any = frame.side_data
        kinds = sorted(each.type.name for each in beside if "SEI" not in each.type.name)
        found["first frame: turn, counter-clockwise"] = f"{frame.rotation} degrees"
        found["first frame: side data"] = ", ".join(kinds)
    with av.open(str(path)) as container:
        found["container"] = container.format.name
        packets: dict[int, Any] = {stream.index: hashlib.sha256() for stream in container.streams}
        counts: dict[int, int] = dict.fromkeys(packets, 0)
        times: dict[int, list[Fraction]] = {index: [] for index in packets}
        for packet in container.demux():
            if packet.pts is None:  # the empty ones at the end
                continue
            index = packet.stream_index
            packets[index].update(bytes(packet))
            counts[index] += 1
            times[index].append(packet.pts * packet.time_base)
        for stream in container.streams:
            index = stream.index
            name = f"{index} {stream.type}"
            for key, value in _of_stream(stream).items():
                found[f"{name}: {key}"] = value
            found[f"{name}: packets"] = str(counts[index])
            if times[index]:
                seconds = sorted(times[index])
                found[f"{name}: first and last"] = f"{_s(seconds[0])}, {_s(seconds[-1])}"
                stamps = hashlib.sha256(" ".join(map(str, seconds)).encode())
                found[f"{name}: all times"] = _short(stamps)
            if stream.type != "video" and counts[index]:
                found[f"{name}: SHA-256 of packets"] = _short(packets[index])
        for chapter in container.chapters():
            base = chapter["time_base"] or Fraction(1)
            begin, end = (_s(chapter[edge] * base) for edge in ("start", "end"))
            found[f"chapter {chapter['metadata'].get('title', '')}"] = f"{begin} to {end}"
        found["title"] = container.metadata.get("title", "")
        found["length"] = f"{(container.duration or 0) / av.time_base:.3f} s"
    return found


def _of_stream(stream: "Stream") -> Listing:
    import av

    found = {"codec": stream.name or ""}
    if isinstance(stream, av.VideoStream):
        context = stream.codec_context
        found |= {
            "stored as": f"{context.width} x {context.height}",
            "pixels": context.pix_fmt or "",
            "range, primaries, transfer, matrix": ", ".join(
                str(int(value))
                for value in (
                    *(context.color_range, context.color_primaries),
                    *(context.color_trc, context.colorspace),
                )
            ),
        }
    elif isinstance(stream, av.AudioStream):
        found["sound"] = f"{stream.rate} Hz, {stream.layout.name}"
    if stream.language:
        found["language"] = stream.language
    found["shown first"] = "yes" if stream.disposition & av.stream.Disposition.default else "no"
    return found


def table(source: Listing, result: Listing) -> str:
    """A table in Markdown; equal values are written once."""
    lines = ["| | source | result |", "| --- | --- | --- |"]
    for key in dict.fromkeys([*source, *result]):
        one, other = source.get(key, "not there"), result.get(key, "not there")
        lines.append(f"| {key} | {one} | {'the same' if one == other else other} |")
    return "\n".join(lines)


def differences(source: Mapping[str, str], result: Mapping[str, str]) -> list[str]:
    """The lines of a listing that are not the same in the result."""
    return [
        f"{key}: {source.get(key, 'not there')}, {result.get(key, 'not there')}"
        for key in dict.fromkeys([*source, *result])
        if source.get(key) != result.get(key)
    ]


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.3f} s"


def _short(digest: Any) -> str:
    return str(digest.hexdigest())[:12]
