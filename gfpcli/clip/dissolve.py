"""Frames in which one shot dissolves into another: two pictures lie over each other there.

A frame of a dissolve is a mixture of the frames before and after it; one of a shot is the frame before, moved. Both are
tried on small pictures of the whole frame, up to eight frames apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.flow import flow_between, grey_of, warp_back
from gfpcli.types import Frame, Image

SMALL_EDGE, LEAST_EDGE = 128, 16  # px: longer side of the small pictures; DIS needs 12
BLURRED = 1.0  # px: sigma, against noise
MIXTURE_REACH = 8  # frames before and after, at most
LEAST_REACH = 3  # frames: nearer to a cut nothing is known
MOVED_FITS = 3.0  # grey levels: where moved pictures differ less from the frame, it is none of a dissolve
FADE_BEGINS, FADE_ENDS = 0.48, 0.58  # share of what movement leaves unexplained and a mixture explains

SmallGrey = NDArray[np.uint8]  # (H, W), at most SMALL_EDGE px


def small_grey(frame: Frame) -> SmallGrey:
    """The small picture of a frame."""
    height, width = frame.image.shape[:2]
    zoom = SMALL_EDGE / max(height, width)
    size = max(LEAST_EDGE, round(width * zoom)), max(LEAST_EDGE, round(height * zoom))
    small: Image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return grey_of(small)


def face_fade(shot: Sequence[SmallGrey], here: int) -> float:
    """How much of the restored faces picture `here` of a shot shows: 1, and down to 0 where it is one of a dissolve.

    Args:
        shot: consecutive frames without a cut; only `MIXTURE_REACH` of them on each side are looked at.
    """
    reach = min(MIXTURE_REACH, here, len(shot) - 1 - here)
    if reach < LEAST_REACH:
        return 1.0
    share = mixture_share(shot[here - reach], shot[here], shot[here + reach])
    return float(np.clip((FADE_ENDS - share) / (FADE_ENDS - FADE_BEGINS), 0, 1))


def mixture_share(before: SmallGrey, own: SmallGrey, after: SmallGrey) -> float:
    """0..1: how much of what movement does not explain of `own` a mixture of its neighbours explains.

    0 where movement explains it well. Both may differ from `own` in brightness.
    """
    first, middle, last = map(_blurred, (before, own, after))
    if min(np.abs(middle - first).mean(), np.abs(middle - last).mean()) < MOVED_FITS:
        return 0.0
    unexplained = np.minimum(_left_by_movement(middle, own, first, before), _left_by_movement(middle, own, last, after))
    if unexplained.mean() < MOVED_FITS:
        return 0.0
    change = last - first
    progress = np.clip(((middle - first) * change).sum() / max(float(np.square(change).sum()), 1e-6), 0, 1)
    left = np.abs(middle - first - progress * change)
    return float(unexplained[left < 0.5 * unexplained].sum() / unexplained.sum())


def _blurred(picture: SmallGrey) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), BLURRED), np.float32)


def _left_by_movement(
    picture: NDArray[np.float32], grey: SmallGrey, other: NDArray[np.float32], other_grey: SmallGrey
) -> NDArray[np.float32]:
    """(H, W) grey levels by which the other picture, moved onto this one and made as bright, differs from it."""
    moved = warp_back(other, flow_between(grey, other_grey))
    moved, picture = moved - moved.mean(), picture - picture.mean()
    gain = (moved * picture).sum() / max(float(np.square(moved).sum()), 1e-6)
    return np.asarray(np.abs(picture - gain * moved), np.float32)
