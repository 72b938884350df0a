"""Whose faces are restored: those that are like the faces shown, or are not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.identity import IdentityScale
from gfpcli.pipeline.steps import AlignedFaces
from gfpcli.types import FaceOutcome, Identifier

ALIKE = 0.5  # identity score from which two faces count as one person's; the model card says how often that is wrong
N_HALVINGS = 40  # of the range of products


@dataclass(frozen=True, slots=True, eq=False)
class PersonFilter:
    """Leaves alone all faces but those of the persons that are wanted."""

    identifier: Identifier
    least: float  # product of two faces of one person
    wanted: NDArray[np.float32]  # (N, D) unit vectors; none: everybody is
    unwanted: NDArray[np.float32]  # (M, D)

    def apply(self, aligned: AlignedFaces) -> AlignedFaces:
        """The faces of a frame without those of others, which become `skipped`."""
        if not aligned.crops:
            return aligned
        vectors = self.identifier([crop.image for crop in aligned.crops])
        is_kept = [self.keeps(vector) for vector in vectors]
        left = iter(is_kept)
        outcomes = tuple(
            FaceOutcome("skipped") if outcome.status == "restored" and not next(left) else outcome
            for outcome in aligned.outcomes
        )
        crops = tuple(crop for crop, kept in zip(aligned.crops, is_kept, strict=True) if kept)
        shares = tuple(share for share, kept in zip(aligned.shares, is_kept, strict=False) if kept)
        return replace(aligned, outcomes=outcomes, crops=crops, shares=shares)

    def keeps(self, vector: NDArray[np.float32]) -> bool:
        """Whether a face (D,) is of a wanted person; one that is like both is of the one it is more like."""
        wanted, unwanted = _most_alike(self.wanted, vector), _most_alike(self.unwanted, vector)
        if len(self.wanted) and wanted < self.least:
            return False
        return unwanted < self.least or len(self.wanted) > 0 and wanted > unwanted


def _most_alike(shown: NDArray[np.float32], vector: NDArray[np.float32]) -> float:
    return float((shown @ vector).max()) if len(shown) else -1.0


def product_at(scale: IdentityScale, score: float) -> float:
    """The least product of two unit vectors whose score is at least this."""
    low, high = -1.0, 1.0
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if scale(middle) >= score else (middle, high)
    return high
