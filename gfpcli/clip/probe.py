"""What a video file holds: its streams, size, times and colours, and whether it is whole."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from gfpcli.clip.pixels import UPRIGHT, Color, Turn, bits_of, holds_alpha, is_rgb, turn_of
from gfpcli.clip.timeline import RECORDINGS, Jump, StreamClock, Timeline, timeline_of
from gfpcli.errors import InputError, os_reason
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.kinds import kind_of_file
from gfpcli.types import Frame

HDR = {16: "PQ", 18: "HLG"}  # transfer curves (ITU-T H.273)
ATTACHED_PICTURE = 0x0400  # disposition bit of a cover image
UNSURE_S = 0.2  # before damage, in which frames may be damaged too
MISSING_S = Fraction(1)  # that may be missing at the end before a file counts as cut short
FAR_START_S = Fraction(10)  # a clip that starts later is a piece of a longer one: its times count from its start
LONG_FRAME = 3  # usual frames; where a recording holds one for longer, packets were lost
OPAQUE = 255
SEQUENCES = (b"avis", b"msf1", b"hevc", b"hevx")  # brands of files of boxes that hold moving pictures
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # that read WebM's transparency
TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;]\d\d+")
SURE_SHOWN = 3  # packets with pictures, after which all is well
MANY_SILENT, FEW_SILENT = 50, 12  # packets one after the other without a picture: in between, and at the end
MAX_GAPS = 1000  # that are remembered
DURATION_FROM_0 = ("matroska,webm", "flv")  # their header tells when the last frame ends, not how long they are
# ffmpeg's demuxers that may open a file. Playlists are not among them: they would open other files and addresses
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "live_flv", "ogg",
    "mxf", "dv", "gif", "ivf", "nut", "yuv4mpegpipe", "h264", "hevc", "obu", "av1", "m4v", "vc1", "rm", "wtv", "apng",
)  # fmt: skip
ONE_FILE = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
# PyAV 19 lost the setting; it keeps bytes that are not UTF-8 as surrogates, which `readable` replaces
TEXT_ERRORS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
PICTURES, ANIMATED_WEBP = "pictures", "webp"  # `VideoInfo.codec` of a folder of pictures, and of an animated WebP


@dataclass(frozen=True, slots=True)
class OtherStream:
    """A stream beside the restored video."""

    index: int
    kind: str  # audio | video | subtitle | attachment | data
    codec: str
    is_cover: bool = False  # a picture that is shown for the file
    is_timecode: bool = False
    name: str = ""  # what its maker calls it: GoPro MET

    @property
    def label(self) -> str:
        """What it is, for people."""
        return self.name or self.codec if self.kind == "data" else self.codec


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a clip before its frames are decoded; times are seconds of the clip's clock (`timeline`)."""

    path: Path
    index: int  # of the video stream
    size: tuple[int, int]  # (height, width) upright, px
    time_base: Fraction  # seconds of one tick of its time stamps
    rate: Fraction  # frames/s, a mean where it varies
    n_frames: int
    start: Fraction  # of the first frame that is shown
    end: Fraction  # when the last frame is no longer shown
    codec: str
    pix_fmt: str
    color: Color
    pixel_aspect: Fraction  # width / height of a pixel of the upright picture
    turn: Turn
    is_interlaced: bool
    can_seek: bool
    others: tuple[OtherStream, ...]
    clocks: tuple[int, ...]  # ticks per second of the other streams
    file_start: Fraction  # of the earliest stream
    timecode: str = ""  # of the first frame, where it has one
    has_alpha: bool = False  # it has transparent pixels
    n_plays: int = 0  # times that an animation is shown, 0 = for ever
    other_bytes: int = 0  # of the packets of other streams
    tags: tuple[tuple[str, str], ...] = ()  # of the file: title, creation_time, ...
    timeline: Timeline = Timeline()
    gaps: tuple[Jump, ...] = ()  # where a recording lacks frames, and for how long
    broken: tuple[Fraction, ...] = ()  # times of a recording's video packets that are damaged

    @property
    def is_pictures(self) -> bool:
        """Whether it is a folder of pictures, or an animated WebP, and no file of ffmpeg's."""
        return self.codec in (PICTURES, ANIMATED_WEBP)

    @property
    def is_rgb(self) -> bool:
        """Whether its pixels are stored as RGB."""
        return is_rgb(self.pix_fmt)

    @property
    def is_deep(self) -> bool:
        """Whether a component has more than 8 bit."""
        return bits_of(self.pix_fmt) > 8


@dataclass(slots=True)
class _PacketFacts:
    """What the packets of a file say together; times are seconds of the file's clock."""

    n_packets: int = 0  # of the video
    n_frames: int = 0  # that are shown: an edit list may hide some
    first: Fraction | None = None  # of the video's frames that are shown
    last: Fraction = Fraction(0)  # when the video's last frame is no longer shown
    end: Fraction = Fraction(0)  # when the last packet of any stream ends
    has_all_times: bool = True
    n_broken: int = 0
    other_bytes: int = 0  # of the packets of other streams
    duration: Fraction = Fraction(0)  # of a video packet
    clocks: dict[int, StreamClock] = field(default_factory=dict)  # of the video and audio streams


def probe(path: Path, *, wanted_s: float = 0.0) -> VideoInfo:
    """Reads all packets, of a recording twice, and decodes the first frame.

    Args:
        wanted_s: seconds of the clip that are asked for; 0 = all. What lies behind them may be damaged.

    Raises:
        InputError: not a video, no picture in it, cut short, or HDR.
    """
    with open_video(path) as container:
        stream = _main_stream(container, path)
        is_recording = container.format.name in RECORDINGS
        clocks = tuple(Fraction(each.time_base).denominator for each in container.streams if each.time_base)
        others = _other_streams(container, stream)
        n_told, end_told, start_s = _told(container, stream)
        facts = _read_packets(container.demux(), stream.index)
        _check_whole(path, facts, n_told=n_told, end_told=end_told, wanted_s=wanted_s, is_recording=is_recording)
        rate = Fraction(stream.average_rate or stream.guessed_rate or Fraction(25))
        base = Fraction(stream.time_base or Fraction(1, 90_000))
        told = readable(stream.metadata.get("timecode") or container.metadata.get("timecode", ""))
        timecode = told if TIMECODE.fullmatch(told) else ""
        has_alpha = _has_webm_alpha(stream)
        tags = tuple((readable(key), readable(value)) for key, value in container.metadata.items())
        index, codec = stream.index, stream.codec_context.name
        aspect = Fraction(stream.sample_aspect_ratio or 1)  # PyAV gives None or 0 where it is unknown
    rate = 1 / facts.duration if facts.first is None and facts.duration else rate  # raw streams have no clock
    clock = _clip_clock(path, facts, index, start_s, is_recording=is_recording, usual=1 / rate)
    facts = clock.facts
    picture, field_order = _first_picture(path)
    has_alpha = has_alpha or (_is_transparent(path) if codec == "gif" else holds_alpha(picture.format.name))
    turn = turn_of(picture)
    size = picture.height, picture.width
    if turn[0] == 0:
        size, aspect = (size[1], size[0]), 1 / aspect
    start = facts.first or Fraction(0)
    end = max(facts.last, start) if facts.first is not None else facts.n_frames / rate
    return VideoInfo(
        path=path, index=index, size=size, time_base=base, rate=rate, n_frames=facts.n_frames, start=start,
        end=end, codec=codec, pix_fmt=picture.format.name, color=_color_of(picture, path),
        pixel_aspect=aspect, turn=turn, is_interlaced=picture.interlaced_frame or field_order > 1,
        can_seek=facts.has_all_times and not clock.timeline.jumps, others=others, clocks=clocks,
        file_start=clock.start, timecode=timecode, tags=tags,
        has_alpha=has_alpha, n_plays=_plays_of(path) if codec in ("gif", "apng") else 0, other_bytes=facts.other_bytes,
        timeline=clock.timeline, gaps=clock.gaps, broken=clock.broken,
    )  # fmt: skip


def frames_info(first: Frame, n_frames: int, rate: Fraction, path: Path) -> VideoInfo:
    """A folder of pictures as a clip at a constant rate."""
    height, width = first.image.shape[:2]
    return VideoInfo(
        path=path, index=0, size=(height, width), time_base=1 / rate, rate=rate, n_frames=n_frames, start=Fraction(0),
        end=n_frames / rate, codec=PICTURES, pix_fmt="rgb48le" if first.image.dtype == np.uint16 else "rgb24",
        color=Color(1, 1, 1, 1), pixel_aspect=Fraction(1), turn=UPRIGHT, is_interlaced=False, can_seek=True,
        others=(), clocks=(), file_start=Fraction(0), has_alpha=first.alpha is not None,
    )  # fmt: skip


def open_video(path: Path) -> InputContainer:
    """A video file and nothing that it may name. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with os_errors_as(InputError, path):
        kind = kind_of_file(path)
    is_moving = kind.format in ("GIF", "PNG") or _brand_of(path) in SEQUENCES
    if kind.role in ("picture", "unread picture") and not is_moving:
        raise InputError(picture_line(path))
    try:
        return av.open(f"file:{path.resolve()}", options=ONE_FILE, **TEXT_ERRORS)
    except (av.FFmpegError, OSError, ValueError) as error:
        if kind.format:
            raise InputError(picture_line(path)) from error
        raise InputError(f"{path}: not a video, or cut short ({ffmpeg_reason(error)})") from error


def readable(text: str) -> str:
    """A tag without surrogates: bytes that are not UTF-8 are shown by the sign for that."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _brand_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)[8:]


def picture_line(path: Path) -> str:
    """Why a picture is refused."""
    return f"{path}: a picture, not a video: gfp restore takes it"


def decode_pictures(
    container: InputContainer, stream: VideoStream, timeline: Timeline, *, path: Path, start: Fraction = Fraction(0),
    end: Fraction | None = None,
) -> Iterator[VideoFrame]:  # fmt: skip
    """Every picture, with the clip's times; packets that cannot be decoded are skipped, as players do.

    Args:
        start: seconds of the clip's clock, of its first frame.
        end: the same, from where on no picture is wanted.

    Raises:
        InputError: none can be decoded from some place on, because a recording changes its codec there.
    """
    name = ALPHA_DECODERS.get(stream.codec_context.name) if _has_webm_alpha(stream) else None
    decoder = cast(VideoCodecContext, av.CodecContext.create(name, "r")) if name else stream.codec_context
    is_recording = container.format.name in RECORDINGS
    n_shown = 0  # packets one after the other that gave a picture
    silent: list[tuple[int, Fraction]] = []  # place in the file and time of packets since the last picture
    for packet in timeline.mend(container.demux(stream)):
        try:
            pictures = decoder.decode(packet)
        except (av.InvalidDataError, av.EOFError):
            pictures = []
        if is_recording and (len(silent) == MANY_SILENT or not packet.size and len(silent) >= FEW_SILENT):
            pos, at = silent[0]
            if end is not None and at >= end:
                yield from cast("list[VideoFrame]", pictures)
                return
            _check_codec(path, stream.codec_context.name, pos, at - start)
        n_shown = n_shown + 1 if pictures else 0
        if n_shown == SURE_SHOWN:  # a decoder may make single pictures of another codec's packets
            silent.clear()
        elif not pictures and packet.size and packet.pos is not None and packet.dts is not None:
            silent.append((packet.pos, (packet.pts or packet.dts) * Fraction(packet.time_base)))
        yield from cast("list[VideoFrame]", pictures)


def _check_codec(path: Path, codec: str, pos: int, at: Fraction) -> None:
    """Raises InputError where a recording from byte `pos` on has another codec; `at` is the clip's time there, s."""
    options = {**ONE_FILE, "protocol_whitelist": "file,subfile"}
    try:
        with av.open(f"subfile,,start,{pos},end,0,,:{path.resolve()}", options=options) as rest:
            other = _main_stream(rest, path).codec_context.name
    except (av.FFmpegError, OSError, ValueError, InputError):
        return
    if other != codec:
        at_s = f"{math.floor(at * 1000) / 1000:g}"
        hint = f"--end {at_s} restores what comes before; the rest must be cut off as a file of its own"
        raise InputError(f"{path}: its codec changes from {codec} to {other} at {at_s} s: {hint}")


def ffmpeg_reason(error: Exception) -> str:
    """What ffmpeg logged, in one line without the file's name."""
    log = getattr(error, "log", None)
    return " ".join((log[2] if log else os_reason(error)).split())


def _main_stream(container: InputContainer, path: Path) -> VideoStream:
    pictures = [each for each in container.streams.video if not int(each.disposition) & ATTACHED_PICTURE]
    if not pictures:
        raise InputError(f"{path}: it has no video stream")
    best = container.streams.best("video")
    stream = best if best in pictures else pictures[0]
    return cast(VideoStream, stream)


def _other_streams(container: InputContainer, main: VideoStream) -> tuple[OtherStream, ...]:
    """All but the restored one."""
    return tuple(
        OtherStream(
            each.index, each.type, each.codec_context.name if each.codec_context else "unknown",
            is_cover=bool(int(each.disposition) & ATTACHED_PICTURE),
            is_timecode=each.type == "data" and "timecode" in each.metadata,
            name=readable(each.metadata.get("handler_name", "")).strip(),
        )
        for each in container.streams
        if each.index != main.index
    )  # fmt: skip


def _told(container: InputContainer, stream: VideoStream) -> tuple[int, Fraction, Fraction]:
    """What the header tells: number of video packets, when the last stream ends, when the first one starts (s)."""
    header_s = Fraction(container.duration or 0, 1_000_000)
    start_s = Fraction(container.start_time or 0, 1_000_000)
    n_told = stream.frames and (len(stream.index_entries) or stream.frames)  # edit lists leave out what they cut off
    return n_told, header_s if container.format.name in DURATION_FROM_0 else start_s + header_s, start_s


def _read_packets(packets: Iterator[Packet], index: int) -> _PacketFacts:
    """The facts of all packets; those of stream `index` are the video's."""
    facts = _PacketFacts(clocks={index: StreamClock()})
    try:
        for packet in packets:
            if packet.size:
                _note_packet(facts, packet, is_main=packet.stream_index == index)
    except (av.FFmpegError, OSError):
        facts.n_broken += 1  # `_check_whole` decides by what could be read
    return facts


def _note_packet(facts: _PacketFacts, packet: Packet, *, is_main: bool) -> None:
    base, pts = Fraction(packet.time_base), packet.pts if packet.pts is not None else packet.dts
    facts.n_broken += is_main and packet.is_corrupt
    facts.n_packets += is_main
    facts.n_frames += is_main and not packet.is_discard
    facts.other_bytes += 0 if is_main else packet.size
    if packet.stream.type not in ("audio", "video"):
        return
    clock = facts.clocks.setdefault(packet.stream_index, StreamClock())
    duration = (packet.duration or 0) * base
    shown = None if packet.pts is None else packet.pts * base
    clock.add(None if packet.dts is None else packet.dts * base, shown, duration)
    if is_main:
        facts.has_all_times &= packet.pts is not None
        facts.duration = duration
    if pts is None:
        return
    at = pts * base
    facts.end = max(facts.end, at + duration)
    if is_main and not packet.is_discard:
        facts.first = at if facts.first is None else min(facts.first, at)
        facts.last = max(facts.last, at + duration)


@dataclass(frozen=True, slots=True)
class _ClipClock:
    """A file's facts by the clip's clock."""

    facts: _PacketFacts
    timeline: Timeline
    start: Fraction  # seconds, of the earliest stream
    gaps: tuple[Jump, ...] = ()
    broken: tuple[Fraction, ...] = ()


def _clip_clock(
    path: Path, facts: _PacketFacts, index: int, start: Fraction, *, is_recording: bool, usual: Fraction
) -> _ClipClock:
    """The clock that the clip gets, and the facts by it.

    Args:
        start: seconds of the file's clock, of the earliest stream.
        usual: seconds from frame to frame.
    """
    if is_recording and facts.clocks[index].runs:
        return _read_recording(path, timeline_of(facts.clocks, index), index, usual)
    if start < FAR_START_S:
        return _ClipClock(facts, Timeline(), start)
    moved = replace(facts, first=(facts.first or start) - start, last=facts.last - start)
    return _ClipClock(moved, Timeline(-start), Fraction(0))


def _read_recording(path: Path, timeline: Timeline, index: int, usual: Fraction) -> _ClipClock:
    """The facts read again; and where frames are missing and for how long, and where they are damaged."""
    gaps: list[Jump] = []
    broken: list[Fraction] = []

    def watched(packets: Iterator[Packet]) -> Iterator[Packet]:
        last: Fraction | None = None
        for packet in packets:
            if packet.size and packet.stream_index == index and packet.dts is not None:
                at = packet.dts * Fraction(packet.time_base)
                if packet.is_corrupt and len(broken) < MAX_GAPS:
                    broken.append((packet.pts or packet.dts) * Fraction(packet.time_base))
                if last is not None and at - last > LONG_FRAME * usual and len(gaps) < MAX_GAPS:
                    gaps.append(Jump(last + usual, at - last - usual))
                last = at
            yield packet

    with open_video(path) as container:
        facts = _read_packets(watched(timeline.mend(container.demux())), index)
    return _ClipClock(facts, timeline, Fraction(0), tuple(gaps), tuple(broken))


def _check_whole(
    path: Path, facts: _PacketFacts, *, n_told: int, end_told: Fraction, wanted_s: float, is_recording: bool
) -> None:
    """Raises InputError for a file without frames, or damaged or cut short within what is wanted.

    A recording is never refused for damage: packets are lost in broadcasting, and the rest is all that there is.
    """
    if not facts.n_frames:
        raise InputError(f"{path}: its video stream holds no picture")
    is_short = n_told > facts.n_packets + 1 or facts.end + MISSING_S < end_told or facts.n_broken
    readable_s = max(0.0, float(facts.last - (facts.first or 0)) - UNSURE_S)
    if is_short and not is_recording and not 0 < wanted_s <= readable_s:
        until = f"{float(facts.last):.2f} of {float(end_told):.2f} s"
        told = f"{facts.n_packets} of {n_told or 'its'} frames, up to {until}"
        hint = f"--end {int(readable_s * 10) / 10:g} restores what is whole"
        raise InputError(f"{path}: cut short or damaged: it holds {told}; {hint}")


def _first_picture(path: Path) -> tuple[VideoFrame, int]:
    """The first picture that can be decoded, and the stream's field order (ffmpeg's AVFieldOrder)."""
    with open_video(path) as container:
        stream = _main_stream(container, path)
        for picture in decode_pictures(container, stream, Timeline(), path=path):
            return picture, stream.codec_context.field_order
    raise InputError(f"{path}: no picture of it can be decoded")


def _has_webm_alpha(stream: VideoStream) -> bool:
    """Whether transparency lies beside the packets, as in WebM, where ffmpeg's own decoders leave it."""
    return any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())


def _plays_of(path: Path) -> int:
    """How often a GIF or PNG is shown, 0 = for ever: a GIF tells how often it is repeated."""
    with Image.open(path) as picture:
        told = picture.info.get("loop")
        if picture.format == "GIF":
            return 1 if told is None else told and told + 1
        return int(told or 0)


def _is_transparent(path: Path) -> bool:
    """Whether a picture of a GIF has transparent pixels: its format holds them in any case."""
    with open_video(path) as container:
        pictures = decode_pictures(container, _main_stream(container, path), Timeline(), path=path)
        return any(bool((each.to_ndarray(format="rgba")[..., 3] < OPAQUE).any()) for each in pictures)


def _color_of(picture: VideoFrame, path: Path) -> Color:
    """Raises InputError for HDR."""
    curve = int(picture.color_trc)
    if curve in HDR:
        raise InputError(
            f"{path}: HDR ({HDR[curve]}) is not supported, the networks know standard range only: tone-map it first"
        )
    return Color(int(picture.color_range), int(picture.color_primaries), curve, int(picture.colorspace))
