"""The identity term: how far the person in a restored face is from the person in the true one, by a frozen network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from gfpcli.model.arcface import gray_for_identity
from gfpcli.model.views import IDENTITY_VIEW
from gfpcli.pipeline.identity import VIEW_256
from gfpcli.weights.identifier import read_identity_net

View = Callable[[Tensor], Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class IdentityLoss:
    """Calls on restored and true faces, (N, 3, S, S) RGB in [-1, 1], aligned as FFHQ, and gives the unweighted term.

    Gradients reach the restored faces only.

    Attributes:
        net: in eval mode, with frozen weights; takes what `view` gives.
        distance: of two batches of features (N, D).
    """

    net: Callable[[Tensor], Tensor]
    view: View
    distance: Distance

    def __call__(self, restored: Tensor, true: Tensor, /) -> Tensor:
        with torch.no_grad():
            wanted = self.net(self.view(true))
        return self.distance(self.net(self.view(restored)), wanted)


def arcface_loss(arcface: Callable[[Tensor], Tensor]) -> IdentityLoss:
    """The paper's: L1 of the features of ArcFace-R18, which sees the whole face in gray."""
    return IdentityLoss(arcface, gray_for_identity, F.l1_loss)


def builtin_identity_loss(weights: Path, device: torch.device) -> IdentityLoss:
    """By the identity network in the package: 1 minus the cosine between the features, 0 to 2.

    Raises:
        CheckpointError: a file that holds no identity network.
    """
    net, _ = read_identity_net(weights)
    return IdentityLoss(net.to(device), inner_view, cosine_distance)


def inner_view(faces: Tensor) -> Tensor:
    """What the built-in network sees of (N, 3, S, S) aligned faces, forehead to chin: (N, 3, 96, 96), differentiable.

    As `built_in_view` of the pipeline, here of tensors.
    """
    left, top, side = (value * faces.shape[-1] / 256 for value in VIEW_256)
    box = faces.new_tensor([[left, top, left + side, top + side]])
    return roi_align(faces, [box] * len(faces), IDENTITY_VIEW, aligned=True)  # averages where the face is larger


def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """1 minus the cosine between features (N, D), mean over the batch."""
    return (1 - F.cosine_similarity(one, other)).mean()
