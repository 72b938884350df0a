"""The frames of a clip: pictures of a video file or of a folder, upright, each with its exact time."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gfpcli.clip.pixels import to_bgr, upright
from gfpcli.clip.probe import VideoInfo, decode_pictures, ffmpeg_reason, open_video
from gfpcli.errors import InputError
from gfpcli.photo.codec import read_frame
from gfpcli.photo.pixels import plane_of
from gfpcli.types import Frame, Image

NEAR_SQUARE = 0.03  # pixels whose aspect is this near to 1 are taken as square
SEEK_AHEAD = Fraction(5)  # seconds decoded before a frame that is sought, so that its reference frames are there


def read_frames(
    info: VideoInfo, *, start: Fraction | None = None, end: Fraction | None = None, first_index: int = 0
) -> Generator[Frame, None, None]:
    """Upright frames from `start` on and before `end`, seconds of the clip's clock.

    Args:
        first_index: of the frame at `start`.

    Raises:
        InputError: the file can no longer be read, or its picture changes its size.
    """
    begin = info.start if start is None else start
    with open_video(info.path) as container:
        stream = cast(VideoStream, container.streams[info.index])
        stream.thread_type = "AUTO"
        if info.can_seek and begin - SEEK_AHEAD > info.start:
            container.seek(int((begin - SEEK_AHEAD - info.timeline.shift) / info.time_base), stream=stream)
        pictures = decode_pictures(container, stream, info.timeline, path=info.path, start=info.start, end=end)
        pictures = _of_one_size(pictures, info, begin, end)
        if info.is_interlaced:
            pictures = _deinterlaced(pictures, stream)
        aspect = 1.0 if abs(info.pixel_aspect - 1) < NEAR_SQUARE else float(info.pixel_aspect)
        index = first_index
        try:
            for picture, pts, duration in _with_times(pictures, info):
                if end is not None and pts >= end:
                    return
                if pts < begin:
                    continue
                pixels = upright(to_bgr(picture, is_deep=info.is_deep, has_alpha=info.has_alpha), info.turn)
                image = cast(Image, np.ascontiguousarray(pixels[..., :3]))
                alpha = plane_of(pixels, 3) if info.has_alpha else None
                name = f"{info.path} at {float(pts):.3f} s"
                yield Frame(index, image, name, pts, duration, pixel_aspect=aspect, alpha=alpha)
                index += 1
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{info.path}: {ffmpeg_reason(error)}") from error


def _of_one_size(
    pictures: Iterator[VideoFrame], info: VideoInfo, begin: Fraction, end: Fraction | None
) -> Iterator[VideoFrame]:
    """The pictures. Raises InputError where their size changes between `begin` and `end`: a clip has one size."""
    size: tuple[int, int] | None = None  # (width, height) as stored
    for picture in pictures:
        own = picture.width, picture.height
        at = (picture.pts or 0) * Fraction(picture.time_base or info.time_base)
        if size not in (None, own) and at > begin and (end is None or at < end):
            told = f"changes from {'{}x{}'.format(*size or own)} to {'{}x{}'.format(*own)}"
            at_s = f"{math.ceil((at - info.start) * 1000) / 1000:g}"
            hint = f"restore it in two runs, --end {at_s} and --start {at_s}"
            raise InputError(f"{info.path}: its picture {told} at {at_s} s: {hint}")
        size = own
        yield picture


def _with_times(pictures: Iterator[VideoFrame], info: VideoInfo) -> Iterator[tuple[VideoFrame, Fraction, Fraction]]:
    """Each picture with its time and duration, seconds; a time that is missing or does not grow is made up."""
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
    """One whole picture for each pair of fields, at the time of the pair; progressive pictures stay as they are."""
    graph = Graph()
    source = graph.add_buffer(template=stream)
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    fed: Iterator[VideoFrame | None] = chain(pictures, [None])  # at None the filter gives what it still holds
    for picture in fed:
        graph.push(picture)
        while True:
            try:
                yield cast(VideoFrame, graph.pull())
            except (av.BlockingIOError, av.EOFError):
                break


def read_pictures(
    files: Sequence[Path], info: VideoInfo, *, start: Fraction, end: Fraction | None, first_index: int = 0
) -> Generator[Frame, None, None]:
    """The pictures of a folder as frames at its rate. Args as of `read_frames`.

    Raises:
        InputError: a picture cannot be read, or is not of the first one's size.
    """
    first = max(0, math.ceil(start * info.rate))
    last = len(files) if end is None else min(len(files), math.ceil(end * info.rate))
    for index in range(first, last):
        frame = read_frame(files[index], index)
        if frame.image.shape[:2] != info.size:
            height, width = frame.image.shape[:2]
            first_size = f"{info.size[1]}x{info.size[0]}"
            raise InputError(f"{files[index]}: {width}x{height}, but the first picture is {first_size}")
        yield replace(frame, index=first_index + index - first, pts=index / info.rate, duration=1 / info.rate)
