"""An identity network from its file, on its device, with the scale that its products are read by."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from gfpcli.errors import CheckpointError
from gfpcli.model.arcface import ArcFaceR18, gray_for_identity
from gfpcli.model.checkpoint import read_state
from gfpcli.model.fold import fold_batch_norms
from gfpcli.model.identity import IDENTITY_VIEW, IdentityNet
from gfpcli.pipeline.identity import UNSCALED, IdentityScale, NetIdentifier, built_in_view, whole_view
from gfpcli.pipeline.tensors import ArrayNet
from gfpcli.weights.choose import SCALE

ARCFACE_MARK, BUILTIN_MARK = "fc5.weight", "places.weight"  # keys that only one kind has


def load_identifier(path: Path, device: torch.device) -> tuple[NetIdentifier, IdentityScale]:
    """The built-in network or an ArcFace-R18 (official layout), whichever the file holds, in fp32, and its scale.

    Raises:
        CheckpointError: as `read_state`, or a file holds something else.
    """
    net = load_identity_net(path, device)
    view = built_in_view if isinstance(net, IdentityNet) else whole_view
    return NetIdentifier(ArrayNet(net, device), view), read_scale(path)


def load_identity_net(path: Path, device: torch.device) -> nn.Module:
    """The network of `load_identifier`, frozen, in eval mode: (N, 3, S, S) RGB in [-1, 1] to (N, D). Raises as it."""
    state = read_state(path)
    if ARCFACE_MARK in state:
        net: nn.Module = ArcFaceR18()
    elif BUILTIN_MARK in state:
        net = IdentityNet()
    else:
        raise CheckpointError(f"{path}: no identity network that gfp knows: its own, or ArcFace-R18")
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit together as an identity network") from error
    seen = net if isinstance(net, IdentityNet) else nn.Sequential(GrayFaces(), net)
    seen.eval().requires_grad_(False)
    fold_batch_norms(seen, torch.zeros(1, 3, IDENTITY_VIEW, IDENTITY_VIEW))
    return seen.to(device)


def read_scale(weights: Path) -> IdentityScale:
    """The scale in the file beside the weights; UNSCALED where there is none. Raises CheckpointError."""
    path = weights.with_suffix(SCALE)
    if not path.is_file():
        return UNSCALED
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))
        scale = IdentityScale(*(tuple(map(float, tables[name])) for name in ("same", "different")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: not the scale of an identity network") from error
    if any(len(table) < 2 or list(table) != sorted(table) for table in (scale.same, scale.different)):
        raise CheckpointError(f"{path}: its tables must rise")
    return scale


class GrayFaces(nn.Module):
    """The input of ArcFace-R18: (N, 3, S, S) RGB in [-1, 1] to (N, 1, 128, 128) gray."""

    def forward(self, faces: Tensor) -> Tensor:
        return gray_for_identity(faces)
