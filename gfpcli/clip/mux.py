"""Segments joined to one video stream, and that stream muxed with the other streams of the source."""

from __future__ import annotations

import math
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import av
import imageio_ffmpeg
from av.container import OutputContainer
from av.video.stream import VideoStream

from gfpcli.clip.encode import Encoder, held_by
from gfpcli.clip.probe import ONE_FILE, OtherStream, VideoInfo, open_video
from gfpcli.clip.segments import EncodedSegment
from gfpcli.clip.timeline import Timeline
from gfpcli.errors import OutputError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import CONTAINERS

AUDIO_CODECS = {  # by suffix, for audio whose own codec the container cannot hold
    ".mp4": "aac", ".m4v": "aac", ".mov": "aac", ".mkv": "flac", ".webm": "libopus",
}
SUBTITLE_CODECS = {  # the same for subtitles that are text
    ".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "srt", ".webm": "webvtt",
}
TEXT_CODECS = ("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text")
ALSO_HELD = {  # codecs that ffmpeg writes into a container although its list does not name them
    "matroska": {"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"},
}
COPIED = "copied.nut"  # in a workspace: the other streams of a recording, with one clock
UNPLAYED = ("pcm_", "adpcm_", "vorbis")  # audio that MP4 can hold and players do not expect in it
BRANDS = ("major_brand", "minor_version", "compatible_brands")  # of the source's container, not of the film
MP4_TAGS = {  # that MP4 has fields of its own for
    "title", "artist", "album_artist", "composer", "album", "date", "encoder", "comment", "genre", "copyright",
    "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "track", "disc",
    "location", "creation_time", "timecode", *BRANDS,
}  # fmt: skip
COVERS = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png")}  # suffix and type by codec
MAX_CLOCK = 2**31 - 1  # ticks per second in MP4


@dataclass(frozen=True, slots=True)
class Trim:
    """Which part of the source the finished file holds, in seconds of the clip's clock."""

    zero: Fraction = Fraction(0)  # the time that becomes 0; at 0 all times stay as they are
    end: Fraction | None = None  # None = the end of the source


@dataclass(frozen=True, slots=True)
class MappedStream:
    """Another stream of the source that goes into the finished file."""

    stream: OtherStream
    codec: str  # copy, or an encoder's name


def join_segments(
    segments: Sequence[EncodedSegment], folder: Path, target: Path, encoder: Encoder, zero: Fraction
) -> None:
    """Writes the packets of all segments in `folder` one after the other, unchanged, `zero` seconds earlier.

    A frame is decoded at the time at which the frame `delay` before it is shown. This one rule for the whole clip makes
    decoding times grow from segment to segment, too.

    Raises:
        OutputError: a file cannot be read or written.
    """
    delay = max(segment.delay for segment in segments)
    usual = max(1, round(1 / encoder.rate / encoder.time_base))  # ticks from frame to frame
    segments = [replace(each, first=each.first - zero, end=each.end - zero) for each in segments]
    first = round(segments[0].first / encoder.time_base)
    decode_times = deque(first - (delay - i) * usual for i in range(delay))
    ticks = str(encoder.time_base.denominator)
    container = CONTAINERS[encoder.suffix]
    options = {"video_track_timescale": ticks, "movie_timescale": ticks} if container in ("mp4", "mov") else {}
    with (
        os_errors_as(OutputError, target, also=(av.FFmpegError,)),
        av.open(file_url(folder / segments[0].file)) as sample,
        av.open(file_url(target), "w", format=container, container_options=options) as out,
    ):
        stream = cast(VideoStream, out.add_stream_from_template(sample.streams.video[0], opaque=True))
        stream.time_base = encoder.time_base
        if container == "matroska":
            stream.metadata["alpha_mode"] = "1"  # the packets hold transparency beside the picture
        for i, segment in enumerate(segments):
            end = segments[i + 1].first if i + 1 < len(segments) else segment.end
            span = round(segment.first / encoder.time_base), round(end / encoder.time_base)
            _copy_packets(folder / segment.file, span, out, stream, encoder.time_base, decode_times)


def _copy_packets(
    path: Path, span: tuple[int, int], out: OutputContainer, stream: VideoStream, base: Fraction,
    decode_times: deque[int],
) -> None:  # fmt: skip
    """One segment's packets. Times are ticks of `base` seconds; in `span` its frames are shown."""
    with av.open(file_url(path)) as source:
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        times = [round((packet.pts or 0) * packet.time_base / base) + span[0] for packet in packets]
        shown = sorted(times)
        ends = dict(zip(shown, [*shown[1:], span[1]], strict=True))
        decode_times.extend(shown)
        for packet, time in zip(packets, times, strict=True):
            packet.stream, packet.time_base = stream, base
            packet.pts, packet.dts, packet.duration = time, decode_times.popleft(), max(1, ends[time] - time)
            out.mux(packet)


def plan_streams(info: VideoInfo, target: Path, audio: str = "auto") -> tuple[list[MappedStream], list[str]]:
    """The other streams that go into `target`, and a line for each stream that is not copied, or not restored.

    Args:
        audio: copy = keep what the container can hold although players do not play it.
    """
    suffix = target.suffix.lower()
    held = held_by(target) | ALSO_HELD.get(CONTAINERS[suffix], set())
    mapped, notes = [], []
    for stream in info.others:
        name = f"{stream.kind} stream {stream.index} ({stream.label})"
        is_attachment = stream.kind == "attachment"
        is_unplayed = suffix in (".mp4", ".m4v") and stream.codec.startswith(UNPLAYED)
        if stream.is_cover and suffix == ".mkv":
            mapped.append(MappedStream(stream, "copy"))
        elif audio == "auto" and stream.codec in held and is_unplayed:
            mapped.append(MappedStream(stream, "aac"))
            notes.append(f"{name} is encoded as aac: few players know it in {suffix}; --audio copy keeps it")
        elif stream.codec in held and not is_attachment or is_attachment and suffix == ".mkv":
            mapped.append(MappedStream(stream, "copy"))
            if stream.kind == "video" and not stream.is_cover:
                notes.append(f"{name} is copied as it is: one video stream is restored")
        elif stream.kind == "data" and not stream.is_timecode and holds_data(info, stream, CONTAINERS[suffix]):
            mapped.append(MappedStream(stream, "copy"))
        elif stream.kind == "audio":
            mapped.append(MappedStream(stream, AUDIO_CODECS[suffix]))
            notes.append(f"{name} does not fit into {suffix} and is encoded as {AUDIO_CODECS[suffix]}")
        elif stream.kind == "subtitle" and stream.codec in TEXT_CODECS:
            mapped.append(MappedStream(stream, SUBTITLE_CODECS[suffix]))
            notes.append(f"{name} does not fit into {suffix} and becomes {SUBTITLE_CODECS[suffix]}")
        elif not stream.is_timecode:  # which is kept with the video stream
            notes.append(f"{name} does not fit into {suffix} and is left out{_home_of(info, stream, suffix)}")
    return mapped, notes


def _home_of(info: VideoInfo, stream: OtherStream, suffix: str) -> str:
    """Which suffix a stream fits that does not fit this one."""
    if stream.kind in ("subtitle", "attachment") and suffix != ".mkv":
        return "; .mkv can hold it"
    return "; .mov can hold it" if stream.kind == "data" and holds_data(info, stream, "mov") else ""


def holds_data(info: VideoInfo, stream: OtherStream, container: str) -> bool:
    """Whether a container takes a stream of data (GPS, sensors) as what it is: ffmpeg tries it with its beginning."""
    with TemporaryDirectory(prefix="gfp-") as folder:
        trial = Path(folder) / "trial"
        words = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "error", *_one_file_flags()]
        words += ["-i", file_url(info.path), "-map", f"0:{stream.index}", "-c", "copy", "-t", "5", "-f", container]
        if subprocess.run([*words, file_url(trial)], stdin=subprocess.DEVNULL, capture_output=True).returncode:
            return False
        return _data_kind(info.path, stream.index) == _data_kind(trial, 0)


def _data_kind(path: Path, index: int) -> str:
    """What ffmpeg calls a stream of data, such as `bin_data (gpmd / 0x646D7067)`."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", *_one_file_flags(), "-i", file_url(path)]
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace").stderr
    found = re.search(rf"Stream #0:{index}\b[^\n]*?: Data: (\w+(?: \([^)]*\))?)", told)
    return found[1] if found else "none"


def mux(
    joined: Path, encoder: Encoder, info: VideoInfo, mapped: Sequence[MappedStream], trim: Trim, target: Path, *,
    strip: bool, tags: Mapping[str, str],
) -> None:  # fmt: skip
    """Writes the joined video with the mapped streams of the source, and unless `strip` its chapters and metadata.

    Args:
        joined: beside it streams are copied that ffmpeg would give wrong times.
        tags: of the file, besides the source's.

    Raises:
        OutputError: ffmpeg cannot write it.
    """
    container = CONTAINERS[target.suffix.lower()]
    covers = [each.stream for each in mapped if each.stream.is_cover and container == "matroska"]
    mapped = [each for each in mapped if each.stream not in covers]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "error", "-y"]
    command += _input_flags(joined, info, mapped, trim, target)
    command += ["-c", "copy"]
    for i, each in enumerate(mapped, 1):
        command += [] if each.codec == "copy" else [f"-c:{i}", each.codec]
        command += _cut_subtitle_flags(i, trim) if each.stream.kind == "subtitle" else []
    command += _metadata_flags(info, mapped, trim, strip=strip)
    if container in ("matroska", "webm"):
        command += ["-metadata:s:0", f"alpha_mode={'1' if encoder.stream == 'vp9' and encoder.has_alpha else ''}"]
    command += [word for key, value in tags.items() for word in ("-metadata", f"{key}={value}")]
    command += _cover_flags(info, covers, joined.parent, len(mapped) + 1)
    command += ["-t", f"{float(trim.end - trim.zero):.6f}"] if trim.end is not None else []  # cuts chapters too
    command += ["-copypriorss", "0"] if trim.zero else []  # else copied streams begin at the key frame before
    command += ["-disposition:0", "default", "-avoid_negative_ts", "disabled", "-max_interleave_delta", "0"]
    command += _mp4_flags(encoder, info, mapped) if container in ("mp4", "mov") else []
    # without random numbers (Matroska's) and ffmpeg's version: same input, same bytes
    command += ["-fflags", "+bitexact", "-f", container, file_url(target)]
    run_ffmpeg(command, target)


def run_ffmpeg(command: Sequence[str], target: Path) -> None:
    """Raises OutputError with ffmpeg's reason where it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["ffmpeg failed"]
        raise OutputError(f"{target}: {next((line for line in lines if 'No space left' in line), lines[-1])}")


def segment_times(segments: Sequence[EncodedSegment], folder: Path, zero: Fraction) -> list[Fraction]:
    """When each frame of the joined clip begins, seconds, by the segments' files. Raises OutputError."""
    return [each.first - zero + at for each in segments for at in shown_times(folder / each.file)[0]]


def check_times(meant: Sequence[Fraction], n_frames: int, whole: Path) -> list[str]:
    """Reads a file back and compares its frames and their times with those that it should show.

    Returns:
        A line where times differ by more than a tick of the container's clock.

    Raises:
        OutputError: frames are missing, or it cannot be read.
    """
    times, tick = shown_times(whole)
    if not n_frames == len(meant) == len(times):
        raise OutputError(f"{whole.name}: read back, it shows {len(times)} of {n_frames} frames: choose another suffix")
    apart, at = max((abs(time - wanted), wanted) for time, wanted in zip(times, meant, strict=True))
    if apart <= tick and all(one < other for one, other in pairwise(times)):
        return []
    return [f"read back, its times differ from the source's by up to {float(apart):.3f} s, at {float(at):.3f} s"]


def shown_times(path: Path) -> tuple[list[Fraction], Fraction]:
    """When each frame of the first video stream that is shown begins, and a tick of its clock; seconds."""
    with os_errors_as(OutputError, path, also=(av.FFmpegError,)), av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        packets = container.demux(stream)
        shown = sorted((p.pts or 0) * Fraction(p.time_base) for p in packets if p.size and not p.is_discard)
        return shown, Fraction(stream.time_base or 1)


def stored_size(path: Path) -> tuple[int, int]:
    """(height, width) of the first video stream, px. Raises OutputError."""
    with os_errors_as(OutputError, path, also=(av.FFmpegError,)), av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        return stream.height, stream.width


def file_url(path: Path) -> str:
    """A name that ffmpeg does not take for an option or a protocol."""
    return f"file:{path.resolve()}"


def _input_flags(
    joined: Path, info: VideoInfo, mapped: Sequence[MappedStream], trim: Trim, target: Path
) -> list[str]:
    """The joined video, the source, and where they are needed copies of its streams; then which streams are taken."""
    words = [] if trim.zero else ["-copyts"]
    words += [*_one_file_flags(), "-i", file_url(joined)]
    copied = [each.stream.index for each in mapped if _is_copied(each.stream, info, trim, target)]
    if not info.is_pictures:
        words += _source_flags(info, trim)
    if copied:
        words += _source_flags(_with_one_clock(info, copied, joined.with_name(COPIED)), trim)
    words += ["-map", "0:v:0"]
    for index in (each.stream.index for each in mapped):
        words += ["-map", f"2:{copied.index(index)}" if index in copied else f"1:{index}"]
    return words


def _cover_flags(info: VideoInfo, covers: Sequence[OtherStream], folder: Path, first: int) -> list[str]:
    """Covers as attachments, as Matroska holds them; saved in `folder`, and `first` is the number of their stream."""
    words: list[str] = []
    for i, cover in enumerate(covers):
        suffix, mime = COVERS.get(cover.codec, (cover.codec, f"image/{cover.codec}"))
        path = folder / f"cover{i}.{suffix}"
        with open_video(info.path) as source:
            path.write_bytes(bytes(next(p for p in source.demux(source.streams[cover.index]) if p.size)))
        name = path.name if i else f"cover.{suffix}"  # the name that players look for
        words += ["-attach", file_url(path), f"-metadata:s:{first + i}", f"mimetype={mime}"]
        words += [f"-metadata:s:{first + i}", f"filename={name}"]
    return words


def _is_copied(stream: OtherStream, info: VideoInfo, trim: Trim, target: Path) -> bool:
    """Whether ffmpeg must get a copy of the stream, because it would give it wrong times.

    It does not close the jumps of a recording as we do. And Matroska would drop the hidden start of MP4's sound once
    more behind a cut, which has already left it out.
    """
    is_cut_sound = stream.kind == "audio" and trim.zero > 0 and CONTAINERS[target.suffix.lower()] not in ("mp4", "mov")
    return bool(info.timeline.jumps) and stream.kind != "attachment" or is_cut_sound


def _with_one_clock(info: VideoInfo, indices: Sequence[int], copied: Path) -> VideoInfo:
    """The streams copied into a file with the clip's clock, and that file as a source. Raises OutputError."""
    last: dict[int, int] = {}
    with (
        os_errors_as(OutputError, copied, also=(av.FFmpegError, ValueError)),
        open_video(info.path) as source,
        av.open(file_url(copied), "w", format="nut") as out,
    ):
        streams = {i: out.add_stream_from_template(source.streams[i], opaque=True) for i in indices}
        for packet in info.timeline.mend(source.demux()):
            index, dts = packet.stream_index, packet.dts
            if packet.size and index in streams and dts is not None and dts > last.get(index, -1):
                last[index] = dts
                packet.stream = streams[index]
                out.mux(packet)
    return replace(info, path=copied, timeline=Timeline())


def _source_flags(info: VideoInfo, trim: Trim) -> list[str]:
    """The source as second input, within `trim`."""
    shift = info.timeline.shift
    words = ["-itsoffset", f"{float(shift):.6f}"] if shift and not trim.zero else []
    words += ["-seek_timestamp", "1", "-ss", f"{float(trim.zero - shift):.6f}"] if trim.zero else []
    if trim.end is not None:
        words += ["-t", f"{float(trim.end - (trim.zero or info.file_start)):.6f}"]
    return [*words, *_one_file_flags(), "-i", file_url(info.path)]


def _cut_subtitle_flags(index: int, trim: Trim) -> list[str]:
    """A subtitle goes when the clip ends."""
    if trim.end is None:
        return []
    return [f"-bsf:{index}", f"setts=duration=min(DURATION\\,{float(trim.end - trim.zero):.6f}/TB-PTS)"]


def _timecode_flags(info: VideoInfo, trim: Trim) -> list[str]:
    """The timecode of the first frame that is kept."""
    if not info.timecode:
        return []
    return ["-metadata:s:0", f"timecode={advance_timecode(info.timecode, info.rate, trim.zero - info.start)}"]


def advance_timecode(timecode: str, rate: Fraction, seconds: Fraction) -> str:
    """The timecode (HH:MM:SS:FF, with ; before FF where frame numbers are dropped) that many seconds later."""
    a, b, c, d = (int(word) for word in timecode.replace(";", ":").split(":"))
    fps, is_dropping = round(rate), ";" in timecode
    dropped = fps // 15 if is_dropping else 0  # numbers left out at each minute but every tenth (SMPTE ST 12-1)
    minutes = a * 60 + b
    n = (minutes * 60 + c) * fps + d - dropped * (minutes - minutes // 10) + round(max(seconds, Fraction(0)) * rate)
    if is_dropping:
        tens, rest = divmod(n, 600 * fps - 9 * dropped)
        n += 9 * dropped * tens + dropped * max(0, (rest - dropped) // (60 * fps - dropped))
    clock, d = divmod(n, fps)
    sign = ";" if is_dropping else ":"
    return f"{clock // 3600 % 24:02d}:{clock // 60 % 60:02d}:{clock % 60:02d}{sign}{d:02d}"


def _mp4_flags(encoder: Encoder, info: VideoInfo, mapped: Sequence[MappedStream]) -> list[str]:
    """A clock in which the times of all streams are whole numbers, as far as MP4 has one, and the index in front."""
    clock = math.lcm(encoder.time_base.denominator, *info.clocks)
    clock = clock if clock <= MAX_CLOCK else encoder.time_base.denominator
    has_cover = any(each.stream.kind == "video" for each in mapped)  # ffmpeg writes a cover or free tags, not both
    is_free = any(key.lower().split("-")[0] not in MP4_TAGS for key, _ in info.tags)
    # where all tags have fields: free tags would hold the date a second time
    flags = "+faststart+use_metadata_tags" if is_free and not has_cover else "+faststart"
    tag = ["-tag:0", "hvc1"] if encoder.stream == "hevc" else []
    return ["-movflags", flags, "-movie_timescale", str(clock), *tag]


def _one_file_flags() -> list[str]:
    """An input opens itself only, never files that a playlist names."""
    return [word for key, value in ONE_FILE.items() for word in (f"-{key}", value)]


def _metadata_flags(info: VideoInfo, mapped: Sequence[MappedStream], trim: Trim, *, strip: bool) -> list[str]:
    """Metadata and chapters of the source; stripped, only those of attachments, which need their names."""
    is_bare = info.is_pictures or strip
    words = ["-map_metadata", "-1" if is_bare else "1", "-map_chapters", "-1" if is_bare else "1"]
    words += [] if is_bare else ["-map_metadata:s:0", f"1:s:{info.index}", *_timecode_flags(info, trim)]
    if not is_bare:
        dates = {key: value.split(";")[0] for key, value in info.tags if key.lower() == "creation_time"}
        tags = {**dict.fromkeys((*BRANDS, *map(str.upper, BRANDS)), ""), **dates}
        words += [word for key, value in tags.items() for word in ("-metadata", f"{key}={value}")]
    for i, each in enumerate(mapped, 1):
        if not is_bare or each.stream.kind == "attachment":
            words += [f"-map_metadata:s:{i}", f"1:s:{each.stream.index}"]
    return words
