"""What each kind of run of `benchmarks.studies.video` gives: rows of docs/figures.md."""

from collections.abc import Callable
from typing import Any

from benchmarks.studies.figures.kinds import Figure

_MORE = "; [method](video.md#measured)"


def measured(listing: dict[str, Any], speed: dict[str, Any]) -> str:
    """The block of docs/video.md: a clip and its result side by side, and the stages' table."""
    return "\n".join([*listing["markdown"], "", *_stages(speed)])


def _stages(run: dict[str, Any]) -> list[str]:
    """From a run of `speed`: milliseconds of work a frame, by stage."""
    network, floor = (run[race]["stages_ms_a_frame"] for race in ("network", "floor"))
    lines = [
        f"Milliseconds of work for a frame, by stage ({run['what']}; stages overlap). A search for "
        f"faces alone takes {run['floor']['search_ms']:.0f} ms.",
        "",
        "| stage | with the network | with a network of no cost |",
        "| --- | --- | --- |",
    ]
    for stage in dict.fromkeys([*network, *floor]):
        cells = (f"{column[stage]:.1f}" if stage in column else "" for column in (network, floor))
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return lines


def _flicker(run: dict[str, Any]) -> list[Figure]:
    """How much more a restored face changes from frame to frame than it did before."""
    found: dict[str, dict[bool, dict[str, Any]]] = {}
    for one in run["clips"]:
        found.setdefault(one["clip"], {})[one["smoothing"]] = one
    return [
        Figure(
            f"flicker of a restored face, {clip}: with smoothing, and without",
            f"{by[True][where]['flicker']:.2f} and {by[False][where]['flicker']:.2f}",
            _MORE,
        )
        for clip, by in found.items()
        for where in [("frames" if "frames" in by[True] else "crops")]
    ]


def _speed(run: dict[str, Any]) -> list[Figure]:
    """A clip against its network alone, and against decoding and encoding alone."""
    network, floor = run["network"], run["floor"]
    rates = floor["frames_a_second"]
    return [
        Figure(
            f"{run['what']}: whole clip over its network alone",
            f"{network['clip_over_network']['median']:.2f}, "
            f"{network['frames_a_second']:.2g} frames a second",
            _MORE,
        ),
        Figure(
            "the same, a network of no cost: frames a second, and share of decoding and encoding "
            "alone",
            f"{rates['null engine']:.1f}, {floor['null_engine_of_floor']['median']:.2f}",
            _MORE,
        ),
    ]


def _memory(run: dict[str, Any]) -> list[Figure]:
    """A long clip's peak against a short one's, and the room that temporary files take."""
    frames = [f"{each:,}" for each in run["frames"]]
    peaks = ", ".join(f"{each / 1e6:.0f} MB" for each in run["peak_bytes"])
    return [
        Figure(
            f"smallest peak memory of {len(run['runs']) // 2} runs each of clips of "
            f"{' and '.join(frames)} frames, {run['what']}",
            f"{peaks}, ratio {run['long_over_short']:.3f}",
            _MORE,
        ),
        Figure(
            "temporary files of a clip at most, over the result's size",
            f"{run['room_over_result']:.2f}",
            _MORE,
        ),
    ]


def _resume(run: dict[str, Any]) -> list[Figure]:
    """What a killed run costs, and whether its result is that of an undisturbed one."""
    again = max(each["again_s"] for each in run["killed"])
    different = sum(each["different"] for each in run["killed"])
    return [
        Figure(
            f"{run['what']}, {len(run['killed'])} times: frames that differ, and seconds of clip "
            "that were done again at most",
            f"{different}, {again:.1f} s",
            _MORE,
        )
    ]


VIDEO: dict[str, tuple[str, Callable[[dict[str, Any]], list[Figure]]]] = {
    f"video-{name}-cpu": (
        f"`python -m benchmarks.studies.video {name} --bundle BUNDLE --json FILE`",
        figures,
    )
    for name, figures in (
        ("flicker", _flicker),
        ("speed", _speed),
        ("memory", _memory),
        ("resume", _resume),
    )
}
