"""A look before the whole: a strip of frames before and after, and a short clip of both side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import cv2
import numpy as np

from gfpcli.clip.clip import Claim, Clip, assemble, restored, steadied_frames
from gfpcli.clip.encode import Picture, segment_writer
from gfpcli.clip.mux import Kept, Segment
from gfpcli.clip.segments import time_of
from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import write_bytes
from gfpcli.files.locking import part_prefix
from gfpcli.pipeline.align import to_8_bit
from gfpcli.pipeline.paste import resize_background
from gfpcli.pipeline.restorer import Restorer
from gfpcli.stream import prefetch
from gfpcli.types import Image, Restored

WIDEST = 640  # px of a frame in the strip
LENGTH = Fraction(3)  # seconds of the short clip, from the middle


def preview_names(target: Path) -> tuple[Path, Path]:
    """Of the strip and of the short clip beside a clip's target."""
    return target.with_suffix(".preview.png"), target.with_suffix(f".preview{target.suffix}")


def write_preview(clip: Clip, restorer: Restorer, claim: Callable[[Path, str], None]) -> tuple[Path, Path]:
    """Writes NAME.preview.png and NAME.preview.SUFFIX beside the clip's target; gives their paths.

    Args:
        claim: hears each path with the SHA-256 of its content just before the file takes that name.

    Raises:
        GfpError: the source cannot be read, or a file cannot be written.
    """
    strip, pair = preview_names(clip.target)
    data = cv2.imencode(".png", strip_of(clip, restorer))[1].tobytes()
    claim(strip, hashlib.sha256(data).hexdigest())
    write_bytes(strip, data)
    short = replace(clip, target=pair)
    try:
        with TemporaryDirectory(prefix=part_prefix(clip.target.name), suffix=".part", dir=clip.target.parent) as folder:
            write_side_by_side(short, restorer, Path(folder), partial(claim, pair))
    except OSError as error:
        raise OutputError(f"{short.target}: {error.strerror or error}") from error
    return strip, short.target


def _stop_of(clip: Clip) -> Fraction:
    end = clip.info.end
    return end if clip.stop is None else min(end, clip.stop)


def strip_of(clip: Clip, restorer: Restorer) -> Image:
    """(H, W, 3) BGR: frames evenly over the clip, the input's above, the restored below."""
    step = (_stop_of(clip) - clip.begin) / clip.options.preview
    columns: list[Image] = []
    for i in range(clip.options.preview):
        with closing(clip.frames(clip.begin + i * step)) as frames:
            columns += [_pair_of(restorer.restore(frame), axis=0) for frame in islice(frames, 1)]
    if not columns:
        raise InputError(f"{clip.info.path}: no frame between --start and --end")
    height, width = columns[0].shape[:2]
    zoom = min(1.0, WIDEST / width)
    size = round(height * zoom), round(width * zoom)
    return np.asarray(np.hstack([resize_background(each, size) for each in columns]), np.uint8)


def _pair_of(result: Restored, *, axis: int) -> Image:
    """The frame at its result's size, and the result, 8 bit, one above or beside the other."""
    before = resize_background(result.frame.image, cast("tuple[int, int]", result.image.shape[:2]))
    return np.concatenate([to_8_bit(before), to_8_bit(result.image)], axis=axis)


def write_side_by_side(clip: Clip, restorer: Restorer, folder: Path, claim: Claim) -> None:
    """The middle of the clip, input left, result right, with its sound. Raises GfpError."""
    stop = _stop_of(clip)
    begin = max(clip.begin, (clip.begin + stop - LENGTH) / 2)
    path = folder / f"pair{clip.encoder.suffix}"
    source = closing(prefetch(clip.frames(begin), depth=8))
    with source as frames, segment_writer(path, clip.encoder) as (write, written):
        few = takewhile(lambda frame: time_of(frame) < begin + LENGTH, frames)
        for each, result in restored(restorer, steadied_frames(few, restorer, clip.options), clip.options.smooth):
            duration = each.frame.duration or 1 / clip.info.rate
            write(Picture(_pair_of(result, axis=1), time_of(each.frame), duration))
    first = written.first or begin
    assemble(clip, [Segment(path, first, written.end, written.delay)], Kept(first, written.end), folder, claim)
