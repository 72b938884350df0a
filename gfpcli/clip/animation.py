"""Animated pictures: WebP read (Pillow knows it, most builds of ffmpeg do not), GIF and WebP written."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from io import BytesIO
from itertools import accumulate, pairwise
from pathlib import Path
from typing import cast

import av
import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from gfpcli.clip.mux import BRANDS, file_url, run_ffmpeg, shown_times
from gfpcli.clip.pixels import UPRIGHT, Color
from gfpcli.clip.probe import ANIMATED_WEBP, OPAQUE, VideoInfo, picture_line
from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import os_errors_as
from gfpcli.photo.containers.webp import ALPHA_FLAG, riff_chunk, riff_chunks
from gfpcli.types import Frame

MILLISECOND, CENTISECOND = Fraction(1, 1000), Fraction(1, 100)
LEAST_DELAY = 2  # hundredths of a second of a GIF's frame: players show shorter ones for a tenth of a second
EDGE = 1e-6  # hundredths, so that times that lie between two are rounded the same way here and in ffmpeg
CLEAR_BELOW = 128  # alpha from 0 to 255: GIF knows clear and opaque pixels only
WEBP_QUALITY = 90
ANIMATION_FLAG, NO_BLENDING = 0x02, 0x02  # of the VP8X and of the ANMF chunk
LONGEST_DELAY = (1 << 24) - 1  # ms of a WebP's frame
PALETTE_FILE = "palette.png"  # in a workspace


def is_animated_webp(path: Path) -> bool:
    """Whether it is a WebP file that holds more than a picture."""
    with os_errors_as(InputError, path), path.open("rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 0x02)


def webp_info(path: Path) -> VideoInfo:
    """An animated WebP as a clip. Raises InputError."""
    durations = _delays_of(path)
    if not durations:
        raise InputError(picture_line(path))
    with os_errors_as(InputError, path), Pillow.open(path) as picture, path.open("rb") as file:
        width, height = picture.size
        n_plays = int(picture.info.get("loop", 0))
        has_alpha = bool(file.read(21)[20] & ALPHA_FLAG) and _is_clear(picture, len(durations))
    end = sum(durations, Fraction(0))
    return VideoInfo(
        path=path, index=0, size=(height, width), time_base=MILLISECOND, rate=len(durations) / max(end, MILLISECOND),
        n_frames=len(durations), start=Fraction(0), end=end, codec=ANIMATED_WEBP, pix_fmt="rgb24",
        color=Color(1, 1, 1, 1),
        pixel_aspect=Fraction(1), turn=UPRIGHT, is_interlaced=False, can_seek=True, others=(), clocks=(),
        file_start=Fraction(0), has_alpha=has_alpha, n_plays=n_plays,
    )  # fmt: skip


def _is_clear(picture: Pillow.Image, n_frames: int) -> bool:
    """Whether a frame has transparent pixels: many files only say that they may."""
    for number in range(n_frames):
        picture.seek(number)
        if picture.convert("RGBA").getchannel("A").getextrema() != (OPAQUE, OPAQUE):
            return True
    return False


def read_webp(
    info: VideoInfo, *, start: Fraction, end: Fraction | None, first_index: int = 0
) -> Generator[Frame, None, None]:
    """The frames of an animated WebP. Args as of `read_frames`. Raises InputError."""
    durations = _delays_of(info.path)
    times = [Fraction(0), *accumulate(durations)]
    index = first_index
    with os_errors_as(InputError, info.path, also=(ValueError, EOFError)), Pillow.open(info.path) as picture:
        for number, duration in enumerate(durations):
            if times[number] < start:
                continue
            if end is not None and times[number] >= end:
                return
            picture.seek(number)
            rgba = np.asarray(picture.convert("RGBA"))
            alpha = np.ascontiguousarray(rgba[..., 3]) if info.has_alpha else None
            name = f"{info.path} at {float(times[number]):.3f} s"
            image = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR), np.uint8)
            yield Frame(index, image, name, times[number], duration, alpha=alpha)
            index += 1


def write_animation(joined: Path, info: VideoInfo, target: Path) -> list[str]:
    """Makes the GIF or WebP of a joined clip without loss, and reads its times back.

    Returns:
        A line for what it cannot hold.

    Raises:
        OutputError: ffmpeg cannot write it, or frames are missing.
    """
    times, _ = shown_times(joined)
    if target.suffix.lower() == ".gif":
        _write_gif(joined, info, target)
        return _check_gif(target, times)
    _write_webp(joined, info, target)
    return _check_webp(target, times)


def notes_of_animation(info: VideoInfo, target: Path) -> list[str]:
    """What of the source a GIF or WebP does not hold, a line each."""
    suffix = target.suffix.lower()
    notes = [f"{each.kind} stream {each.index} ({each.codec}) is left out: {suffix} holds pictures only"
             for each in info.others]  # fmt: skip
    if any(key.lower() not in (*BRANDS, "encoder") for key, _ in info.tags):
        notes.append(f"its tags are left out: {suffix} holds none")
    if suffix == ".gif" and info.codec != "gif":
        notes.append("a .gif has 256 colours; .webp and .mp4 keep them all")
        notes += ["its transparency becomes clear or opaque: a .gif knows no other"] if info.has_alpha else []
    return notes


def _write_gif(joined: Path, info: VideoInfo, target: Path) -> None:
    """One palette for the whole clip, so that still parts stay still; in two passes, so that memory stays flat."""
    palette = joined.with_name(PALETTE_FILE)
    reserved = int(info.has_alpha)
    words = ["-vf", f"palettegen=stats_mode=full:reserve_transparent={reserved}", "-update", "1"]
    run_ffmpeg([*_command(), "-i", file_url(joined), *words, file_url(palette)], target)
    apart = f"floor(t*100+0.5+{EDGE})-floor(prev_selected_t*100+0.5+{EDGE})"
    used = f"paletteuse=dither=sierra2_4a:alpha_threshold={CLEAR_BELOW}"
    graph = f"[0:v]select='isnan(prev_selected_t)+gte({apart}\\,{LEAST_DELAY})'[kept];[kept][1:v]{used}"
    loop = {0: 0, 1: -1}.get(info.n_plays, info.n_plays - 1)
    times, end = shown_times(joined)[0], _end_of(joined)
    last = max(LEAST_DELAY, round((end - times[-1]) / CENTISECOND))
    words = ["-lavfi", graph, "-fps_mode", "passthrough", "-enc_time_base", "1:100", "-loop", str(loop)]
    words += ["-final_delay", str(last), "-f", "gif"]
    run_ffmpeg([*_command(), "-i", file_url(joined), "-i", file_url(palette), *words, file_url(target)], target)


def _write_webp(joined: Path, info: VideoInfo, target: Path) -> None:
    """Each frame as a whole picture with its own time (RFC 9649, section 2.7): ffmpeg's encoder merges frames."""
    with os_errors_as(OutputError, target, also=(av.FFmpegError,)), target.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        for i, (pixels, duration_ms) in enumerate(_timed_pixels(joined)):
            height, width = pixels.shape[:2]
            size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            if not i:
                flags = ANIMATION_FLAG | (ALPHA_FLAG if info.has_alpha else 0)
                file.write(riff_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + size))
                file.write(riff_chunk(b"ANIM", bytes(4) + info.n_plays.to_bytes(2, "little")))
            head = bytes(6) + size + duration_ms.to_bytes(3, "little") + bytes((NO_BLENDING,))
            file.write(riff_chunk(b"ANMF", head + _still_webp(pixels)))
        length = file.tell() - 8
        file.seek(4)
        file.write(length.to_bytes(4, "little"))


def _still_webp(pixels: NDArray[np.uint8]) -> bytes:
    """The chunks of an (H, W, 3 or 4) RGB picture."""
    buffer = BytesIO()
    Pillow.fromarray(pixels).save(buffer, "WEBP", quality=WEBP_QUALITY)
    chunks = riff_chunks(buffer.getvalue())
    return b"".join(riff_chunk(*each) for each in chunks if each[0] in (b"ALPH", b"VP8 ", b"VP8L"))


def _timed_pixels(joined: Path) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Each frame as (H, W, 3 or 4) RGB, and for how many ms it is shown. Raises FFmpegError."""
    times, end = shown_times(joined)[0], _end_of(joined)
    ticks = [math.floor((at - times[0]) / MILLISECOND + Fraction(1, 2)) for at in (*times, end)]
    with av.open(file_url(joined)) as container:
        for frame, (at, until) in zip(container.decode(video=0), pairwise(ticks), strict=True):
            yield cast("NDArray[np.uint8]", frame.to_ndarray()), min(until - at, LONGEST_DELAY)


def _command() -> list[str]:
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "error", "-y"]


def _end_of(path: Path) -> Fraction:
    """When the last frame is no longer shown, seconds."""
    with os_errors_as(OutputError, path, also=(av.FFmpegError,)), av.open(file_url(path)) as container:
        packets = (each for each in container.demux(video=0) if each.size)
        return max(((each.pts or 0) + (each.duration or 0)) * Fraction(each.time_base) for each in packets)


def _check_gif(target: Path, times: Sequence[Fraction]) -> list[str]:
    """Raises OutputError where frames or times are not those that a GIF can show of `times`."""
    meant: list[int] = []
    for at in times:
        ticks = math.floor(float(at) * 100 + 0.5 + EDGE)
        if not meant or ticks - meant[-1] >= LEAST_DELAY:
            meant.append(ticks)
    shown, _ = shown_times(target)
    zero = shown[0] if shown else Fraction(0)
    if len(shown) != len(meant):
        raise OutputError(f"{target.name}: read back, it shows {len(shown)} of {len(meant)} frames")
    apart = max(abs((at - zero) * 100 - (ticks - meant[0])) for at, ticks in zip(shown, meant, strict=True))
    told = [f"{len(times) - len(meant)} of {len(times)} frames are left out: a .gif shows 50 a second"]
    told = told if len(meant) < len(times) else []
    return told if apart <= 1 else [*told, f"read back, its times differ by up to {float(apart) / 100:.3f} s"]


def _check_webp(target: Path, times: Sequence[Fraction]) -> list[str]:
    """Raises OutputError where frames are missing."""
    delays = _delays_of(target)
    if len(delays) != len(times):
        raise OutputError(f"{target.name}: read back, it shows {len(delays)} of {len(times)} frames")
    shown = [Fraction(0), *accumulate(delays)]
    apart = max(abs(at - times[0] - own) for at, own in zip(times, shown, strict=False))
    return [] if apart <= MILLISECOND else [f"read back, its times differ by up to {float(apart):.3f} s"]


def _delays_of(path: Path) -> list[Fraction]:
    """How long each frame of an animated WebP is shown, seconds (RFC 9649, section 2.7.1.1)."""
    with os_errors_as(InputError, path):
        ticks = [int.from_bytes(head[12:15], "little") for kind, head in _chunks_of(path) if kind == b"ANMF"]
    return [MILLISECOND * each for each in ticks]


def _chunks_of(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Type and first 16 bytes of each chunk."""
    with closing(path.open("rb")) as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], "little")
            payload = file.read(min(length, 16))
            yield head[:4], payload
            file.seek(length - len(payload) + length % 2, 1)
