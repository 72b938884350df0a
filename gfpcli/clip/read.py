"""Video files to frames: what a file holds, and its pictures upright, each with its exact time."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gfpcli.clip.pixels import UPRIGHT, Color, Turn, bits_of, to_bgr, turn_of, upright
from gfpcli.errors import InputError, os_reason
from gfpcli.photo.codec import read_frame
from gfpcli.types import Frame

HDR = {16: "PQ", 18: "HLG"}  # transfer curves (ITU-T H.273)
ATTACHED_PICTURE = 0x0400  # disposition of a cover
NEAR_SQUARE = 0.03  # pixels that are this near to square are taken as square
SEEK_AHEAD = Fraction(5)  # seconds decoded before a frame that is sought, for whole references
UNSURE = 0.2  # seconds before a damage that may be damaged too
LATE = Fraction(1)  # seconds that may lack at the end before a file counts as cut short
# play lists, which name other files and addresses, are none of these: what a file holds never opens another
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "live_flv", "ogg",
    "mxf", "dv", "gif", "ivf", "nut", "yuv4mpegpipe", "h264", "hevc", "obu", "av1", "m4v", "vc1", "rm", "wtv", "apng",
)  # fmt: skip
ONE_FILE = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
PICTURES = "pictures"  # the codec of a folder of them


@dataclass(frozen=True, slots=True)
class OtherStream:
    """A stream that is carried over as it is."""

    index: int
    kind: str  # audio | video | subtitle | attachment | data
    codec: str


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a clip before its frames are decoded."""

    path: Path
    index: int  # of the video stream
    size: tuple[int, int]  # (height, width) upright, px
    time_base: Fraction  # seconds of one tick
    rate: Fraction  # frames/s, a mean where it varies
    n_frames: int
    start: Fraction  # seconds, of the first frame
    end: Fraction  # seconds, when the last frame goes
    codec: str
    pix_fmt: str
    color: Color
    pixel_aspect: Fraction  # width / height of a pixel, upright
    turn: Turn
    is_interlaced: bool
    can_seek: bool
    others: tuple[OtherStream, ...]
    clocks: tuple[int, ...]  # ticks per second of the other streams
    file_start: Fraction  # seconds, of the earliest stream

    @property
    def is_pictures(self) -> bool:
        """A folder of pictures, no file."""
        return self.codec == PICTURES

    @property
    def has_alpha(self) -> bool:
        """Transparency, which no frame keeps."""
        return len(av.VideoFormat(self.pix_fmt, 16, 16).components) in (2, 4)

    @property
    def is_deep(self) -> bool:
        """More than 8 bit."""
        return bits_of(self.pix_fmt) > 8


@dataclass(slots=True)
class _Scan:
    """What all packets of a file say."""

    n_frames: int = 0
    first: Fraction | None = None  # seconds, of the video
    last: Fraction = Fraction(0)  # seconds, when the video's last frame goes
    end: Fraction = Fraction(0)  # seconds, when the last packet of any stream goes
    has_all_times: bool = True
    n_broken: int = 0


def probe(path: Path, *, wanted_s: float = 0.0) -> VideoInfo:
    """Reads all packets once and decodes the first frame.

    Args:
        wanted_s: how much of the clip is asked for; 0 = all. What lies behind may be damaged.

    Raises:
        InputError: not a video, without a picture, cut short, or in HDR.
    """
    with _opened(path) as container:
        stream = _main_stream(container, path)
        others = tuple(
            OtherStream(each.index, each.type, each.codec_context.name if each.codec_context else "unknown")
            for each in container.streams
            if each.index != stream.index
        )
        clocks = tuple(Fraction(each.time_base).denominator for each in container.streams if each.time_base)
        scan = _scan(container, stream)
        header_s = Fraction(container.duration or 0, 1_000_000)
        start_s = Fraction(container.start_time or 0, 1_000_000)
        _check_whole(path, scan, n_told=stream.frames, end_told=start_s + header_s, wanted_s=wanted_s)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        base = Fraction(stream.time_base or Fraction(1, 90_000))
        index, codec = stream.index, stream.codec_context.name
        aspect = Fraction(stream.sample_aspect_ratio or 1)  # PyAV gives None or 0 where it is unknown
    picture, field_order = _first_picture(path)
    turn = turn_of(picture)
    size = picture.height, picture.width
    if turn[0] == 0:
        size, aspect = (size[1], size[0]), 1 / aspect
    start = scan.first or Fraction(0)
    return VideoInfo(
        path=path,
        index=index,
        size=size,
        time_base=base,
        rate=Fraction(rate),
        n_frames=scan.n_frames,
        start=start,
        end=max(scan.last, start),
        codec=codec,
        pix_fmt=picture.format.name,
        color=_color_of(picture, path),
        pixel_aspect=aspect,
        turn=turn,
        is_interlaced=picture.interlaced_frame or field_order > 1,
        can_seek=scan.has_all_times,
        others=others,
        clocks=clocks,
        file_start=start_s,
    )


def _opened(path: Path) -> InputContainer:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return av.open(f"file:{path.resolve()}", metadata_errors="replace", options=ONE_FILE)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a video, or cut short ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """ffmpeg's own words, without the file's name."""
    log = getattr(error, "log", None)
    return " ".join((log[2] if log else os_reason(error)).split())


def _main_stream(container: InputContainer, path: Path) -> VideoStream:
    pictures = [each for each in container.streams.video if not int(each.disposition) & ATTACHED_PICTURE]
    if not pictures:
        raise InputError(f"{path}: it has no video stream")
    best = container.streams.best("video")
    stream = best if best in pictures else pictures[0]
    return cast(VideoStream, stream)


def _scan(container: InputContainer, stream: VideoStream) -> _Scan:
    scan = _Scan()
    try:
        for packet in container.demux():
            if packet.size == 0:
                continue
            pts = packet.pts if packet.pts is not None else packet.dts
            is_main = packet.stream_index == stream.index
            scan.n_broken += is_main and packet.is_corrupt
            scan.n_frames += is_main and not packet.is_discard
            if pts is None or packet.stream.type not in ("audio", "video"):
                scan.has_all_times &= not is_main
                continue
            at = pts * packet.time_base
            goes = at + (packet.duration or 0) * packet.time_base
            scan.end = max(scan.end, goes)
            if is_main:
                scan.has_all_times &= packet.pts is not None
                scan.first = at if scan.first is None else min(scan.first, at)
                scan.last = max(scan.last, goes)
    except (av.FFmpegError, OSError):
        scan.n_broken += 1  # what can be read decides whether it is refused
    return scan


def _check_whole(path: Path, scan: _Scan, *, n_told: int, end_told: Fraction, wanted_s: float) -> None:
    """Raises InputError for a file without frames or with an end that is missing."""
    if not scan.n_frames:
        raise InputError(f"{path}: its video stream holds no picture")
    is_short = n_told > scan.n_frames + 1 or scan.end + LATE < end_told or scan.n_broken
    readable_s = max(0.0, float(scan.last - (scan.first or 0)) - UNSURE)
    if is_short and not 0 < wanted_s <= readable_s:
        told = f"{scan.n_frames} of {n_told or 'its'} frames, up to {float(scan.last):.2f} of {float(end_told):.2f} s"
        hint = f"--end {int(readable_s * 10) / 10:g} restores what is whole"
        raise InputError(f"{path}: cut short or damaged: it holds {told}; {hint}")


def _first_picture(path: Path) -> tuple[VideoFrame, int]:
    """The first picture that decodes, and the stream's field order."""
    with _opened(path) as container:
        stream = _main_stream(container, path)
        for picture in _decoded(container, stream):
            return picture, stream.codec_context.field_order
    raise InputError(f"{path}: no picture of it can be decoded")


def _color_of(picture: VideoFrame, path: Path) -> Color:
    """Raises InputError for HDR."""
    curve = int(picture.color_trc)
    if curve in HDR:
        raise InputError(
            f"{path}: HDR ({HDR[curve]}) is not supported, the networks know standard range only: tone-map it first"
        )
    return Color(int(picture.color_range), int(picture.color_primaries), curve, int(picture.colorspace))


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every picture; packets that do not decode are left out, as players do."""
    for packet in container.demux(stream):
        try:
            pictures = packet.decode()
        except (av.InvalidDataError, av.EOFError):
            continue
        yield from cast("list[VideoFrame]", pictures)


def read_frames(
    info: VideoInfo, *, start: Fraction | None = None, end: Fraction | None = None
) -> Generator[Frame, None, None]:
    """Frames from `start` on and before `end` (seconds of the file's own clock), upright, indexed from 0 at `start`.

    Raises:
        InputError: the file can no longer be read.
    """
    begin = info.start if start is None else start
    with _opened(info.path) as container:
        stream = cast(VideoStream, container.streams[info.index])
        stream.thread_type = "AUTO"
        if info.can_seek and begin - SEEK_AHEAD > info.start:
            container.seek(int((begin - SEEK_AHEAD) / info.time_base), stream=stream)
        pictures = _decoded(container, stream)
        if info.is_interlaced:
            pictures = _deinterlaced(pictures, stream)
        index = 0
        try:
            for picture, pts, duration in _timed(pictures, info):
                if end is not None and pts >= end:
                    return
                if pts < begin:
                    continue
                image = upright(to_bgr(picture, is_deep=info.is_deep), info.turn)
                name = f"{info.path} at {float(pts):.3f} s"
                aspect = float(info.pixel_aspect)
                aspect = 1.0 if abs(aspect - 1) < NEAR_SQUARE else aspect
                yield Frame(index, image, name, pts, duration, pixel_aspect=aspect)
                index += 1
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{info.path}: {_reason(error)}") from error


def _timed(pictures: Iterator[VideoFrame], info: VideoInfo) -> Iterator[tuple[VideoFrame, Fraction, Fraction]]:
    """Each picture with its time and duration; a time that is missing or does not grow follows the one before."""
    usual = 1 / info.rate
    last: Fraction | None = None
    for picture in pictures:
        base = Fraction(picture.time_base or info.time_base)
        pts = None if picture.pts is None else picture.pts * base
        if pts is None or (last is not None and pts <= last):
            pts = info.start if last is None else last + max(1, round(usual / info.time_base)) * info.time_base
        duration = picture.duration * base if picture.duration else usual
        yield picture, pts, duration
        last = pts


def _deinterlaced(pictures: Iterator[VideoFrame], stream: VideoStream) -> Iterator[VideoFrame]:
    """One whole picture for each pair of fields, at its time; pictures that are not interlaced stay as they are."""
    graph = Graph()
    source = graph.add_buffer(template=stream)
    weave = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(weave)
    weave.link_to(sink)
    graph.configure()
    for picture in _and_none(pictures):
        graph.push(picture)
        while True:
            try:
                yield cast(VideoFrame, graph.pull())
            except (av.BlockingIOError, av.EOFError):
                break


def _and_none(pictures: Iterator[VideoFrame]) -> Iterator[VideoFrame | None]:
    """The pictures, then None, which ends a filter."""
    yield from pictures
    yield None


def frames_info(first: Frame, n_frames: int, rate: Fraction, path: Path) -> VideoInfo:
    """A folder of pictures as a clip at a constant rate."""
    height, width = first.image.shape[:2]
    return VideoInfo(
        path=path, index=0, size=(height, width), time_base=1 / rate, rate=rate, n_frames=n_frames, start=Fraction(0),
        end=n_frames / rate, codec=PICTURES, pix_fmt="rgb48le" if first.image.dtype == np.uint16 else "rgb24",
        color=Color(1, 1, 1, 1), pixel_aspect=Fraction(1), turn=UPRIGHT, is_interlaced=False, can_seek=True,
        others=(), clocks=(), file_start=Fraction(0),
    )  # fmt: skip


def read_pictures(
    files: Sequence[Path], info: VideoInfo, start: Fraction, stop: Fraction | None
) -> Generator[Frame, None, None]:
    """The pictures of a folder as frames at its rate. Raises InputError, for pictures of another size too."""
    first = max(0, math.ceil(start * info.rate))
    last = len(files) if stop is None else min(len(files), math.ceil(stop * info.rate))
    for index in range(first, last):
        frame = read_frame(files[index], index)
        if frame.image.shape[:2] != info.size:
            height, width = frame.image.shape[:2]
            first_one = f"{info.size[1]}x{info.size[0]}"
            raise InputError(f"{files[index]}: {width}x{height}, but the first picture is {first_one}")
        yield replace(frame, index=index - first, pts=index / info.rate, duration=1 / info.rate)
