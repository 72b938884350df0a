"""Frames to a video stream: which encoder, in which format, and one whole stretch of a clip after another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gfpcli.clip.pixels import Color, bits_of, from_bgr
from gfpcli.clip.read import VideoInfo
from gfpcli.errors import OutputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import CONTAINERS
from gfpcli.options import HARDWARE, VideoOptions
from gfpcli.types import Image

ENCODERS = {"h264": "libx264", "h265": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "prores": "prores_ks"}
SOURCE_CODECS = {"h264": "h264", "hevc": "h265", "av1": "av1", "vp9": "vp9", "vp8": "vp9", "prores": "prores"}
STREAM_NAMES = {"h264": "h264", "h265": "hevc", "av1": "av1", "vp9": "vp9", "prores": "prores"}
USUAL = {  # constant quality that is hard to tell from the input, and a speed that suits it
    "libx264": {"crf": "18", "preset": "medium"},
    "libx265": {"crf": "20", "preset": "medium", "x265-params": "log-level=none"},
    "libsvtav1": {"crf": "24", "preset": "8"},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "prores_ks": {"profile": "hq", "vendor": "apl0"},
}
QUALITY_NAMES = {"_nvenc": "cq", "_qsv": "global_quality"}  # hardware's words for crf
SPEED_NAMES = {"libvpx-vp9": "cpu-used"}


@dataclass(frozen=True, slots=True)
class Encoder:
    """How frames are encoded."""

    name: str  # ffmpeg's
    stream: str  # ffmpeg's name of what it makes
    pix_fmt: str
    options: dict[str, str]
    color: Color
    time_base: Fraction  # 1 / ticks per second
    rate: Fraction  # frames/s, for rate control
    pixel_aspect: Fraction

    @property
    def suffix(self) -> str:
        """Of the segments' files."""
        return ".mov" if self.stream == "prores" else ".mp4"


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A finished frame on its way to the encoder."""

    image: Image  # (H, W, 3) BGR
    pts: Fraction  # seconds
    duration: Fraction  # seconds


@dataclass(slots=True)
class Written:
    """What a segment's file holds, whole once it is closed."""

    times: list[int] = field(default_factory=list)  # ticks from the segment's first frame, as shown
    first: Fraction | None = None  # seconds
    end: Fraction = Fraction(0)  # seconds, when its last frame goes
    delay: int = 0  # frames that decode before one that is shown earlier


def choose_encoder(options: VideoOptions, info: VideoInfo, target: Path) -> Encoder:
    """The encoder that the flags, the input and the output's name ask for.

    Raises:
        UsageError: a container or pixel format that does not go with it.
        OutputError: this machine has no such encoder, or it does not start.
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
    pix_fmt = choose_pix_fmt(info.pix_fmt, formats) if options.pix_fmt == "auto" else options.pix_fmt
    if pix_fmt not in formats:
        raise UsageError(f"--pix-fmt {pix_fmt!r}: for {codec} choose one of {', '.join(formats)}")
    base = Fraction(1, info.time_base.denominator)
    settings = _settings_of(name, options)
    encoder = Encoder(name, stream, pix_fmt, settings, info.color, base, info.rate, info.pixel_aspect)
    _try(encoder)
    return encoder


def held_by(target: Path) -> set[str]:
    """ffmpeg's names of the codecs that a file of this suffix can hold. Raises UsageError for another suffix."""
    container = CONTAINERS.get(target.suffix.lower())
    if container is None:
        raise UsageError(f"{target}: choose a name that ends in one of {', '.join(CONTAINERS)}")
    with av.open(os.devnull, "w", format=container) as output:
        return set(output.supported_codecs)


def available() -> list[str]:
    """What `--codec` takes with this ffmpeg; hardware encoders may still lack their hardware."""
    names = av.codec.codecs_available
    hardware = [name for name in names if name.endswith(HARDWARE) and name.split("_")[0] in STREAM_NAMES.values()]
    return [codec for codec, name in ENCODERS.items() if name in names] + sorted(hardware)


def choose_pix_fmt(source: str, formats: list[str]) -> str:
    """The source's own where the encoder has it, else the nearest: depth first, then chroma."""
    plain = source.replace("yuvj", "yuv")
    if plain in formats or not formats:
        return plain
    layout = av.VideoFormat(plain, 16, 16)
    is_rgb = layout.is_rgb or plain.startswith(("gbr", "bgr", "pal"))
    width, height = (8, 8) if is_rgb else (layout.chroma_width(16), layout.chroma_height(16))
    chroma = {(16, 16): "444", (8, 16): "422"}.get((width, height), "420")
    ends = ("10le", "12le", "") if bits_of(plain) > 8 else ("", "10le")
    wanted = [f"yuv{each}p{end}" for end in ends for each in (chroma, "420", "422", "444")]
    return next((each for each in wanted if each in formats), formats[0])


def _settings_of(name: str, options: VideoOptions) -> dict[str, str]:
    settings = dict(USUAL.get(name, {}))
    if options.crf >= 0:
        words = [word for end, word in QUALITY_NAMES.items() if name.endswith(end)]
        if not words and "crf" not in settings:
            raise UsageError(f"--crf: {name} has no such setting; leave it out")
        settings[words[0] if words else "crf"] = str(options.crf)
    if options.preset:
        settings[SPEED_NAMES.get(name, "preset")] = options.preset
    return settings


def _try(encoder: Encoder) -> None:
    """Encodes one small picture: what is wrong with the settings or the machine shows before hours of work."""
    grey = np.full((144, 256, 3), 128, np.uint8)
    try:
        with _open_stream(os.devnull, encoder, (144, 256), container="null") as (output, stream):
            output.mux(stream.encode(_picture_of(grey, encoder, 0)))
            output.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        settings = " ".join(f"{key}={value}" for key, value in encoder.options.items())
        told = f"{encoder.name} does not start on this machine" + (f" with {settings}" if settings else "")
        raise OutputError(f"{told}; --codec takes {', '.join(available())}") from error


@contextmanager
def _open_stream(
    path: str, encoder: Encoder, size: tuple[int, int], *, container: str
) -> Iterator[tuple[OutputContainer, VideoStream]]:
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to stderr by itself: errors only
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


@contextmanager
def segment_writer(path: Path, encoder: Encoder) -> Iterator[tuple[Callable[[Picture], None], Written]]:
    """A function that encodes one picture after another into a new file, and what is known of it once it is closed.

    The file's clock starts at its first picture, and its first picture needs none before it.

    Raises:
        OutputError: the file cannot be written.
    """
    written = Written()
    with ExitStack() as stack:
        opened: list[tuple[OutputContainer, VideoStream]] = []

        def keep(packets: list[Packet]) -> None:
            for packet in packets:
                later = sum(1 for pts in written.times if pts > (packet.pts or 0))
                written.delay = max(written.delay, later)
                written.times.append(packet.pts or 0)
                _mux(opened[0][0], packet)

        def write(picture: Picture) -> None:
            image = pad_to_even(picture.image, encoder.pix_fmt)
            with os_errors_as(OutputError, path, also=(av.FFmpegError,)):
                if not opened:
                    size, container = image.shape[:2], CONTAINERS[encoder.suffix]
                    file = _open_stream(f"file:{path.resolve()}", encoder, size, container=container)
                    opened.append(stack.enter_context(file))
                    written.first = picture.pts
                ticks = (picture.pts - (written.first or 0)) / encoder.time_base
                written.end = max(written.end, picture.pts + picture.duration)
                keep(opened[0][1].encode(_picture_of(image, encoder, round(ticks))))

        yield write, written
        with os_errors_as(OutputError, path, also=(av.FFmpegError,)):
            if opened:
                keep(opened[0][1].encode(None))
            stack.close()


def _mux(output: OutputContainer, packet: Packet) -> None:
    output.mux(packet)


def pad_to_even(image: Image, pix_fmt: str) -> Image:
    """The last row or column twice where the format's chroma needs even sizes."""
    layout = av.VideoFormat(pix_fmt, 16, 16)
    height, width = image.shape[:2]
    rows = height % (16 // layout.chroma_height(16))
    columns = width % (16 // layout.chroma_width(16))
    if not rows and not columns:
        return image
    return cast(Image, np.pad(image, ((0, rows), (0, columns), (0, 0)), "edge"))


def _picture_of(image: Image, encoder: Encoder, ticks: int) -> VideoFrame:
    picture = from_bgr(image, encoder.pix_fmt, encoder.color)
    picture.pts, picture.time_base = ticks, encoder.time_base
    return picture
