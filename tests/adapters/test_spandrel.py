"""Community checkpoints: upscalers of many architectures in tiles as in one piece, and face networks called aright."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

spandrel = pytest.importorskip("spandrel", reason="the extra gfpcli[spandrel] is not installed")

from gfpcli.adapters.spandrel import (  # noqa: E402
    FACE_CALLS,
    SpandrelFaceNet,
    load_spandrel_face_net,
    load_spandrel_net,
)
from gfpcli.errors import BackgroundError, CheckpointError, UsageError  # noqa: E402
from gfpcli.options import RestoreOptions  # noqa: E402
from gfpcli.pipeline.upsample import NetUpsampler  # noqa: E402
from gfpcli.weights.autotune import probe_faces  # noqa: E402
from gfpcli.weights.build import load_enlarging_net_in, load_restorer  # noqa: E402
from gfpcli.weights.choose import choose_parts  # noqa: E402
from spandrel.architectures import DAT, PLKSR, SPAN, ESRGAN, RestoreFormer, SwinIR  # noqa: E402

CPU = torch.device("cpu")
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "ESRGAN": lambda: ESRGAN.ESRGAN(num_filters=8, num_blocks=1, scale=2, shuffle_factor=None),
    "SPAN": lambda: SPAN.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2),
    "PLKSR": lambda: PLKSR.PLKSR(dim=16, n_blocks=2, upscaling_factor=2),
    "SwinIR": lambda: SwinIR.SwinIR(
        embed_dim=12, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2, upscale=2, upsampler="pixelshuffledirect"
    ),
    "DAT": lambda: DAT.DAT(
        embed_dim=12, split_size=[8, 8], depth=[2], num_heads=[2], expansion_factor=2, upscale=2, img_size=64
    ),
}
PROBE = probe_faces(512)[0]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """With weights that make a picture differ from its neighbours': those at the start are nearly zero."""
    torch.manual_seed(7)
    net = make().eval()
    with torch.no_grad():
        for value in net.parameters():
            if value.dim() > 1:
                value.mul_(1.5)
    return net


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tiles_are_as_the_whole(name: str, tmp_path: Path) -> None:
    torch.save({"params_ema": seeded(ARCHITECTURES[name]).state_dict()}, tmp_path / "x.pth")
    enlarging = load_enlarging_net_in(tmp_path / "x.pth")
    assert type(enlarging.net.net).__name__ == name and enlarging.scale == 2
    image = PROBE[100:260, 90:290]
    whole = NetUpsampler(enlarging, CPU, tile=256).enlarge(image).astype(int)
    tiled = NetUpsampler(enlarging, CPU, tile=64).enlarge(image).astype(int)
    assert np.ptp(whole) > 10
    assert np.abs(whole - tiled).max() <= 1
