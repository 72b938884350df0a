"""A preview of a clip: a strip of frames before and after, and a short clip of both side by side."""

from __future__ import annotations

import hashlib
from collections import deque
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

from gfpcli.clip.clip import Clip, RecordOutput, join, publish, restore_segment, track_clip
from gfpcli.clip.mux import Trim
from gfpcli.clip.segments import ResumePoint, time_of
from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import PART, os_errors_as, part_prefix, write_bytes
from gfpcli.pipeline.align import to_8_bit
from gfpcli.pipeline.paste import resize_background
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Image, Restored

MAX_WIDTH = 640  # px of a frame in the strip
LENGTH_S = Fraction(3)  # of the short clip, from the middle


def preview_names(target: Path) -> tuple[Path, Path]:
    """Where the strip and the short clip are written, beside the clip's target."""
    return target.with_suffix(".preview.png"), target.with_suffix(f".preview{target.suffix}")


def write_preview(clip: Clip, restorer: Restorer, record_output: Callable[[Path, str], None]) -> tuple[Path, Path]:
    """Writes NAME.preview.png and NAME.preview.SUFFIX beside the clip's target; gives their paths.

    Args:
        record_output: told each path with the SHA-256 of its content, just before the file is published.

    Raises:
        GfpError: the source cannot be read, or a file cannot be written.
    """
    strip, pair = preview_names(clip.target)
    data = cv2.imencode(".png", strip_of(clip, restorer))[1].tobytes()
    record_output(strip, hashlib.sha256(data).hexdigest())
    write_bytes(strip, data)
    short = replace(clip, target=pair)
    name = part_prefix(clip.target.name)
    with (
        os_errors_as(OutputError, short.target),
        TemporaryDirectory(prefix=name, suffix=PART, dir=clip.target.parent) as folder,
    ):
        write_side_by_side(short, restorer, Path(folder), partial(record_output, pair))
    return strip, short.target


def _stop_of(clip: Clip) -> Fraction:
    """Up to where the clip is restored, seconds of the source's clock."""
    end = clip.info.end
    return end if clip.stop is None else min(end, clip.stop)


def strip_of(clip: Clip, restorer: Restorer) -> Image:
    """(H, W, 3) BGR, 8 bit: frames evenly over the clip, the input's above the restored. Raises GfpError."""
    step = (_stop_of(clip) - clip.begin) / clip.options.preview
    columns: list[Image] = []
    for i in range(clip.options.preview):
        with closing(clip.decode(ResumePoint(clip.begin + i * step, 0))) as frames:
            columns += [_pair_of(restorer.restore(frame), axis=0) for frame in islice(frames, 1)]
    if not columns:
        raise InputError(f"{clip.info.path}: no frame between --start and --end")
    height, width = columns[0].shape[:2]
    zoom = min(1.0, MAX_WIDTH / width)
    size = round(height * zoom), round(width * zoom)
    return np.asarray(np.hstack([resize_background(each, size) for each in columns]), np.uint8)


def _pair_of(result: Restored, *, axis: int) -> Image:
    """The input's frame at the size of the restored one, and that, 8 bit, above (0) or beside (1) each other."""
    before = resize_background(result.frame.image, cast("tuple[int, int]", result.image.shape[:2]))
    return np.concatenate([to_8_bit(before), to_8_bit(result.image)], axis=axis)


def write_side_by_side(clip: Clip, restorer: Restorer, folder: Path, record_output: RecordOutput) -> None:
    """Writes the middle of the clip, input left, result right, with its sound. Raises GfpError."""
    clip = replace(clip, options=replace(clip.options, frames_dir=""))
    begin = max(clip.begin, (clip.begin + _stop_of(clip) - LENGTH_S) / 2)
    path = folder / f"pair{clip.encoder.suffix}"
    with closing(clip.decode(ResumePoint(begin, 0))) as frames:
        middle = takewhile(lambda frame: time_of(frame) < begin + LENGTH_S, frames)
        segment = restore_segment(
            clip, restorer, track_clip(clip, restorer, middle), path, deque(maxlen=1), lambda n_frames, n_faces: None,
            layers_of=lambda result: (_pair_of(result, axis=1), None),
        )  # fmt: skip
    trim = Trim(segment.first, segment.end)
    publish(clip, join(clip, [segment], folder, trim), trim, segment.n_faces, record_output)
