"""How steady a restored clip is, beside the clip that it was made from; measured on the faces only.

Source: warping error as in Lai et al. 2018 (Learning blind video temporal consistency, section 4.2), with dense inverse
search as the flow and the mean absolute difference in place of the squared one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.flicker import FlickerMeter
from gfpcli.clip.flow import flow_between, grey_of, is_seen_in_both, warp_back
from gfpcli.clip.probe import VideoInfo, probe
from gfpcli.clip.read import read_frames
from gfpcli.clip.track import Detect, TrackedFrame, detect_faces, match_face, track_faces
from gfpcli.errors import FaceError, InputError
from gfpcli.pipeline.align import cut_crop, invert, to_8_bit
from gfpcli.pipeline.paste import soft_mask
from gfpcli.types import Face, Failed, Frame, Image

MASK_SIZE = 256  # px of the oval that says what of a frame is face
LEAST_FACE = 64  # pixels of the frame: a smaller area of faces is not measured
STORED_ROUNDING = 1.0  # px by which an enlarged clip's size may differ from the same multiple of both sides


@dataclass(slots=True)
class Mean:
    """A mean over frames or faces of one figure of both clips."""

    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))  # restored, reference
    n: int = 0

    def add(self, restored: float, reference: float) -> None:
        """One more frame or face."""
        self.sums += (restored, reference)
        self.n += 1

    @property
    def value(self) -> tuple[float, float] | None:
        """Of the restored clip and of the reference; None where there was nothing to measure."""
        return (float(self.sums[0] / self.n), float(self.sums[1] / self.n)) if self.n else None


@dataclass(frozen=True, slots=True)
class Steadiness:
    """The figures of two clips, each a pair (restored, reference); None where it could not be measured."""

    n_frames: int
    n_faces: int  # in the reference, over all frames
    flicker: tuple[float, float] | None  # grey levels: mean change of an aligned face from frame to frame
    warping: tuple[float, float] | None  # grey levels: mean difference from the frame before, moved by the flow
    jitter: tuple[float, float] | None  # % of the eye distance: mean second difference of the landmarks
    detail: tuple[float, float] | None  # grey levels: mean absolute Laplacian of the faces

    def to_json(self) -> dict[str, Any]:
        """As `gfp eval --video --json` writes it."""
        named = {"flicker": self.flicker, "warping": self.warping, "jitter": self.jitter, "detail": self.detail}
        pairs = {
            name: value and {"restored": round(value[0], 5), "reference": round(value[1], 5)}
            for name, value in named.items()
        }
        return {"frames": self.n_frames, "faces": self.n_faces, **pairs}


@dataclass(slots=True)
class SteadinessMeter:
    """Takes the frames of both clips in step."""

    n_frames: int = 0
    n_faces: int = 0
    flicker: FlickerMeter = field(default_factory=FlickerMeter)
    warping: Mean = field(default_factory=Mean)
    jitter: Mean = field(default_factory=Mean)
    detail: Mean = field(default_factory=Mean)
    before: tuple[Image, Image] | None = None  # restored, reference: the frame before, of the same shot
    followed: list[list[tuple[Face, Face]]] = field(default_factory=list)  # each face in up to two frames before

    def add(self, reference: TrackedFrame, restored: Image, found: Sequence[Face]) -> None:
        """The next frame.

        Args:
            reference: with the faces as they were detected, and their smoothed paths.
            restored: its restored image, at the same size.
            found: the faces that were detected in that.
        """
        if reference.is_cut:
            self.before, self.followed = None, []
        images = restored, to_8_bit(reference.frame.image)
        self.n_frames += 1
        self.n_faces += len(reference.paths)
        self.flicker.add(reference, restored)
        inside = face_area(reference)
        if inside.sum() >= LEAST_FACE:
            self.detail.add(*(_detail_of(image, inside) for image in images))
            if self.before:
                self._add_warping(images, self.before, inside)
        self._add_jitter(reference.faces, found)
        self.before = images

    def _add_warping(
        self, now: tuple[Image, Image], before: tuple[Image, Image], inside: NDArray[np.bool_]
    ) -> None:
        greys = grey_of(now[1]), grey_of(before[1])
        there, back = flow_between(*greys), flow_between(greys[1], greys[0])
        inside = inside & is_seen_in_both(there, back)
        if inside.sum() < LEAST_FACE:
            return
        errors = []
        for image, earlier in zip(now, before, strict=True):
            moved = warp_back(earlier.astype(np.float32), there)
            errors.append(float(np.abs(image - moved)[inside].mean()))
        self.warping.add(*errors)

    def _add_jitter(self, faces: Sequence[Face], found: Sequence[Face]) -> None:
        """Faces that are detected in three consecutive frames of both clips."""
        now = [[(other, face)] for face in faces if (other := match_face(face, found))]
        for path in now:
            match = match_face(path[0][1], [each[-1][1] for each in self.followed])
            path[:0] = next((each for each in self.followed if each[-1][1] is match), [])[-2:]
            if len(path) == 3:
                self.jitter.add(*(_second_difference([pair[i] for pair in path]) for i in (0, 1)))
        self.followed = now

    def result(self) -> Steadiness:
        """The figures of all frames so far."""
        meter = self.flicker
        flicker = (meter.restored / meter.n_pairs, meter.source / meter.n_pairs) if meter.n_pairs else None
        means = self.warping.value, self.jitter.value, self.detail.value
        return Steadiness(self.n_frames, self.n_faces, flicker, *means)


def face_area(tracked: TrackedFrame) -> NDArray[np.bool_]:
    """(H, W): which pixels of the frame are face, by an oval on each."""
    height, width = tracked.frame.image.shape[:2]
    area = np.zeros((height, width), np.float32)
    for face in tracked.paths:
        try:
            crop = cut_crop(tracked.frame.image, face, MASK_SIZE, tracked.frame.pixel_aspect)
        except FaceError:
            continue
        area = np.maximum(area, cv2.warpAffine(soft_mask(MASK_SIZE), invert(crop.frame_to_crop), (width, height)))
    return area > 0.5


def _detail_of(image: Image, inside: NDArray[np.bool_]) -> float:
    return float(np.abs(cv2.Laplacian(grey_of(image), cv2.CV_32F))[inside].mean())


def _second_difference(faces: Sequence[Face]) -> float:
    """Of three faces: how far the landmarks leave a steady movement, % of the eye distance."""
    first, middle, last = (face.landmarks for face in faces)
    eye_distance = max(float(np.hypot(*(middle[1] - middle[0]))), 1e-6)
    return float(100 * np.hypot(*(first - 2 * middle + last).T).mean() / eye_distance)


def measure_steadiness(restored: Path, reference: Path, detect: Detect) -> Steadiness:
    """Compares a restored clip with the one it was made from.

    Args:
        detect: finds the faces of frames; every frame of both clips is searched.

    Raises:
        InputError: a clip cannot be read, or they are not of the same frames and shape, or show no face.
    """
    infos = probe(restored), probe(reference)
    check_shapes(*infos)
    meter = SteadinessMeter()
    with closing(read_frames(infos[1])) as originals, closing(read_frames(infos[0])) as images:
        tracked = track_faces(detect_faces(originals, detect, every=1), smooth=0, every=1)
        found = detect(_at_size(images, infos[1].size))
        for one, other in zip_longest(tracked, found):
            if one is None or other is None:
                n_more = 1 + sum(1 for _ in (found if one is None else tracked))
                sides = (restored, reference) if one is None else (reference, restored)
                raise InputError(f"{sides[0]}: has {_count_of(n_more)} more than {sides[1]}; compare clips of the same")
            if isinstance(other, Failed):
                raise other.error
            meter.add(one, other.frame.image, other.faces)
    if not meter.n_faces:
        raise InputError(f"{reference}: no face was found; steadiness is measured on faces")
    return meter.result()


def _count_of(n_frames: int) -> str:
    return f"{n_frames} frame{'' if n_frames == 1 else 's'}"


def _at_size(frames: Iterable[Frame], size: tuple[int, int]) -> Iterator[Frame]:
    """The frames at (height, width), 8 bit; an enlarged clip is compared at the size of the other."""
    height, width = size
    for frame in frames:
        image = to_8_bit(frame.image)
        if image.shape[:2] != size:
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        yield replace(frame, image=image)


def check_shapes(restored: VideoInfo, reference: VideoInfo) -> None:
    """Raises InputError where one clip is not the other at another scale."""
    (height, width), (own_height, own_width) = restored.size, reference.size
    scale = max(height / own_height, width / own_width)
    if max(abs(height - scale * own_height), abs(width - scale * own_width)) > STORED_ROUNDING:
        sizes = f"{width}x{height} and {own_width}x{own_height}"
        raise InputError(f"{restored.path}: not the shape of {reference.path} ({sizes})")
