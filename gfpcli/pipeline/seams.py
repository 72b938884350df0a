"""No border where a restored face ends: its fine detail fades in from the mask's edge (numpy and cv2 only).

A face network sharpens, and the photo around the face stays as it was. Where the mask ends, edges and texture would
stop within a few pixels. So the change that the network made is split in two: the coarse part is pasted with the mask
as it is, the part finer than `SPLIT` only as fast as the strength of the detail may grow (`STEEPEST`). How slowly that
must be depends on how much stronger the face's own detail is, place by place: a face as sharp as its photo fades in
within the mask's own border, one of a blurred photo over a tenth of its edge and more. What that gains is measured by
`examples/builtin/evaluate_seams.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.types import Crop, Mask

SPLIT = 4 / 256  # sigma, of the face's edge, between coarse and fine
FINEST, AROUND = 1.5 / 256, 6 / 256  # sigmas: of what counts as detail, and of the neighbourhood that it is measured in
STEEPEST = float(np.log(1.2)) / 0.03  # growth of the logarithm of the detail's strength, for each edge of the face
LEAST_LEVELS = 0.5  # rms grey levels, added to both: what is weaker is not seen
UNSEEN = 1 / 64  # of the detail's strength: a step that no mask need hide
LEAST_MASK = 1 / 64  # from which a mask counts as begun
DETAIL_SIZE = 256  # px that detail is measured at, as in a larger face there is little that is finer
N_AROUND = 64  # along an edge, where its strength is known: finer would only take longer
DetailPlane = NDArray[np.float32]


def faded_in(face: NDArray[np.uint8], crop: NDArray[np.uint8], mask: Mask, strength: float = 1.0) -> NDArray[np.uint8]:
    """The restored `face` with less of its fine change towards the mask's edge; both faces (S, S, 3) BGR.

    Args:
        crop: the photo's own face.
        strength: 0..1, how much of the face will be pasted.
    """
    share = fine_share(face, crop, mask, strength)
    if share.min() == 1:
        return face
    size = face.shape[:2]
    change = np.asarray(cv2.subtract(face, crop, dtype=cv2.CV_32F), np.float32)
    small = cv2.GaussianBlur(_scaled_to(change, N_AROUND), (0, 0), SPLIT * N_AROUND)
    coarse = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    change -= coarse
    change *= cv2.merge([cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)] * 3)
    change += coarse
    return np.asarray(cv2.add(crop, change, dtype=cv2.CV_8U), np.uint8)


def fade_in(
    faces: Sequence[NDArray[np.uint8]], crops: Sequence[Crop], masks: Sequence[Mask], strengths: Sequence[float]
) -> list[NDArray[np.uint8]]:
    """Every face as `faded_in`; those that will not be pasted as they are."""
    together = zip(faces, crops, masks, strengths, strict=True)
    return [
        faded_in(face, crop.image, mask, strength) if strength > 0 else face for face, crop, mask, strength in together
    ]


def fine_share(face: NDArray[np.uint8], crop: NDArray[np.uint8], mask: Mask, strength: float) -> DetailPlane:
    """(N_AROUND, N_AROUND) 0..1: how much of the fine change is pasted, on top of what the mask lets through."""
    weight = _scaled_to(mask, N_AROUND)
    depth = cv2.distanceTransform((weight > LEAST_MASK).astype(np.uint8), cv2.DIST_L2, 5) / N_AROUND
    gain = _detail_around(face) / _detail_around(crop)
    grown = np.exp(STEEPEST * depth)
    limit = np.where(gain > 1, grown - 1, 1 - 1 / grown) + UNSEEN
    wanted = np.abs(gain - 1) * np.float32(strength) * weight
    return np.asarray(np.where(wanted <= limit, 1, limit / np.maximum(wanted, 1e-6)), np.float32)


def _detail_around(face: NDArray[np.uint8]) -> DetailPlane:
    """(N_AROUND, N_AROUND) grey levels: RMS of the detail around each place."""
    gray = _scaled_to(np.asarray(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), np.float32), DETAIL_SIZE)
    gray -= cv2.GaussianBlur(gray, (0, 0), FINEST * DETAIL_SIZE)
    power = cv2.GaussianBlur(_scaled_to(np.square(gray), N_AROUND), (0, 0), AROUND * N_AROUND)
    return np.asarray(np.sqrt(power + LEAST_LEVELS**2), np.float32)


def _scaled_to(plane: DetailPlane, size: int) -> DetailPlane:
    """A square plane averaged down to `size`; one of that size as it is."""
    if len(plane) == size:
        return plane
    way = cv2.INTER_AREA if len(plane) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, (size, size), interpolation=way), np.float32)
