"""Which encoder makes a clip, in which pixel format, and the files of its segments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeVar, cast

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gfpcli.clip.pixels import UNTAGGED, Color, bits_of, from_bgr, holds_alpha, is_rgb, output_color
from gfpcli.clip.probe import VideoInfo, ffmpeg_reason
from gfpcli.errors import OutputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import ANIMATIONS, CONTAINERS, WRITTEN
from gfpcli.options import HARDWARE, VideoOptions
from gfpcli.photo.pixels import Plane
from gfpcli.types import Image

Layer = TypeVar("Layer", Image, Plane)
ENCODERS = {"h264": "libx264", "h265": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "prores": "prores_ks"}
SOURCE_CODECS = {"h264": "h264", "hevc": "h265", "av1": "av1", "vp9": "vp9", "vp8": "vp9", "prores": "prores"}
STREAM_NAMES = {"h264": "h264", "h265": "hevc", "av1": "av1", "vp9": "vp9", "prores": "prores"}
DEFAULT_SETTINGS = {  # a constant quality that is hard to tell from the input, and a fitting speed
    "libx264": {"crf": "18", "preset": "medium"},
    "libx265": {"crf": "20", "preset": "medium", "x265-params": "log-level=none"},
    "libsvtav1": {"crf": "24", "preset": "8"},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "prores_ks": {"profile": "hq", "vendor": "apl0"},
}
NOT_HELD = {"mov": {"vp9", "av1", "opus", "flac", "truehd"}, "mp4": {"truehd"}}  # though listed
AVX_512F = 13  # OpenCV's number of these instructions
# x264's macroblock tree, with AVX-512 and B-frames, reads memory that nothing was written to, so that the same frames
# gave other bytes from run to run. Every processor with AVX-512 has these
X264_WITHOUT_AVX_512 = "MMX2,SSE2Fast,SSE3,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
PRESETS = {  # what `--preset` takes
    "libx264": X26X_PRESETS, "libx265": X26X_PRESETS, "libsvtav1": tuple(map(str, range(14))),
    "libvpx-vp9": tuple(map(str, range(-8, 9))), "prores_ks": (),
}  # fmt: skip
MOST_CRF = {"libx264": 51, "libx265": 51}
ALPHA_FORMATS = {"vp9": "yuva420p", "prores": "yuva444p10le"}  # of the codecs that hold transparency
ALPHA_CODECS = {"mov": "prores", "webm": "vp9", "matroska": "vp9"}  # by container, for sources whose own is not written
MILLISECOND_TICK = Fraction(1, 1000)  # a tick of Matroska's clock
QUALITY_NAMES = {"_nvenc": "cq", "_qsv": "global_quality"}  # options of hardware encoders that mean crf
SPEED_NAMES = {"libvpx-vp9": "cpu-used"}  # options that mean preset


@dataclass(frozen=True, slots=True)
class Encoder:
    """How frames are encoded."""

    name: str  # ffmpeg's name of the encoder
    stream: str  # ffmpeg's name of the codec
    pix_fmt: str
    options: dict[str, str]
    color: Color
    time_base: Fraction  # 1 / ticks per second
    rate: Fraction  # frames/s, for rate control
    pixel_aspect: Fraction

    @property
    def has_alpha(self) -> bool:
        """Whether it keeps transparency."""
        return holds_alpha(self.pix_fmt)

    @property
    def is_intra(self) -> bool:
        """Whether each frame is decoded by itself."""
        return self.stream in ("prores", "png")

    @property
    def suffix(self) -> str:
        """Of the segment files; the transparency of VP9 is a part of Matroska's packets."""
        return ".mov" if self.is_intra else ".mkv" if self.has_alpha else ".mp4"


@dataclass(frozen=True, slots=True, eq=False)
class TimedImage:
    """A finished frame on its way to the encoder."""

    image: Image  # (H, W, 3) BGR
    pts: Fraction  # seconds
    duration: Fraction  # seconds
    alpha: Plane | None = None  # (H, W), same depth


def choose_encoder(options: VideoOptions, info: VideoInfo, target: Path) -> Encoder:
    """The encoder that the options, the input and the suffix of the output ask for.

    Raises:
        UsageError: the container cannot hold the codec, or the codec has not the pixel format.
        OutputError: this ffmpeg has no such encoder, or it does not start on this machine.
    """
    if target.suffix.lower() in ANIMATIONS:
        encoder = _animation_encoder(options, info, target)
    else:
        encoder = _film_encoder(options, info, target)
    _check_starts(encoder)
    return encoder


def _animation_encoder(options: VideoOptions, info: VideoInfo, target: Path) -> Encoder:
    """Lossless frames, of which the GIF or WebP is made at the end. Raises UsageError."""
    given = {"codec": options.codec != "copy-of-source", "crf": options.crf >= 0, "preset": bool(options.preset),
             "pix-fmt": options.pix_fmt != "auto"}  # fmt: skip
    if wrong := next((flag for flag, is_given in given.items() if is_given), None):
        raise UsageError(f"{target}: --{wrong} is of films, an animation has none: leave it out")
    settings = {"compression_level": "1"}
    pix_fmt, color = "rgba" if info.has_alpha else "rgb24", Color(0, UNTAGGED, UNTAGGED, UNTAGGED)
    return Encoder("png", "png", pix_fmt, settings, color, _tick_of(info), info.rate, info.pixel_aspect)


def _film_encoder(options: VideoOptions, info: VideoInfo, target: Path) -> Encoder:
    """Raises UsageError and OutputError as `choose_encoder`."""
    held = held_by(target)
    codec = options.codec
    if codec == "copy-of-source":
        codec = _codec_like_source(info, target, held)
    name, stream = ENCODERS.get(codec, codec), STREAM_NAMES.get(codec, codec.split("_")[0])
    if stream not in held:
        fitting = ", ".join(each for each, made in STREAM_NAMES.items() if made in held)
        raise UsageError(f"{target}: such a file cannot hold {codec}: choose --codec {fitting}, or another suffix")
    try:
        formats = [each.name for each in av.Codec(name, "w").video_formats or ()]
    except av.codec.codec.UnknownCodecError as error:
        raise OutputError(f"--codec {codec}: this ffmpeg has none; it has {', '.join(available())}") from error
    pix_fmt = options.pix_fmt
    alpha_format = ALPHA_FORMATS.get(stream, "") if CONTAINERS[target.suffix.lower()] in ALPHA_CODECS else ""
    if pix_fmt == "auto" and info.has_alpha and alpha_format in formats:
        pix_fmt = alpha_format
    elif pix_fmt == "auto":
        is_new = stream == "h264" and info.codec != "h264"  # its players know 4:2:0 with 8 bit only
        opaque = info.pix_fmt.replace("yuva", "yuv")
        pix_fmt = "yuv420p" if is_new and "yuv420p" in formats else choose_pix_fmt(opaque, formats)
    if pix_fmt in formats and holds_alpha(pix_fmt) and not alpha_format:
        raise UsageError(f"{target}: such a file holds no transparency: leave out --pix-fmt {pix_fmt}")
    if pix_fmt not in formats:
        raise UsageError(f"--pix-fmt {pix_fmt!r}: for {codec} choose one of {', '.join(formats)}")
    base = MILLISECOND_TICK if stream == "vp9" and holds_alpha(pix_fmt) else _tick_of(info)
    settings = _settings_of(name, pix_fmt, options)
    made_size = round(info.size[0] * options.scale), round(info.size[1] * options.scale)
    color = output_color(info.color, info.pix_fmt, pix_fmt, info.size, made_size)
    return Encoder(name, stream, pix_fmt, settings, color, base, info.rate, info.pixel_aspect)


def _tick_of(info: VideoInfo) -> Fraction:
    return Fraction(1, info.time_base.denominator)


def _codec_like_source(info: VideoInfo, target: Path, held: set[str]) -> str:
    """The source's own codec, or one that the container holds and that keeps transparency where there is some."""
    codec = SOURCE_CODECS.get(info.codec, "h264")
    if info.has_alpha and (codec not in ALPHA_FORMATS or STREAM_NAMES[codec] not in held):
        codec = ALPHA_CODECS.get(CONTAINERS[target.suffix.lower()], codec)
    if STREAM_NAMES[codec] not in held:
        codec = "h264" if "h264" in held else "vp9"
    return codec


def held_by(target: Path) -> set[str]:
    """ffmpeg's names of the codecs that a file of this suffix can hold. Raises UsageError for another suffix."""
    container = CONTAINERS.get(target.suffix.lower())
    if container is None:
        raise UsageError(f"{target}: choose a name that ends in one of {', '.join(WRITTEN)}")
    with av.open(os.devnull, "w", format=container) as output:
        return set(output.supported_codecs) - NOT_HELD.get(container, set())


def available() -> list[str]:
    """What `--codec` takes with this ffmpeg; hardware encoders may still lack their hardware."""
    names = av.codec.codecs_available
    hardware = [name for name in names if name.endswith(HARDWARE) and name.split("_")[0] in STREAM_NAMES.values()]
    return [codec for codec, name in ENCODERS.items() if name in names] + sorted(hardware)


def choose_pix_fmt(source: str, formats: list[str]) -> str:
    """The source's own format where the encoder has it, else the nearest: depth first, then chroma."""
    plain = source.replace("yuvj", "yuv")
    if plain in formats or not formats:
        return plain
    layout = av.VideoFormat(plain, 16, 16)
    width, height = (8, 8) if is_rgb(plain) else (layout.chroma_width(16), layout.chroma_height(16))
    chroma = {(16, 16): "444", (8, 16): "422"}.get((width, height), "420")
    ends = ("10le", "12le", "") if bits_of(plain) > 8 else ("", "10le")
    wanted = [f"yuv{each}p{end}" for end in ends for each in (chroma, "420", "422", "444")]
    return next((each for each in wanted if each in formats), formats[0])


def _settings_of(name: str, pix_fmt: str, options: VideoOptions) -> dict[str, str]:
    """The encoder's own options. Raises UsageError for what it does not know."""
    settings = dict(DEFAULT_SETTINGS.get(name, {}))
    if name == "libx264" and cv2.checkHardwareSupport(AVX_512F):
        settings["x264-params"] = f"asm={X264_WITHOUT_AVX_512}"
    if name == "prores_ks" and "444" in pix_fmt:
        settings["profile"] = "4444"
    if options.crf >= 0:
        words = [word for end, word in QUALITY_NAMES.items() if name.endswith(end)]
        if not words and "crf" not in settings:
            raise UsageError(f"--crf: {name} has no such setting; leave it out")
        if options.crf > (most := MOST_CRF.get(name, options.crf)):
            raise UsageError(f"--crf {options.crf}: {name} takes 0 to {most}")
        settings[words[0] if words else "crf"] = str(options.crf)
    if options.preset:
        _check_preset(name, options.preset)
        settings[SPEED_NAMES.get(name, "preset")] = options.preset
    return settings


def _check_preset(name: str, preset: str) -> None:
    """Raises UsageError for a preset that the encoder has not; those of hardware are tried."""
    known = PRESETS.get(name, (preset,))
    if not known:
        raise UsageError(f"--preset: {name} has no such setting; leave it out")
    by_number = map(str, range(len(known)))  # x264 and x265 take them too
    if preset not in (*known, *by_number):
        told = f"{known[0]} to {known[-1]} (faster)" if known[-1].isdigit() else ", ".join(known)
        raise UsageError(f"--preset {preset!r}: {name} takes {told}")


def _check_starts(encoder: Encoder) -> None:
    """Encodes one small picture, so that wrong settings are found before hours of work. Raises OutputError."""
    grey = np.full((144, 256, 3), 128, np.uint8)
    try:
        encoded_sizes([TimedImage(grey, Fraction(0), Fraction(1))], encoder)
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(_start_line(encoder, ffmpeg_reason(error))) from error


def _start_line(encoder: Encoder, reason: str) -> str:
    told = f"{encoder.name} does not start on this machine"
    if encoder.name.endswith(HARDWARE):
        fits = next((codec for codec, stream in STREAM_NAMES.items() if stream == encoder.stream), "h264")
        return f"{told}: it needs its graphics card and driver; --codec {fits} needs none"
    settings = " ".join(f"{key}={value}" for key, value in encoder.options.items())
    return f"{told} with {settings}: {reason}" if settings else f"{told}: {reason}"


def encoded_sizes(pictures: Sequence[TimedImage], encoder: Encoder) -> list[tuple[int, bool]]:
    """Bytes of each packet that the pictures become, and whether it is a key frame; nothing is written.

    Raises:
        FFmpegError, ValueError: the encoder does not start.
    """
    size = pad_to_even(pictures[0].image, encoder.pix_fmt).shape[:2]
    made = []
    with _open_stream(os.devnull, encoder, size, container="null") as (output, stream):
        for i, picture in enumerate([*pictures, None]):
            ticks = round(i / encoder.rate / encoder.time_base)
            for packet in stream.encode(None if picture is None else _to_picture(picture, encoder, ticks)):
                made.append((packet.size, packet.is_keyframe))
                output.mux(packet)
    return made


@contextmanager
def _open_stream(
    path: str, encoder: Encoder, size: tuple[int, int], *, container: str
) -> Iterator[tuple[OutputContainer, VideoStream]]:
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 itself writes to stderr: only errors
    has_clock = container in ("mp4", "mov")
    options = {"video_track_timescale": str(encoder.time_base.denominator)} if has_clock else {}
    with av.open(path, "w", format=container, container_options=options) as output:
        stream = cast(VideoStream, output.add_stream(encoder.name, rate=encoder.rate, options=encoder.options))
        context = stream.codec_context
        context.height, context.width = size
        context.pix_fmt = encoder.pix_fmt
        context.time_base = stream.time_base = encoder.time_base
        context.sample_aspect_ratio = encoder.pixel_aspect
        context.color_range, context.color_primaries = encoder.color.range, encoder.color.primaries
        context.color_trc, context.colorspace = encoder.color.transfer, encoder.color.matrix
        yield output, stream


@dataclass(slots=True)
class SegmentEncoder:
    """Encodes pictures into one new file, whose clock starts at its first picture; see `encode_segment`."""

    path: Path
    encoder: Encoder
    files: ExitStack  # closes the file
    first: Fraction | None = None  # seconds, time of the first picture
    end: Fraction = Fraction(0)  # seconds, when the last picture is no longer shown
    delay: int = 0  # pictures that decode before one that is shown earlier
    times: list[int] = field(default_factory=list)  # ticks of each packet so far, in decoding order
    opened: tuple[OutputContainer, VideoStream] | None = None  # with the first picture, whose size it has

    def write(self, picture: TimedImage) -> None:
        """The next picture. Raises OutputError."""
        with os_errors_as(OutputError, self.path, also=(av.FFmpegError,)):
            if self.opened is None or self.first is None:
                size = pad_to_even(picture.image, self.encoder.pix_fmt).shape[:2]
                container = CONTAINERS[self.encoder.suffix]
                file = _open_stream(f"file:{self.path.resolve()}", self.encoder, size, container=container)
                self.opened, self.first = self.files.enter_context(file), picture.pts
            ticks = round((picture.pts - self.first) / self.encoder.time_base)
            self.end = max(self.end, picture.pts + picture.duration)
            self.add_packets(self.opened, _to_picture(picture, self.encoder, ticks))

    def close(self) -> None:
        """Writes what the encoder still holds. Raises OutputError."""
        with os_errors_as(OutputError, self.path, also=(av.FFmpegError,)):
            if self.opened:
                self.add_packets(self.opened, None)
            self.files.close()

    def add_packets(self, opened: tuple[OutputContainer, VideoStream], picture: VideoFrame | None) -> None:
        """What the encoder gives for one more picture, or at the end for None."""
        output, stream = opened
        for packet in stream.encode(picture):
            time = packet.pts or 0
            self.delay = max(self.delay, sum(1 for each in self.times if each > time))
            self.times.append(time)
            output.mux(packet)


@contextmanager
def encode_segment(path: Path, encoder: Encoder) -> Iterator[SegmentEncoder]:
    """Encodes the pictures of one segment into a new file; `first`, `end` and `delay` are known when it is closed.

    Raises:
        OutputError: the file cannot be written.
    """
    with ExitStack() as files:
        segment = SegmentEncoder(path, encoder, files)
        yield segment
        segment.close()


def pad_to_even(plane: Layer, pix_fmt: str) -> Layer:
    """(H, W, ...) with its last row or column doubled where the chroma of the format needs even sizes."""
    layout = av.VideoFormat(pix_fmt, 16, 16)
    height, width = plane.shape[:2]
    rows = height % (16 // layout.chroma_height(16))
    columns = width % (16 // layout.chroma_width(16))
    if not rows and not columns:
        return plane
    return cast(Layer, np.pad(plane, ((0, rows), (0, columns), *((0, 0),) * (plane.ndim - 2)), "edge"))


def _to_picture(picture: TimedImage, encoder: Encoder, ticks: int) -> VideoFrame:
    image = pad_to_even(picture.image, encoder.pix_fmt)
    alpha = None if picture.alpha is None else pad_to_even(picture.alpha, encoder.pix_fmt)
    made = from_bgr(image, encoder.pix_fmt, encoder.color, alpha)
    made.pts, made.time_base = ticks, encoder.time_base
    return made
