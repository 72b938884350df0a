"""How near a prior's faces are to true ones: a Frechet distance of features, FID where these are Inception's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.adapters.basicsr import inception
from gfpcli.errors import InputError
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.train.data import FaceDataset
from gfpcli.train.fid import MIN_FID, FeatureStatistics, frechet_distance, statistics_of
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.identifier import load_identifier

Faces = Sequence[NDArray[np.uint8]]  # (S, S, 3) BGR
FaceFeatures = Callable[[Faces], NDArray[np.floating]]  # to (N, D)
FIGURE_TITLES = {"identity": "Frechet distance of identity features", "fid": "FID"}


@dataclass(frozen=True, slots=True, eq=False)
class PriorValidation:
    """The figure of a prior's faces, and some of them: (H, W, 3) BGR, 0..255."""

    figure: str  # a key of FIGURE_TITLES
    distance: float  # lower is better
    n_faces: int
    grid: NDArray[np.uint8]
    shown: str = "faces"

    @property
    def score(self) -> float:
        return -self.distance

    @property
    def told_score(self) -> str:
        return f"{FIGURE_TITLES[self.figure]} {self.distance:.4f}"

    @property
    def figures(self) -> dict[str, float]:
        return {"fid" if self.figure == "fid" else "identity_distance": self.distance}

    @property
    def told(self) -> str:
        return f"{self.told_score} ({self.n_faces} generated faces)"


@dataclass(frozen=True, slots=True, eq=False)
class PriorJudge:
    """The network of the figure, and what it finds in true faces."""

    features: FaceFeatures
    true: FeatureStatistics

    def __call__(self, faces: Faces) -> float:
        """The distance of at least two generated faces to the true ones."""
        return frechet_distance(statistics_of(list(self.features(faces).astype(np.float64))), self.true)


def load_face_features(weights: Path | None, device: torch.device) -> FaceFeatures:
    """FID's network with its `weights`, or without them the built-in identity network. Raises CheckpointError."""
    if weights is not None:
        return inception_features(weights, device)
    identifier, _ = load_identifier(BUILTINS["identity"], device)
    return identifier


def judge_by(samples: FaceDataset, features: FaceFeatures) -> PriorJudge:
    """The judge by `n_valid` of the training faces, which are what a prior is to be like.

    Raises:
        InputError: a face cannot be read any more, or there is one face only.
    """
    chosen = samples.epoch_order(0)[: max(MIN_FID, samples.options.n_valid)]
    if len(chosen) < MIN_FID:
        raise InputError(f"a prior needs at least {MIN_FID} faces to be compared with")
    found = [features([samples.sample(0, int(index)).true])[0].astype(np.float64) for index in chosen]
    return PriorJudge(features, statistics_of(found))


def inception_features(weights: Path, device: torch.device) -> FaceFeatures:
    """Inception-V3's 2048 features, as FID takes them. Raises CheckpointError."""
    net = inception(weights).to(device)

    def features(faces: Faces) -> NDArray[np.floating]:
        with torch.inference_mode():
            rows = [net(to_tensor([face]).to(device))[0].flatten().cpu().numpy() for face in faces]
        return np.stack(rows)

    return features
