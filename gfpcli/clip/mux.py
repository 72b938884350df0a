"""Encoded stretches of a clip to one stream, and that stream to a file with everything else of the source."""

from __future__ import annotations

import math
import subprocess
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import imageio_ffmpeg
from av.container import OutputContainer
from av.video.stream import VideoStream

from gfpcli.clip.encode import Encoder, held_by
from gfpcli.clip.read import ONE_FILE, OtherStream, VideoInfo
from gfpcli.errors import OutputError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import CONTAINERS

AUDIO_INSTEAD = {".mp4": "aac", ".m4v": "aac", ".mov": "aac", ".mkv": "flac", ".webm": "libopus"}
TEXT_INSTEAD = {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "srt", ".webm": "webvtt"}
TEXT_CODECS = ("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text")
EXTRA_HELD = {  # what ffmpeg writes although its list does not say so
    "matroska": {"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"},
}
LARGEST_CLOCK = 2**31 - 1  # ticks per second that MP4 can say


@dataclass(frozen=True, slots=True)
class Segment:
    """One encoded stretch: a file whose clock starts at its first frame."""

    path: Path
    first: Fraction  # seconds, of its first frame in the finished clip
    end: Fraction  # seconds, when its last frame goes
    delay: int  # frames that decode before one that is shown earlier


def join_segments(segments: Sequence[Segment], target: Path, encoder: Encoder, zero: Fraction) -> None:
    """The packets of all segments one after the other, as they are, at the times of their frames less `zero`.

    A frame is decoded when the one `delay` before it is shown: one rule for the whole clip, so that decoding times
    grow from segment to segment too.

    Raises:
        OutputError: a file cannot be read or written.
    """
    delay = max(segment.delay for segment in segments)
    usual = max(1, round(1 / encoder.rate / encoder.time_base))
    segments = [replace(each, first=each.first - zero, end=each.end - zero) for each in segments]
    first = round(segments[0].first / encoder.time_base)
    decoded_at = deque(first - (delay - i) * usual for i in range(delay))
    ticks = str(encoder.time_base.denominator)
    options = {"video_track_timescale": ticks, "movie_timescale": ticks}
    container = CONTAINERS[encoder.suffix]
    with (
        os_errors_as(OutputError, target, also=(av.FFmpegError,)),
        av.open(_url(segments[0].path)) as sample,
        av.open(_url(target), "w", format=container, container_options=options) as out,
    ):
        stream = cast(VideoStream, out.add_stream_from_template(sample.streams.video[0], opaque=True))
        stream.time_base = encoder.time_base
        for i, segment in enumerate(segments):
            following = segments[i + 1].first if i + 1 < len(segments) else segment.end
            _add(segment, following, out, stream, decoded_at, encoder.time_base)


def _add(
    segment: Segment, following: Fraction, out: OutputContainer, stream: VideoStream, decoded_at: deque[int],
    base: Fraction,
) -> None:  # fmt: skip
    """One segment's packets. `following` is when the next one's first frame is shown, `base` one tick, seconds."""
    with av.open(_url(segment.path)) as source:
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        shift = round(segment.first / base)
        times = [round((packet.pts or 0) * packet.time_base / base) + shift for packet in packets]
        shown = sorted(times)
        gone = dict(zip(shown, [*shown[1:], round(following / base)], strict=True))
        decoded_at.extend(shown)
        for packet, time in zip(packets, times, strict=True):
            packet.stream, packet.time_base = stream, base
            packet.pts, packet.dts, packet.duration = time, decoded_at.popleft(), max(1, gone[time] - time)
            out.mux(packet)


@dataclass(frozen=True, slots=True)
class Carried:
    """One other stream of the source in the finished file."""

    stream: OtherStream
    codec: str  # copy, or the encoder's name


def plan_streams(info: VideoInfo, target: Path) -> tuple[list[Carried], list[str]]:
    """Which of the source's other streams go into `target` and how, and one line for each that is not copied."""
    suffix = target.suffix.lower()
    held = held_by(target) | EXTRA_HELD.get(CONTAINERS[suffix], set())
    carried, notes = [], []
    for stream in info.others:
        name = f"{stream.kind} stream {stream.index} ({stream.codec})"
        is_attachment = stream.kind == "attachment"
        if stream.codec in held and not is_attachment or is_attachment and suffix == ".mkv":
            carried.append(Carried(stream, "copy"))
        elif stream.kind == "audio":
            carried.append(Carried(stream, AUDIO_INSTEAD[suffix]))
            notes.append(f"{name} does not fit into {suffix} and is encoded as {AUDIO_INSTEAD[suffix]}")
        elif stream.kind == "subtitle" and stream.codec in TEXT_CODECS:
            carried.append(Carried(stream, TEXT_INSTEAD[suffix]))
            notes.append(f"{name} does not fit into {suffix} and becomes {TEXT_INSTEAD[suffix]}")
        else:
            has_home = stream.kind in ("subtitle", "attachment") and suffix != ".mkv"
            hint = "; .mkv can hold it" if has_home else ""
            notes.append(f"{name} does not fit into {suffix} and is left out{hint}")
    return carried, notes


@dataclass(frozen=True, slots=True)
class Kept:
    """The stretch of the source that is kept, seconds of its own clock."""

    zero: Fraction = Fraction(0)  # what becomes 0; 0 = the clock stays as it is
    end: Fraction | None = None  # None = with the source


def mux(
    joined: Path, encoder: Encoder, info: VideoInfo, carried: Sequence[Carried], kept: Kept, target: Path, *,
    strip: bool,
) -> None:  # fmt: skip
    """The restored picture with every carried stream, chapters and metadata of the source, nothing encoded anew.

    Raises:
        OutputError: ffmpeg cannot write it.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "error", "-y"]
    command += [] if kept.zero else ["-copyts"]
    command += [*_only_a_file(), "-i", _url(joined)]
    if not info.is_pictures:
        command += _source_words(info, kept)
    command += ["-map", "0:v:0", *(word for each in carried for word in ("-map", f"1:{each.stream.index}"))]
    command += ["-c", "copy"]
    for i, each in enumerate(carried, 1):
        command += [] if each.codec == "copy" else [f"-c:{i}", each.codec]
    command += _metadata_words(info, carried, strip=strip)
    command += ["-copypriorss", "0"] if kept.zero else []  # else copies begin at the picture's key frame before
    command += ["-disposition:0", "default", "-avoid_negative_ts", "disabled", "-max_interleave_delta", "0"]
    container = CONTAINERS[target.suffix.lower()]
    if container in ("mp4", "mov"):
        clock = math.lcm(encoder.time_base.denominator, *info.clocks)
        clock = clock if clock <= LARGEST_CLOCK else encoder.time_base.denominator
        has_cover = any(each.stream.kind == "video" for each in carried)  # ffmpeg writes it or free tags, not both
        flags = "+faststart" if has_cover else "+faststart+use_metadata_tags"
        command += ["-movflags", flags, "-movie_timescale", str(clock)]
        command += ["-tag:0", "hvc1"] if encoder.stream == "hevc" else []
    command += ["-f", container, _url(target)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["ffmpeg failed"]
        raise OutputError(f"{target}: {next((line for line in lines if 'No space left' in line), lines[-1])}")


def _url(path: Path) -> str:
    """A name that ffmpeg takes neither for an option nor for a protocol."""
    return f"file:{path.resolve()}"


def _source_words(info: VideoInfo, kept: Kept) -> list[str]:
    """The source as second input, from the kept stretch's start to its end."""
    words = ["-seek_timestamp", "1", "-ss", f"{float(kept.zero):.6f}"] if kept.zero else []
    if kept.end is not None:
        words += ["-t", f"{float(kept.end - (kept.zero or info.file_start)):.6f}"]
    return [*words, *_only_a_file(), "-i", _url(info.path)]


def _only_a_file() -> list[str]:
    """What an input may be: itself, never what a play list names."""
    return [word for key, value in ONE_FILE.items() for word in (f"-{key}", value)]


def _metadata_words(info: VideoInfo, carried: Sequence[Carried], *, strip: bool) -> list[str]:
    """Tags and chapters of the source, or none but the names of attachments, which need them."""
    is_bare = info.is_pictures or strip
    words = ["-map_metadata", "-1" if is_bare else "1", "-map_chapters", "-1" if is_bare else "1"]
    words += [] if is_bare else ["-map_metadata:s:0", f"1:s:{info.index}"]
    for i, each in enumerate(carried, 1):
        if not is_bare or each.stream.kind == "attachment":
            words += [f"-map_metadata:s:{i}", f"1:s:{each.stream.index}"]
    return words
