"""With which encoder a clip is written, and with which settings: as its source, where possible."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from runtime.errors import VideoError
from runtime.text import squeezed
from runtime.video.files.kinds import container_of
from runtime.video.files.picture import SCALERS
from runtime.video.files.pixels.formats import TWINS, depth_of, is_rgb, nearest
from runtime.video.files.pixels.mastering import for_svt, for_x264, for_x265
from runtime.video.files.source import Source

if TYPE_CHECKING:
    from av import VideoCodecContext, VideoFrame, VideoStream
    from av.codec import Codec
    from av.container import OutputContainer
    from av.video.reformatter import VideoReformatter

_ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "prores": "prores_ks",
    "flv1": "flv",
    "msmpeg4v3": "msmpeg4",
}
"""The encoders that write a codec; others have the codec's own name."""

_OTHERS = {"h264": "H.264", "av1": "AV1"}
"""What is written where a clip's own codec cannot be, or not as deep; AV1 for WebM."""

_ALIASES = {"h265": "hevc", "avc": "h264", "x264": "h264", "x265": "hevc"}

# how each takes a quality, and the one without a --crf: hard to tell from the source by eye
_QUALITY = {
    "libx264": ("crf", 17, {}),
    "libx265": ("crf", 19, {}),
    "libvpx": ("crf", 6, {"b": "40M", "auto-alt-ref": "0", "cpu-used": "4"}),
    "libvpx-vp9": ("crf", 22, {"b": "0", "row-mt": "1", "cpu-used": "4"}),
    "libsvtav1": ("crf", 22, {"preset": "8"}),
    **dict.fromkeys(("h264_nvenc", "hevc_nvenc", "av1_nvenc"), ("cq", 19, {"rc": "vbr", "b": "0"})),
    **dict.fromkeys(
        # one family of FFmpeg's, which makes a fixed 200 kbit/s without a quantiser
        (
            *("mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "flv"),
            *("h261", "h263", "h263p", "rv10", "rv20", "mjpeg", "amv", "speedhq", "snow"),
        ),
        ("qscale", 2, {}),
    ),
}
_QUALITIES: Mapping[str, tuple[str, int, Mapping[str, str]]] = _QUALITY
_GOOD = ("prores_ks", "cfhd", "vc2")  # by themselves, as are those of single pictures
_RAW = ("rawvideo", "wrapped_avframe", "vnull")  # take any format, and no reader is told which
_TELL_RANGE = ("h264", "hevc", "vp9", "av1")  # in the stream, for values of the full range
_LEAST_BITS = 2_000_000  # a second
_LAMBDA = 118  # FFmpeg's units of a quantiser
_PRORES = {"apco": 0, "apcs": 1, "apcn": 2, "apch": 3, "ap4h": 4, "ap4x": 5}
_GLOBAL_HEADER = 0x40  # AVFMT_GLOBALHEADER: decoders are told beforehand what they need
_MOST_UNITS = 65535  # of a second, in MPEG-4's headers
_GREATEST_DIVISOR = 1001  # that of NTSC's rates


@dataclass(frozen=True)
class Encoding:
    """What the caller asks for; None means as the source, or good enough not to be seen.

    Attributes:
        codec: FFmpeg's name of a codec or of an encoder, such as "hevc" or "h264_nvenc".
        crf: quality, lower is better; of MPEG-2, MPEG-4, Motion JPEG and the like the quantiser.
        pixel_format: FFmpeg's name, such as "yuv420p10le".
    """

    codec: str | None = None
    crf: int | None = None
    pixel_format: str | None = None


@dataclass(frozen=True)
class Plan:
    """How a clip is encoded.

    Attributes:
        container: FFmpeg's name of what is written.
        codec: FFmpeg's name of the codec.
        encoder: FFmpeg's name of its encoder.
        pixel_format: FFmpeg's name.
        options: of the encoder.
        time_base: seconds of an encoder's unit: a frame. Frames keep their own times elsewhere.
        notes: what is not as in the source; a sentence each.
    """

    container: str
    codec: str
    encoder: str
    pixel_format: str
    options: Mapping[str, str]
    time_base: Fraction
    notes: tuple[str, ...]

    def open(self, source: Source) -> "VideoCodecContext":
        """A new encoder, which begins with a key frame and uses nothing from before."""
        import av

        context = av.CodecContext.create(self.encoder, "w")
        assert isinstance(context, av.VideoCodecContext)
        self._prepare(context, source)
        context.open()
        return context

    def add_stream(self, output: "OutputContainer", source: Source) -> "VideoStream":
        """A new stream of an output, with an encoder that is not open yet. May raise ValueError."""
        import av

        made = output.add_stream(self.encoder, rate=1 / self.time_base)
        assert isinstance(made, av.VideoStream)
        self._prepare(made.codec_context, source)
        return made

    def tag(self, context: "VideoCodecContext", source: Source) -> None:
        """Say in which format the pictures are, and how it codes colours."""
        context.pix_fmt = self.pixel_format
        context.color_range, context.colorspace = self._tags(source)

    def _prepare(self, context: "VideoCodecContext", source: Source) -> None:
        """Give an encoder that is not open yet all settings and the source's tags."""
        import av

        os.environ.setdefault("SVT_LOG", "1")  # else it prints its settings
        layout, info = source.layout, source.info
        context.width, context.height = layout.orientation.size(layout.width, layout.height)
        self.tag(context, source)
        context.time_base = self.time_base
        context.framerate = 1 / self.time_base
        if info.pixel_aspect:
            context.sample_aspect_ratio = info.pixel_aspect
        context.color_primaries = info.colours.primaries
        context.color_trc = info.colours.transfer
        if av.ContainerFormat(self.container, "w").flags & _GLOBAL_HEADER:
            context.flags |= av.codec.context.Flags.global_header
        context.thread_type = "AUTO"  # PyAV's default would have x264 cut pictures into slices
        context.options = dict(self.options)

    def fitted(
        self, frame: "VideoFrame", source: Source, reformatter: "VideoReformatter"
    ) -> "VideoFrame":
        """A frame in the format that is encoded: itself, where that is the clip's own."""
        if frame.format.name == self.pixel_format:
            return frame
        coding = source.layout.coding
        matrix = self._tags(source)[1] if coding.matrix == 0 else coding.matrix
        full = is_rgb(self.pixel_format) or (coding.full and coding.matrix != 0)
        return reformatter.reformat(
            frame,
            format=self.pixel_format,
            src_colorspace=SCALERS.get(matrix),
            dst_colorspace=SCALERS.get(matrix),
            src_color_range=2 if coding.full else 1,
            dst_color_range=2 if full else 1,
            threads=1,  # several write over the ends of rows, into each other's, at some widths
        )

    def _tags(self, source: Source) -> tuple[int, int]:
        """Range and matrix: the source's, unless red, green and blue become luma and chroma."""
        colours, to_rgb = source.info.colours, is_rgb(self.pixel_format)
        if is_rgb(source.info.pixel_format) == to_rgb:
            return (2 if source.is_full else colours.range), colours.matrix
        return (2, 0) if to_rgb else (1, 1)


def plan_for(source: Source, encoding: Encoding, target: str) -> Plan:
    """The plan for a target, whose name says its container: as the source, if that can be.

    Raises `VideoError` where the container is unknown or cannot hold the codec, and where what was
    asked for cannot be encoded.
    """
    container = container_of(target)
    own, own_format = source.info.codec, source.info.pixel_format
    if encoding.codec is not None:
        asked = encoding.codec.lower()
        return _plan(source, encoding, container, _ALIASES.get(asked, asked))
    troubles: list[str] = []
    shallow: list[Plan] = []
    for codec in dict.fromkeys((own, *_OTHERS)):
        try:
            plan = _plan(source, encoding, container, codec)
        except VideoError as error:
            troubles.append(str(error))
            continue
        if troubles:
            note = f"the result is {_OTHERS[codec]}, as {own} cannot be written ({troubles[0]})"
            plan = replace(plan, notes=(note, *plan.notes))
        if encoding.pixel_format or depth_of(plan.pixel_format) >= depth_of(own_format):
            return plan
        shallow.append(plan)
        troubles.append(f"{plan.encoder} knows no {own_format}")
    if not shallow:
        raise VideoError(troubles[0])
    return shallow[0]


def _plan(source: Source, encoding: Encoding, container: str, codec: str) -> Plan:
    chosen = _encoder(codec)
    if not _holds(container, chosen.canonical_name):
        raise VideoError(f"{container} files cannot hold {chosen.canonical_name}")
    own = source.info.pixel_format
    why = ""
    twins = TWINS.get(own, ())
    for pixel_format in [encoding.pixel_format] if encoding.pixel_format else nearest(own):
        if source.is_full and pixel_format in twins and chosen.canonical_name not in _TELL_RANGE:
            continue
        options = _options(source, chosen, encoding, pixel_format)
        if container == "avi":
            options["bf"] = "0"  # it holds no order of showing beside that of decoding
        is_same = pixel_format in (own, *twins)
        changed = () if is_same else (f"pictures are {pixel_format}, not {own}",)
        plan = Plan(
            container=container,
            codec=chosen.canonical_name,
            encoder=chosen.name,
            pixel_format=pixel_format,
            options=options,
            time_base=_time_base(source.info.rate),
            notes=changed,
        )
        if (trouble := _trouble(plan, source)) is None:
            return plan
        why = why or trouble
    raise VideoError(f"{chosen.name} does not encode this clip: {why}")


def _encoder(codec: str) -> "Codec":
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        found = Codec(_ENCODERS.get(codec, codec), "w")
    except UnknownCodecError:
        raise VideoError(f"PyAV has no encoder for {codec}") from None
    if found.type != "video":
        raise VideoError(f"{codec} is no video codec")
    if found.name in _RAW:
        raise VideoError(f"{codec} is not supported for a result")
    return found


def _holds(container: str, codec: str) -> bool:
    import io

    import av

    with av.open(io.BytesIO(), "w", format=container) as trial:
        try:
            trial.add_mux_stream(codec)
        except ValueError:
            return False
    return True


def _trouble(plan: Plan, source: Source) -> str | None:
    """Why the encoder refuses to begin; None where it does not.

    Raises `VideoError` where it begins, but the container refuses it only now, in its header.
    """
    import io

    import av

    trial = av.open(io.BytesIO(), "w", format=plan.container)
    try:
        context = plan.add_stream(trial, source).codec_context
        if plan.pixel_format == "p010le" and context.width % 2:
            return "p010le needs an even width"  # FFmpeg's scaler leaves out chroma's last column
        context.open()
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        return squeezed(getattr(error, "strerror", None) or str(error))
    try:
        trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        raise VideoError(f"{plan.container} files cannot hold {plan.codec}") from None
    finally:
        with suppress(av.error.FFmpegError, ValueError):
            trial.close()
    return None


def _options(
    source: Source, chosen: "Codec", encoding: Encoding, pixel_format: str
) -> dict[str, str]:
    encoder, crf = chosen.name, encoding.crf
    if encoder not in _QUALITIES:
        if crf is not None:
            raise VideoError(f"{encoder} takes no crf")
        if encoder == "prores_ks":
            usual = 4 if "444" in pixel_format else 3
            return {"profile": str(_PRORES.get(source.info.codec_tag, usual))}
        if encoder in _GOOD or chosen.lossless or chosen.intra_only:
            return {}
        # FFmpeg's own bit rate would ruin a clip
        if encoding.codec is None or not source.info.bit_rate:
            raise VideoError(f"{encoder} has no setting for a constant quality")
        return {"b": str(max(_LEAST_BITS, 2 * source.info.bit_rate))}
    name, usual, more = _QUALITIES[encoder]
    options = dict(more)
    quality = usual if crf is None else crf
    if name == "qscale":
        options |= {"flags": "+qscale", "global_quality": str(quality * _LAMBDA)}
    else:
        options[name] = str(quality)
    light = source.mastering, source.light
    if encoder == "libx265":
        options["x265-params"] = ":".join(["log-level=error", *for_x265(*light)])
    elif encoder == "libx264" and (params := for_x264(*light)):
        options["x264-params"] = ":".join(params)
    elif encoder == "libsvtav1" and (params := for_svt(*light)):
        options["svtav1-params"] = ":".join(params)
    return options


def _time_base(rate: Fraction) -> Fraction:
    rate = max(rate.limit_denominator(_GREATEST_DIVISOR), Fraction(1, _GREATEST_DIVISOR))
    if rate.numerator > _MOST_UNITS:
        rate = Fraction(max(1, round(rate)))
    return 1 / rate
