"""An identity network from its file, as torch runs it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gfpcli.errors import CheckpointError
from gfpcli.model.arcface import ArcFaceR18, gray_for_identity
from gfpcli.model.checkpoint import read_state
from gfpcli.model.fold import fold_batch_norms
from gfpcli.model.identity import IdentityNet
from gfpcli.model.views import IDENTITY_VIEW
from gfpcli.pipeline.identity import FACES_PER_CALL, VIEWS, IdentityScale, NetIdentifier
from gfpcli.pipeline.tensors import ArrayNet
from gfpcli.weights.identity_scale import read_scale

ARCFACE_MARK, BUILTIN_MARK = "fc5.weight", "places.weight"  # keys that only one kind has


def load_identifier(path: Path, device: torch.device | None = None) -> tuple[NetIdentifier, IdentityScale]:
    """The network in a file, in fp32 on `device` (None: the CPU), and its scale.

    Raises:
        CheckpointError: as `read_identity_net` and `read_scale`.
    """
    device = device or torch.device("cpu")
    net, view = read_identity_net(path)
    return NetIdentifier(ArrayNet(net.to(device), device), VIEWS[view], FACES_PER_CALL[view]), read_scale(path)


def read_identity_net(path: Path) -> tuple[nn.Module, str]:
    """The built-in network or an ArcFace-R18 (official layout), whichever the file holds, and its view, of VIEWS.

    In eval mode on the CPU, with frozen weights: (N, 3, s, s) RGB in [-1, 1] to (N, D).

    Raises:
        CheckpointError: as `read_state`, or a file holds something else.
    """
    state = read_state(path)
    net: nn.Module
    if ARCFACE_MARK in state:
        net, view = ArcFaceR18(), "whole"
    elif BUILTIN_MARK in state:
        net, view = IdentityNet(), "built-in"
    else:
        raise CheckpointError(f"{path}: no identity network that gfp knows: its own, or ArcFace-R18")
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit together as an identity network") from error
    seen = net if view == "built-in" else nn.Sequential(GrayFaces(), net)
    seen.eval().requires_grad_(False)
    fold_batch_norms(seen, torch.zeros(1, 3, IDENTITY_VIEW, IDENTITY_VIEW))
    return seen, view


class GrayFaces(nn.Module):
    """The input of ArcFace-R18: (N, 3, S, S) RGB in [-1, 1] to (N, 1, 128, 128) gray."""

    def forward(self, faces: Tensor) -> Tensor:
        return gray_for_identity(faces)
