"""How much room on the disk a clip needs while it is restored, known before the work begins."""

from __future__ import annotations

import shutil
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

from gfpcli.clip.clip import Clip
from gfpcli.clip.encode import TimedImage, encoded_sizes
from gfpcli.clip.segments import ResumePoint
from gfpcli.errors import OutputError
from gfpcli.files.atomic import os_errors_as
from gfpcli.pipeline.paste import resize_background

N_PLACES, N_FRAMES = 3, 12  # of a clip that are encoded to learn how large it becomes
KEY_EVERY = 100  # frames, about, from one key frame to the next with cuts; encoders put one at least every 250
COPIES = 2  # of the clip that lie beside each other: its segments and the joined file, then that and the finished one


def room_for(clip: Clip) -> tuple[int, int]:
    """Bytes that the finished file takes, about, and that lie in its work folder at most; frames of it are encoded.

    Raises:
        GfpError: the source cannot be read.
    """
    sizes = [size for i in range(N_PLACES if clip.info.can_seek else 1) for size in _sizes_at(clip, i)]
    keys = [n for n, is_key in sizes if is_key]
    others = [n for n, is_key in sizes if not is_key]
    of_key, of_other = sum(keys) / max(1, len(keys)), sum(others) / max(1, len(others))
    of_frame = of_other + of_key / KEY_EVERY if others else of_key
    n_bytes = round(of_frame * clip.n_frames)
    finished = n_bytes + clip.info.other_bytes
    return finished, COPIES * n_bytes + clip.info.other_bytes


def check_room(clip: Clip, folder: Path, n_kept: int = 0) -> str | None:
    """A line on the room that a long clip needs; None where there is more than the bare pixels would take.

    Args:
        folder: where it is made; it, or one above it, exists.
        n_kept: bytes of it that an earlier run has made.

    Raises:
        OutputError: there is less room.
        GfpError: the source cannot be read.
    """
    n_free = free_bytes(folder)
    height, width = clip.info.size
    bare = COPIES * clip.n_frames * height * width * clip.options.scale**2 * 3 * (2 if clip.info.is_deep else 1)
    if bare < n_free:
        return None
    finished, needed = room_for(clip)
    told = f"{clip.info.path}: about {gigabytes(needed)} are needed in {folder} while it is made"
    told += f", {gigabytes(finished)} of them stay; {gigabytes(n_free)} are free"
    if needed - n_kept > n_free:
        raise OutputError(f"{told}: make room, choose another --output, or a higher --crf")
    return told


def free_bytes(folder: Path) -> int:
    """That can be written where the folder is, or would be made. Raises OutputError."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    with os_errors_as(OutputError, folder):
        return shutil.disk_usage(there).free


def gigabytes(n_bytes: float) -> str:
    """In GB, or where it is less in MB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _sizes_at(clip: Clip, place: int) -> list[tuple[int, bool]]:
    """Bytes of some encoded frames, and whether each is a key frame."""
    stop = clip.info.end if clip.stop is None else min(clip.stop, clip.info.end)
    at = clip.begin + (stop - clip.begin) * place / N_PLACES
    height, width = clip.info.size
    size = round(height * clip.options.scale), round(width * clip.options.scale)
    with closing(clip.decode(ResumePoint(at, 0))) as frames:
        pictures = [
            TimedImage(
                resize_background(frame.image, size), Fraction(0), Fraction(0),
                None if frame.alpha is None else resize_background(frame.alpha, size),
            )
            for frame in islice(frames, N_FRAMES)
        ]  # fmt: skip
    return encoded_sizes(pictures, clip.encoder) if pictures else []
