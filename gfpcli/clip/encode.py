"""Which encoder makes a clip, in which pixel format, and the files of its segments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gfpcli.clip.pixels import Color, bits_of, from_bgr, is_rgb, output_color
from gfpcli.clip.probe import VideoInfo
from gfpcli.errors import OutputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import CONTAINERS
from gfpcli.options import HARDWARE, VideoOptions
from gfpcli.types import Image

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
    def suffix(self) -> str:
        """Of the segment files."""
        return ".mov" if self.stream == "prores" else ".mp4"


@dataclass(frozen=True, slots=True, eq=False)
class TimedImage:
    """A finished frame on its way to the encoder."""

    image: Image  # (H, W, 3) BGR
    pts: Fraction  # seconds
    duration: Fraction  # seconds


def choose_encoder(options: VideoOptions, info: VideoInfo, target: Path) -> Encoder:
    """The encoder that the options, the input and the suffix of the output ask for.

    Raises:
        UsageError: the container cannot hold the codec, or the codec has not the pixel format.
        OutputError: this ffmpeg has no such encoder, or it does not start on this machine.
    """
    held = held_by(target)
    codec = options.codec
    if codec == "copy-of-source":
        codec = SOURCE_CODECS.get(info.codec, "h264")
        if STREAM_NAMES[codec] not in held:
            codec = "h264" if "h264" in held else "vp9"
    name, stream = ENCODERS.get(codec, codec), STREAM_NAMES.get(codec, codec.split("_")[0])
    if stream not in held:
        fitting = ", ".join(each for each, made in STREAM_NAMES.items() if made in held)
        raise UsageError(f"{target}: such a file cannot hold {codec}: choose --codec {fitting}, or another suffix")
    try:
        formats = [each.name for each in av.Codec(name, "w").video_formats or ()]
    except av.codec.codec.UnknownCodecError as error:
        raise OutputError(f"--codec {codec}: this ffmpeg has none; it has {', '.join(available())}") from error
    pix_fmt = options.pix_fmt
    if pix_fmt == "auto":
        is_new = stream == "h264" and info.codec != "h264"  # its players know 4:2:0 with 8 bit only
        pix_fmt = "yuv420p" if is_new and "yuv420p" in formats else choose_pix_fmt(info.pix_fmt, formats)
    if pix_fmt not in formats:
        raise UsageError(f"--pix-fmt {pix_fmt!r}: for {codec} choose one of {', '.join(formats)}")
    base = Fraction(1, info.time_base.denominator)
    settings = _settings_of(name, options)
    made_size = round(info.size[0] * options.scale), round(info.size[1] * options.scale)
    color = output_color(info.color, info.pix_fmt, pix_fmt, info.size, made_size)
    encoder = Encoder(name, stream, pix_fmt, settings, color, base, info.rate, info.pixel_aspect)
    _check_starts(encoder)
    return encoder


def held_by(target: Path) -> set[str]:
    """ffmpeg's names of the codecs that a file of this suffix can hold. Raises UsageError for another suffix."""
    container = CONTAINERS.get(target.suffix.lower())
    if container is None:
        raise UsageError(f"{target}: choose a name that ends in one of {', '.join(CONTAINERS)}")
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


def _settings_of(name: str, options: VideoOptions) -> dict[str, str]:
    settings = dict(DEFAULT_SETTINGS.get(name, {}))
    if name == "libx264" and cv2.checkHardwareSupport(AVX_512F):
        settings["x264-params"] = f"asm={X264_WITHOUT_AVX_512}"
    if options.crf >= 0:
        words = [word for end, word in QUALITY_NAMES.items() if name.endswith(end)]
        if not words and "crf" not in settings:
            raise UsageError(f"--crf: {name} has no such setting; leave it out")
        settings[words[0] if words else "crf"] = str(options.crf)
    if options.preset:
        settings[SPEED_NAMES.get(name, "preset")] = options.preset
    return settings


def _check_starts(encoder: Encoder) -> None:
    """Encodes one small picture, so that wrong settings are found before hours of work. Raises OutputError."""
    grey = np.full((144, 256, 3), 128, np.uint8)
    try:
        with _open_stream(os.devnull, encoder, (144, 256), container="null") as (output, stream):
            output.mux(stream.encode(_to_picture(grey, encoder, 0)))
            output.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        settings = " ".join(f"{key}={value}" for key, value in encoder.options.items())
        told = f"{encoder.name} does not start on this machine" + (f" with {settings}" if settings else "")
        raise OutputError(f"{told}; --codec takes {', '.join(available())}") from error


@contextmanager
def _open_stream(
    path: str, encoder: Encoder, size: tuple[int, int], *, container: str
) -> Iterator[tuple[OutputContainer, VideoStream]]:
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 itself writes to stderr: only errors
    options = {} if container == "null" else {"video_track_timescale": str(encoder.time_base.denominator)}
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
        image = pad_to_even(picture.image, self.encoder.pix_fmt)
        with os_errors_as(OutputError, self.path, also=(av.FFmpegError,)):
            if self.opened is None or self.first is None:
                size, container = image.shape[:2], CONTAINERS[self.encoder.suffix]
                file = _open_stream(f"file:{self.path.resolve()}", self.encoder, size, container=container)
                self.opened, self.first = self.files.enter_context(file), picture.pts
            ticks = round((picture.pts - self.first) / self.encoder.time_base)
            self.end = max(self.end, picture.pts + picture.duration)
            self.add_packets(self.opened, _to_picture(image, self.encoder, ticks))

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


def pad_to_even(image: Image, pix_fmt: str) -> Image:
    """The image with its last row or column doubled where the chroma of the format needs even sizes."""
    layout = av.VideoFormat(pix_fmt, 16, 16)
    height, width = image.shape[:2]
    rows = height % (16 // layout.chroma_height(16))
    columns = width % (16 // layout.chroma_width(16))
    if not rows and not columns:
        return image
    return cast(Image, np.pad(image, ((0, rows), (0, columns), (0, 0)), "edge"))


def _to_picture(image: Image, encoder: Encoder, ticks: int) -> VideoFrame:
    picture = from_bgr(image, encoder.pix_fmt, encoder.color)
    picture.pts, picture.time_base = ticks, encoder.time_base
    return picture
