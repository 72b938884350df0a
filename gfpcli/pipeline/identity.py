"""Whose face it is: aligned crops to unit vectors, by a network behind the `Identifier` port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gfpcli.model.views import IDENTITY_VIEW
from gfpcli.pipeline.align import warp_area
from gfpcli.pipeline.arrays import to_batch
from gfpcli.types import Affine, PictureBatch

CropView: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""From an aligned crop (S, S, 3) BGR to what a network sees of it."""
VIEW_256 = (44.0, 56.0, 168.0)  # left, top and side of the square that the built-in network sees, px at 256


def crop_to_view_of(size: int) -> Affine:
    """The (2, 3) similarity from an aligned crop of `size` px to the built-in network's square."""
    left, top, side = (value * size / 256 for value in VIEW_256)
    zoom = IDENTITY_VIEW / side
    return np.array([[zoom, 0, (0.5 - left) * zoom - 0.5], [0, zoom, (0.5 - top) * zoom - 0.5]])


def built_in_view(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(S, S, 3) BGR aligned as FFHQ to what the built-in network sees, (96, 96, 3) BGR."""
    return warp_area(crop, crop_to_view_of(len(crop)), IDENTITY_VIEW)


def whole_view(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole aligned crop, as GFP-GAN's identity loss sees it; ArcFace-R18 makes it gray and 128 px."""
    return crop


VIEWS: dict[str, CropView] = {"built-in": built_in_view, "whole": whole_view}
FACES_PER_CALL = {"built-in": 4, "whole": 1}  # four take the small network little longer than one


@dataclass(frozen=True, slots=True)
class NetIdentifier:
    """An identity network, in whatever runtime, and how it sees an aligned crop."""

    net: Callable[[PictureBatch], NDArray[np.float32]]  # (N, 3, s, s) RGB in [-1, 1] to (N, D)
    view: CropView
    n_together: int = 1  # faces in each call

    def __call__(self, crops: Sequence[NDArray[np.uint8]], /) -> NDArray[np.float32]:
        """(N, D) float32 unit vectors of (S, S, 3) BGR crops aligned as FFHQ, of one size or several.

        The network always sees as many at once, so that the vector of a crop does not depend on how many there are.
        """
        views = [self.view(crop) for crop in crops]
        groups = [views[start : start + self.n_together] for start in range(0, len(views), self.n_together)]
        return np.concatenate([self._vectors_of(group) for group in groups]) if groups else np.zeros((0, 0), np.float32)

    def _vectors_of(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        filled = [*views, *[views[-1]] * (self.n_together - len(views))]
        vectors = self.net(to_batch(filled))[: len(views)]
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), np.float32)


@dataclass(frozen=True, slots=True)
class IdentityScale:
    """From the product of two unit vectors to a score: the percentile among an even mixture of pairs.

    Half of the pairs are of the same person, half of different people (the card says which): 0 is less alike than any
    of them, 0.5 about where both kinds part, 1 more alike than any. Both tables rise evenly from 0 % to 100 %.
    """

    same: tuple[float, ...]  # products of pairs of the same person, lowest first
    different: tuple[float, ...]

    def __call__(self, product: float) -> float:
        """0..1; never falls where the product rises."""
        ranks = [
            float(np.interp(product, table, np.linspace(0, 1, len(table)))) for table in (self.same, self.different)
        ]
        return sum(ranks) / 2


UNSCALED = IdentityScale((0.0, 1.0), (0.0, 1.0))
"""The product itself, at least 0: of a network whose pairs nobody measured."""
