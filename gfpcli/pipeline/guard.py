"""How strongly each face is restored, and that it stays the same person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import FaceError
from gfpcli.pipeline.identity import UNSCALED, IdentityScale
from gfpcli.pipeline.quality import face_side, quality_of, strength_for
from gfpcli.pipeline.steps import FacesRestored, NetworkFace, Share, Verdict
from gfpcli.types import Crop, Identifier

COARSE = 1 / 64  # of the crop's size: sigma that parts the coarse band from the fine one
LEVELS = ((1.0, 1.0), (0.5, 1.0), (0.0, 1.0), (0.0, 0.5))  # network's shares of the coarse and of the fine band
Look: TypeAlias = tuple[Crop, NDArray[np.uint8]]
"""A face of the input and what the network made of it, both (S, S, 3)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with one face."""

    strength: float  # 0..1: how much of it is pasted
    coarse: float = 1.0  # 0..1: how much of the network's coarse band is in what is pasted
    identity: float | None = None
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class Guard:
    """Chooses how much of the network's faces is pasted. Nothing per call is kept."""

    strength: float | None  # None: by the crop's quality
    identifier: Identifier | None = None  # None: identity is neither measured nor guarded
    scale: IdentityScale = UNSCALED
    limits: tuple[tuple[float, float], ...] = ((0.0, 0.0),)  # least score, 0..1, by a crop's size, px of the photo

    @property
    def is_fixed(self) -> bool:
        """Whether every face has one strength, whatever is measured on it."""
        return self.strength is not None and self.identifier is None

    def judged(self, restored: FacesRestored) -> FacesRestored:
        """A frame with the verdicts on its faces, each of which is judged by itself."""
        aligned = restored.aligned
        return judged_by(restored, lambda i, face: self.decide([(aligned.crops[i], face)], aligned.share_of(i)))

    def decide(self, looks: Sequence[Look], share: Share) -> Decision:
        """What is done with one person's face, seen once or in several frames."""
        asked = share.strength if share.strength is not None else self.strength
        if asked is None:
            asked = float(np.mean([strength_for(quality_of(crop)) for crop, _ in looks]))
        if self.identifier is None or asked == 0:
            return Decision(asked)
        limit = float(np.interp(np.mean([face_side(crop) for crop, _ in looks]), *np.transpose(self.limits)))
        inputs, identity = None, 0.0
        for coarse, fine in LEVELS:
            shown = [pasted(crop.image, face, asked, coarse, fine) for crop, face in looks]
            if inputs is None:  # together: two faces take the network little longer than one
                both = self.identifier([*(crop.image for crop, _ in looks), *shown])
                inputs, outputs = both[: len(looks)], both[len(looks) :]
            else:
                outputs = self.identifier(shown)
            products = (inputs * outputs).sum(axis=1).tolist()
            identity = float(np.mean([self.scale(product) for product in products]))
            if identity >= limit or share.strength is not None:  # a person's word is obeyed
                return Decision(asked * fine, coarse / fine, identity)
        return Decision(0.0, 0.0, identity, is_kept=True)


def judged_by(restored: FacesRestored, decide: Callable[[int, NDArray[np.uint8]], Decision]) -> FacesRestored:
    """A frame with its faces as they are pasted, and the verdicts on them.

    Args:
        decide: gives the decision on the face of the i-th crop.
    """
    faces: list[NetworkFace] = []
    verdicts = []
    for i, face in enumerate(restored.faces):
        if isinstance(face, FaceError):
            faces.append(face)
            verdicts.append(Verdict(0.0))
            continue
        made = decide(i, face)
        faces.append(without_coarse(restored.aligned.crops[i].image, face, 1 - made.coarse))
        strength = made.strength * restored.aligned.share_of(i).fade
        verdicts.append(Verdict(strength, made.identity, made.is_kept))
    return replace(restored, faces=tuple(faces), verdicts=tuple(verdicts))


def without_coarse(crop: NDArray[np.uint8], face: NDArray[np.uint8], back: float) -> NDArray[np.uint8]:
    """The network's face with `back` (0..1) of its coarse change taken back; the fine one stays."""
    return face if back == 0 else _as_picture(face - np.float32(back) * _coarse_of(crop, face))


def pasted(
    crop: NDArray[np.uint8], face: NDArray[np.uint8], strength: float, coarse: float, fine: float
) -> NDArray[np.uint8]:
    """What is seen at a strength (0..1), with shares (0..1) of the coarse and of the fine band of the change."""
    if (strength, coarse, fine) == (1, 1, 1):
        return face
    change = face.astype(np.float32) - crop
    if coarse != fine:
        change = fine * change + (coarse - fine) * _coarse_of(crop, face)
    else:
        change *= fine
    return _as_picture(crop + np.float32(strength) * change)


def _coarse_of(crop: NDArray[np.uint8], face: NDArray[np.uint8]) -> NDArray[np.float32]:
    change = face.astype(np.float32) - crop
    return np.asarray(cv2.GaussianBlur(change, (0, 0), COARSE * len(crop)), np.float32)


def _as_picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)
