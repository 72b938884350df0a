"""Restored faces made to agree over consecutive frames, so that they flicker less.

First the face of the frame before, moved by the optical flow of the input, is blended in where that flow can be
trusted. Then each pixel of an aligned face is averaged with the same pixel of the frames around, weighted by how well
those agree, so that movement stays. The finest detail is always the frame's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.flow import SPARSE, flow_between, grey_of, is_seen_in_both, warp_back
from gfpcli.clip.track import match_face
from gfpcli.errors import FaceError
from gfpcli.pipeline.paste import MEAN_OF_CHANNELS
from gfpcli.pipeline.steps import AlignedFaces, EncodedFaces, FacesRestored
from gfpcli.stream import windows
from gfpcli.types import Crop, Face, Failed, Mask

AVERAGED_REACH = 2  # frames before and after that take part
NOISE_LEVELS = 8.0  # grey levels of difference that may be noise at --smooth 1
BLUR = 1 / 128  # of the face's size: sigma of the comparison, and of the correction that is added
FLOW_SIZE = 256  # px of the aligned faces between which flow is measured; at half of it moving faces flickered more
NEW_SHARE = 0.3  # of a face that is the frame's own at --smooth 0.5, where the flow can be trusted
MOVED_LEVELS = 16.0  # grey levels by which the moved face may differ and still be the same
FLOW_EDGE = 2.0  # px: sigma by which the border of what the flow is trusted in is softened

OfFrame = TypeVar("OfFrame", EncodedFaces, FacesRestored)


Picture = TypeVar("Picture", NDArray[np.uint8], NDArray[np.float32])


@dataclass(frozen=True, slots=True, eq=False)
class BlendedFace:
    """A face of the frame before, as it was blended."""

    face: Face
    grey: NDArray[np.uint8]  # (FLOW_SIZE, FLOW_SIZE), of the input's crop
    picture: NDArray[np.float32]  # (S, S, 3) BGR, 0..255


def deflicker(
    restored: Iterator[FacesRestored | Failed], cuts: Set[int], *, smooth: float
) -> Iterator[FacesRestored | Failed]:
    """The frames with steadier faces, as many and in the same order; nothing crosses a cut.

    Args:
        cuts: indices of the frames that start a shot.
        smooth: 0..1; 0 changes nothing.
    """
    if smooth == 0:
        yield from restored
        return
    for window, at in windows(blend_moved(restored, cuts, smooth=smooth), AVERAGED_REACH):
        own = window[at]
        if isinstance(own, Failed):
            yield own
            continue
        before = rest_of_shot([window[i] for i in range(at, -1, -1)], cuts, is_backward=True)
        after = rest_of_shot(window[at:], cuts, is_backward=False)
        around = [[*_follow_face(own, i, before), *_follow_face(own, i, after)] for i in range(len(own.faces))]
        faces = tuple(
            face if isinstance(face, FaceError) else average_face(face, others, smooth)
            for face, others in zip(own.faces, around, strict=True)
        )
        yield replace(own, faces=faces)


def blend_moved(
    restored: Iterator[FacesRestored | Failed], cuts: Set[int], *, smooth: float
) -> Iterator[FacesRestored | Failed]:
    """The frames with the faces of the frame before, moved to where they are now, blended in. Args as `deflicker`."""
    before: list[BlendedFace] = []
    for own in restored:
        if isinstance(own, Failed):
            before = []
            yield own
            continue
        known = [] if own.aligned.frame.index in cuts else before
        faces: list[NDArray[np.uint8] | FaceError] = []
        before = []
        for crop, face in zip(own.aligned.crops, own.faces, strict=True):
            if not isinstance(face, FaceError):
                before.append(_blended(crop, face, known, 1 - NEW_SHARE ** (2 * smooth)))
                face = np.asarray(np.clip(np.round(before[-1].picture), 0, 255), np.uint8)
            faces.append(face)
        yield replace(own, faces=tuple(faces), made=own.faces)


def _blended(crop: Crop, face: NDArray[np.uint8], known: Sequence[BlendedFace], share: float) -> BlendedFace:
    """The face with `share` of its earlier picture, where that is among `known`."""
    grey = np.asarray(cv2.resize(grey_of(crop.image), (FLOW_SIZE, FLOW_SIZE), interpolation=cv2.INTER_AREA), np.uint8)
    picture = face.astype(np.float32)
    match = match_face(crop.face, [each.face for each in known])
    if match is None:
        return BlendedFace(crop.face, grey, picture)
    earlier = next(each for each in known if each.face is match)
    moved, trust = _moved_onto(earlier, grey, len(face))
    weight = share * trust * agreement_of(moved, picture, MOVED_LEVELS)
    # one pixel of the frame, in pixels of the crop: what is finer stays the frame's own
    pixel = max(1.0, float(np.sqrt(abs(np.linalg.det(crop.frame_to_crop[:, :2])))))
    moved -= picture
    moved *= in_three_channels(weight)
    picture += cv2.GaussianBlur(moved, (0, 0), pixel)
    return BlendedFace(crop.face, grey, picture)


def _moved_onto(earlier: BlendedFace, grey: NDArray[np.uint8], size: int) -> tuple[NDArray[np.float32], Mask]:
    """The earlier picture (S, S, 3) as it lies in the crop `grey`, and (S, S) how far that can be trusted, 0..1."""
    there, back = flow_between(grey, earlier.grey, SPARSE), flow_between(earlier.grey, grey, SPARSE)
    trust = is_seen_in_both(there, back).astype(np.float32)
    if size != FLOW_SIZE:
        there = np.asarray(cv2.resize(there, (size, size)), np.float32) * np.float32(size / FLOW_SIZE)
        trust = np.asarray(cv2.resize(trust, (size, size)), np.float32)
    return warp_back(earlier.picture, there), np.asarray(cv2.GaussianBlur(trust, (0, 0), FLOW_EDGE), np.float32)


def rest_of_shot(frames: Sequence[OfFrame | Failed], cuts: Set[int], *, is_backward: bool) -> list[OfFrame]:
    """The frames after the first one of `frames`, up to the end of its shot or a frame that failed."""
    shot: list[OfFrame] = []
    for last, each in zip(frames, frames[1:], strict=False):
        if isinstance(each, Failed) or isinstance(last, Failed):
            break
        if (last if is_backward else each).aligned.frame.index in cuts:
            break
        shot.append(each)
    return shot


def _follow_face(own: FacesRestored, i: int, others: Sequence[FacesRestored]) -> Iterator[NDArray[np.uint8]]:
    """The restored (S, S, 3) images of the i-th face of `own` in the consecutive frames `others`, while it is found."""
    places = places_of(own.aligned.crops[i].face, [other.aligned for other in others])
    for other, place in zip(others, places, strict=False):
        made = other.faces[place]
        if isinstance(made, FaceError):
            return
        yield made


def places_of(face: Face, others: Sequence[AlignedFaces]) -> Iterator[int]:
    """Which crop of the consecutive frames `others` is the face, while it is found."""
    for other in others:
        faces = [crop.face for crop in other.crops]
        match = match_face(face, faces)
        if match is None:
            return
        yield next(i for i, each in enumerate(faces) if each is match)
        face = match


def average_face(face: NDArray[np.uint8], others: Sequence[NDArray[np.uint8]], smooth: float) -> NDArray[np.uint8]:
    """(S, S, 3) BGR: the face moved towards its mean with others of the same alignment, each pixel weighted by
    how little the two differ around it."""
    own = face.astype(np.float32)
    total, weights = own.copy(), np.ones(own.shape[:2], np.float32)
    for other in others:
        weight = agreement_of(face, other, NOISE_LEVELS * smooth)
        cv2.accumulateProduct(in_three_channels(weight), other.astype(np.float32), total)
        weights += weight
    total /= in_three_channels(weights)
    total -= own
    own += cv2.GaussianBlur(total, (0, 0), BLUR * len(own))
    return np.asarray(np.clip(np.rint(own, out=own), 0, 255, out=own), np.uint8)


def agreement_of(one: Picture, other: Picture, levels: float) -> Mask:
    """(S, S), 0..1: how little two (S, S, 3) pictures of one type differ around each pixel.

    Args:
        levels: grey levels of difference at which it is 0.6.
    """
    difference = cv2.transform(cv2.absdiff(one, other).astype(np.float32, copy=False), MEAN_OF_CHANNELS)
    agreement = np.asarray(cv2.GaussianBlur(difference, (0, 0), BLUR * len(one)), np.float32)
    agreement *= agreement
    agreement *= -0.5 / levels**2
    return np.asarray(np.exp(agreement, out=agreement))


def in_three_channels(plane: Mask) -> NDArray[np.float32]:
    """(S, S) to (S, S, 3): numpy's loops over a last axis of 1 take four times as long as over this."""
    return np.asarray(cv2.merge([plane] * 3), np.float32)
