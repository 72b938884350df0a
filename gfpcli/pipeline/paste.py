"""Restored faces back into the frame (numpy and cv2 only)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.align import invert
from gfpcli.types import Crop, Image, Mask

CLEAN_LEVELS = 1.6  # rms grey levels of change up to which a face counts as clean
LANCZOS_REACH = 4  # px of the picture on each side that a pixel is made of
STRIP_ROWS = 256  # of the picture
LEAST_KEPT = 1 / 256  # share of the photo's detail below which none is put back: less than a grey level
MEAN_OF_CHANNELS = np.full((1, 3), 1 / 3, np.float32)


@lru_cache(maxsize=4)
def soft_mask(size: int) -> Mask:
    """A feathered oval (size, size): 1 on the face, at most 0.03 at the crop's border. Read-only."""
    mask = np.zeros((size, size), np.float32)
    unit = size / 512
    centre = (round(256 * unit), round(285 * unit))
    cv2.ellipse(mask, centre, (round(150 * unit), round(190 * unit)), 0, 0, 360, 1.0, -1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 14 * unit), np.float32)
    mask[mask < 1 / 512] = 0
    mask.flags.writeable = False
    return mask


def soft_masker(faces: Sequence[NDArray[np.uint8]], /) -> list[Mask]:
    """The feathered oval for every (S, S, 3) face."""
    return [soft_mask(face.shape[0]) for face in faces]


def resize_background(image: Image, size: tuple[int, int]) -> Image:
    """Lanczos to (height, width); the same pixels where the size is the same."""
    height, width = size
    if image.shape[:2] == size:
        return image.copy()
    if image.dtype == np.uint8:
        return _lanczos_8_bit(np.asarray(image, np.uint8), size)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LANCZOS4), np.uint16)


def _lanczos_8_bit(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """By OpenCV's loops for 16 bit, which use vectors as those for 8 bit do not; at most one level from these.

    Where the height grows by a whole factor it is done in strips, whose 16 bit stay in the processor's cache.
    """
    height, (tall, width) = image.shape[0], size
    factor, rest = divmod(tall, height)
    n_rows = height if rest else STRIP_ROWS
    made = np.empty((*size, *image.shape[2:]), np.uint8)
    for start in range(0, height, n_rows):
        stop = min(start + n_rows, height)
        low, high = max(start - LANCZOS_REACH, 0), min(stop + LANCZOS_REACH, height)
        n_tall = tall if rest else (high - low) * factor
        strip = cv2.resize(image[low:high].astype(np.uint16), (width, n_tall), interpolation=cv2.INTER_LANCZOS4)
        own, place = (strip, made) if rest else (strip[(start - low) * factor :], made[start * factor : stop * factor])
        cv2.convertScaleAbs(own[: len(place)], place)
    return made


def without_colour(image: Image) -> Image:
    """Luma (BT.601) in three equal channels."""
    luma = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), image.dtype)
    return np.repeat(luma[..., None], 3, axis=2)  # type: ignore[return-value]


def crop_to_canvas_of(crop: Crop, scale: tuple[float, float]) -> NDArray[np.float64]:
    """Crop pixels to canvas pixels, by pixel centres: p_canvas = s*p + 0.5*(s-1). `scale` is (x, y)."""
    affine = invert(crop.frame_to_crop)
    factors = np.array(scale)
    affine *= factors[:, None]
    affine[:, 2] += 0.5 * (factors - 1)
    return affine


def paste_faces(
    canvas: Image, faces: Sequence[NDArray[np.uint8]], crops: Sequence[Crop], masks: Sequence[Mask], *,
    scale: tuple[float, float], strengths: Sequence[float], made: Sequence[NDArray[np.uint8]] | None = None,
) -> None:  # fmt: skip
    """Blend restored (S, S, 3) BGR faces into `canvas` in place, touching each face's own rectangle only.

    Where the warped masks are 0, or with strength 0, pixels stay bit-identical. Where masks overlap, each face takes
    the share that its mask has there, so no face is pasted over its neighbour.

    Args:
        scale: canvas / frame, (x, y).
        strengths: 0..1, one for each face.
        made: the faces as the network made them, where `faces` were changed since: they say how much of the frame's own
            detail is kept.
    """
    affines = [crop_to_canvas_of(crop, scale) for crop in crops]
    places = [_place_of(affine, _reach_of(mask), canvas) for affine, mask in zip(affines, masks, strict=True)]
    rivals = [[j for j in range(len(faces)) if j != i and _intersect(places[i], places[j])] for i in range(len(faces))]
    before = {i: canvas[places[i]].copy() for i in range(len(faces)) if rivals[i]}
    for i, face in enumerate(faces):
        place = canvas[places[i]]
        if not place.size or strengths[i] == 0:
            continue
        weight = _warp_mask(masks[i], affines[i], places[i])
        if rivals[i]:
            total = weight + sum(_warp_mask(masks[j], affines[j], places[i]) for j in rivals[i])
            weight = weight * weight / np.maximum(total, 1e-6)
        weight *= np.float32(strengths[i])
        keep = detail_kept(face if made is None else made[i], crops[i], masks[i])
        layer = _without(face, crops[i].image, keep)
        warped = _warp_face(layer, affines[i], places[i], canvas.dtype)
        _add_weighted(place, _step_to(warped, before.get(i, place), 1 - keep), weight)


def _without(face: NDArray[np.uint8], crop: NDArray[np.uint8], keep: float) -> NDArray[np.uint8] | NDArray[np.float32]:
    """The face less `keep` (0..1) of the crop: what is warped takes the detail that is kept along, in one warp."""
    return face if keep == 0 else np.asarray(cv2.addWeighted(face, 1, crop, -keep, 0, dtype=cv2.CV_32F), np.float32)


def _step_to(warped: NDArray[np.float32], under: Image, share: float) -> NDArray[np.float32]:
    """From `share` (0..1) of the canvas to the warped layer."""
    if share == 1:
        return np.asarray(cv2.subtract(warped, under, dtype=cv2.CV_32F), np.float32)
    return np.asarray(cv2.addWeighted(warped, 1, under, -share, 0, dtype=cv2.CV_32F), np.float32)


def _add_weighted(place: Image, step: NDArray[np.float32], weight: Mask) -> None:
    """Add `weight` (H, W) times `step` (H, W, 3) to a place of a canvas, rounded; `step` is used up.

    By OpenCV, whose loops over three channels are many times as fast as numpy's, and give the same numbers.
    """
    step *= np.asarray(cv2.merge([weight] * 3))
    place[...] = cv2.add(place, step, dtype=cv2.CV_16U if place.dtype == np.uint16 else cv2.CV_8U)


def paste_plane(
    canvas: NDArray[np.uint8], plane: NDArray[np.uint8], crop: Crop, scale: tuple[float, float]
) -> None:
    """Puts an (S, S) plane in its face's place on an (H, W) `canvas`, in place; the larger value stays.

    `scale` is canvas / frame, (x, y).
    """
    affine = crop_to_canvas_of(crop, scale)
    rows, columns = _place_of(affine, (0, 0, len(plane), len(plane)), canvas)
    place = canvas[rows, columns]
    if place.size:
        moved, extent = _into(affine, (rows, columns))
        warped = cv2.warpAffine(plane, moved, extent, flags=cv2.INTER_LINEAR)
        np.maximum(place, warped, out=place)


def detail_kept(face: NDArray[np.uint8], crop: Crop, mask: Mask) -> float:
    """0..1: how much of the photo's detail finer than the crop is put back under the restored face.

    A face larger than the network's size loses detail in its crop. Where the network found little to clean (a small
    change inside the mask), that detail is the face's own; where it cleaned much, it is noise of the same kind.
    """
    if np.linalg.det(crop.frame_to_crop[:, :2]) >= 1:
        return 0.0
    change = cv2.absdiff(face, crop.image)
    change = cv2.transform(cv2.multiply(change, change, dtype=cv2.CV_32F), MEAN_OF_CHANNELS)
    power = float((change * mask).sum() / max(float(mask.sum()), 1e-6))
    kept = float(np.exp(-power / CLEAN_LEVELS**2))
    return kept if kept >= LEAST_KEPT else 0.0


def _reach_of(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the square's part on which a mask's values can have an effect, px."""
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    return (left - 1, top - 1, left + width, top + height) if width else (0, 0, 0, 0)


def _place_of(
    affine: NDArray[np.float64], box: tuple[int, int, int, int], canvas: Image
) -> tuple[slice, slice]:
    """Rows and columns of the canvas that a warped box (of `_reach_of`) can touch; empty where it lies outside."""
    left, top, right, bottom = box
    around = np.array([(left, top), (right, top), (left, bottom), (right, bottom)], np.float64)
    corners = around @ affine[:, :2].T + affine[:, 2]
    limit = (canvas.shape[1], canvas.shape[0])
    x0, y0 = (int(v) for v in np.clip(np.floor(corners.min(axis=0)), 0, limit))
    x1, y1 = (int(v) for v in np.clip(np.ceil(corners.max(axis=0)) + 1, 0, limit))
    return slice(y0, y1), slice(x0, x1)


def _intersect(one: tuple[slice, slice], other: tuple[slice, slice]) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _into(affine: NDArray[np.float64], place: tuple[slice, slice]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """The affine into the rectangle's own pixels, and the rectangle's (width, height)."""
    rows, columns = place
    moved = affine.copy()
    moved[:, 2] -= (columns.start, rows.start)
    return moved, (columns.stop - columns.start, rows.stop - rows.start)


def _warp_mask(mask: Mask, affine: NDArray[np.float64], place: tuple[slice, slice]) -> Mask:
    moved, extent = _into(affine, place)
    return np.asarray(cv2.warpAffine(mask, moved, extent, flags=cv2.INTER_LINEAR), np.float32)


def _warp_face(
    face: NDArray[np.uint8] | NDArray[np.float32], affine: NDArray[np.float64], place: tuple[slice, slice],
    depth: np.dtype[np.generic],
) -> NDArray[np.float32]:  # fmt: skip
    """The face in the rectangle, in levels of a canvas of that depth; one that shrinks is blurred against aliasing."""
    moved, extent = _into(affine, place)
    levels = face.astype(np.float32, copy=False)
    zoom = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    if zoom < 0.9:
        levels = np.asarray(cv2.GaussianBlur(levels, (0, 0), 0.45 * np.sqrt(1 / zoom**2 - 1)), np.float32)
    warped = cv2.warpAffine(levels, moved, extent, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32) * np.float32(257) if depth == np.uint16 else np.asarray(warped, np.float32)
