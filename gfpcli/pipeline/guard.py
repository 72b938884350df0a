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
        people = [
            ([(crop, face)], aligned.share_of(i))
            for i, (crop, face) in enumerate(zip(aligned.crops, restored.faces, strict=True))
            if not isinstance(face, FaceError)
        ]
        decisions = iter(self.decide_all(people))
        return judged_by(restored, lambda i, face: next(decisions))

    def decide(self, looks: Sequence[Look], share: Share) -> Decision:
        """What is done with one person's face, seen once or in several frames."""
        return self.decide_all([(looks, share)])[0]

    def decide_all(self, people: Sequence[tuple[Sequence[Look], Share]]) -> list[Decision]:
        """What is done with the face of each person: as `decide`, in fewer calls of the identity network."""
        asked = [self._asked(looks, share) for looks, share in people]
        decisions = [Decision(strength) for strength in asked]
        pending = [i for i, strength in enumerate(asked) if strength > 0] if self.identifier else []
        inputs: dict[int, NDArray[np.float32]] = {}
        for coarse, fine in LEVELS:
            shown = [[pasted(crop.image, face, asked[i], coarse, fine) for crop, face in people[i][0]] for i in pending]
            unseen = [[crop.image for crop, _ in people[i][0]] for i in pending if i not in inputs]
            vectors = self._vectors_of([*shown, *unseen])
            inputs |= zip(pending, vectors[len(shown) :], strict=False)  # all of them at the first level, then none
            for i, outputs in zip(tuple(pending), vectors, strict=False):
                looks, share = people[i]
                products = (inputs[i] * outputs).sum(axis=1).tolist()
                identity = float(np.mean([self.scale(product) for product in products]))
                if identity >= self._limit_of(looks) or share.strength is not None:  # a person's word is obeyed
                    decisions[i] = Decision(asked[i] * fine, coarse / fine, identity)
                    pending.remove(i)
                else:
                    decisions[i] = Decision(0.0, 0.0, identity, is_kept=True)
        return decisions

    def _asked(self, looks: Sequence[Look], share: Share) -> float:
        """The strength before identity is looked at."""
        asked = share.strength if share.strength is not None else self.strength
        return float(np.mean([strength_for(quality_of(crop)) for crop, _ in looks])) if asked is None else asked

    def _limit_of(self, looks: Sequence[Look]) -> float:
        """The least score of a face that is seen so large."""
        return float(np.interp(np.mean([face_side(crop) for crop, _ in looks]), *np.transpose(self.limits)))

    def _vectors_of(self, groups: Sequence[Sequence[NDArray[np.uint8]]]) -> list[NDArray[np.float32]]:
        """The vectors (N, D) of the pictures of each group, which go through the identity network together."""
        if self.identifier is None or not groups:
            return []
        vectors = self.identifier([picture for group in groups for picture in group])
        return np.split(vectors, np.cumsum([len(group) for group in groups])[:-1])


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
    return face if back == 0 else _as_picture(face - np.float32(back) * _coarse_of(face.astype(np.float32) - crop))


def pasted(
    crop: NDArray[np.uint8], face: NDArray[np.uint8], strength: float, coarse: float, fine: float
) -> NDArray[np.uint8]:
    """What is seen at a strength (0..1), with shares (0..1) of the coarse and of the fine band of the change."""
    if (strength, coarse, fine) == (1, 1, 1):
        return face
    change = face.astype(np.float32) - crop
    if coarse != fine:
        change = fine * change + (coarse - fine) * _coarse_of(change)
    else:
        change *= fine
    return _as_picture(crop + np.float32(strength) * change)


def _coarse_of(change: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(change, (0, 0), COARSE * len(change)), np.float32)


def _as_picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(image, out=image), 0, 255, out=image), np.uint8)
