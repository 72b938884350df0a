"""Community checkpoints: upscalers of many architectures in tiles as in one piece, and face networks called aright."""

from __future__ import annotations

import re
import sys
import warnings
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

from spandrel.architectures import ESRGAN, PLKSR, RCAN, SPAN, MoSR, RestoreFormer, SwinIR  # noqa: E402

from gfpcli.adapters.spandrel import (  # noqa: E402
    FACE_CALLS,
    SpandrelFaceNet,
    load_spandrel_face_net,
    load_spandrel_net,
)
from gfpcli.errors import BackgroundError, CheckpointError, UsageError  # noqa: E402
from gfpcli.options import RestoreOptions  # noqa: E402
from gfpcli.pipeline.tensors import ArrayNet  # noqa: E402
from gfpcli.pipeline.upsample import NetUpsampler  # noqa: E402
from gfpcli.weights.autotune import probe_faces  # noqa: E402
from gfpcli.weights.build import load_restorer  # noqa: E402
from gfpcli.weights.choose import choose_parts  # noqa: E402
from gfpcli.weights.torch_parts import load_enlarging_net_in  # noqa: E402

CPU = torch.device("cpu")
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "ESRGAN": lambda: ESRGAN.ESRGAN(num_filters=8, num_blocks=1, scale=2, shuffle_factor=None),
    "SPAN": lambda: SPAN.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2),
    "PLKSR": lambda: PLKSR.PLKSR(dim=16, n_blocks=2, upscaling_factor=2),
    "SwinIR": lambda: SwinIR.SwinIR(
        embed_dim=12, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2, upscale=2, upsampler="pixelshuffledirect"
    ),
    "MoSR": lambda: MoSR.MoSR(upscale=2, n_block=2, dim=16),
}
PROBE = probe_faces(512)[0]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """With weights that make a picture differ from its neighbours': those at the start are nearly zero."""
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
    assert enlarging.net.descriptor.architecture.id == name and enlarging.tiling.scale == 2  # type: ignore[union-attr]
    image = PROBE[100:260, 90:290]
    whole = NetUpsampler(ArrayNet(enlarging.net, CPU), enlarging.tiling, tile=256).enlarge(image).astype(int)
    tiled = NetUpsampler(ArrayNet(enlarging.net, CPU), enlarging.tiling, tile=64).enlarge(image).astype(int)
    assert np.ptp(whole) > 10
    assert np.abs(whole - tiled).max() <= 1


def test_a_network_that_looks_at_all_of_a_picture_is_given_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RCAN weighs its channels by their means over the picture: its tiles would differ."""
    net = seeded(lambda: RCAN.RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4))
    save_file(net.state_dict(), tmp_path / "x.safetensors")
    enlarging = load_enlarging_net_in(tmp_path / "x.safetensors")
    assert not enlarging.tiling.is_local
    calls: list[tuple[int, int]] = []
    upsampler = NetUpsampler(
        ArrayNet(enlarging.net, CPU), enlarging.tiling, watch=lambda done, all_tiles: calls.append((done, all_tiles))
    )
    image = PROBE[:70, :600]
    upsampler.enlarge(image)
    assert calls == [(0, 1), (1, 1)]
    monkeypatch.setattr("gfpcli.memory.free_memory", lambda: 1000)
    with pytest.raises(BackgroundError, match="needs the image of 512x70 whole, and it needs about .*--tile N"):
        upsampler.enlarge(image)


def test_what_nobody_knows_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"mystery.weight": torch.zeros(3, 3)}, tmp_path / "x.safetensors")
    options = RestoreOptions(background=str(tmp_path / "x.safetensors"), model="compact", detector="builtin")
    for asked in (options, replace(options, background="none", model=options.background)):
        with pytest.raises(CheckpointError, match="x.safetensors: of a kind that neither gfp nor spandrel knows$"):
            load_restorer(asked, choose_parts(asked, warn=print))
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(CheckpointError, match=re.escape("pip install 'gfpcli[spandrel]'")):
        load_restorer(options, choose_parts(options, warn=print))


def test_nearly_fitting_weights_are_one_line() -> None:
    state = {key: value[:1] for key, value in ARCHITECTURES["SPAN"]().state_dict().items()}
    with pytest.raises(CheckpointError, match="^x: ") as caught:
        load_spandrel_net(state, source="x", probe=PROBE)
    assert "\n" not in str(caught.value)


def small_restoreformer() -> nn.Module:
    return RestoreFormer.RestoreFormer(
        n_embed=8, embed_dim=16, ch=32, out_ch=3, ch_mult=(1, 1, 1, 1, 1, 1), num_res_blocks=1, attn_resolutions=(16,),
        dropout=0.0, in_channels=3, resolution=512, z_channels=16, double_z=False, enable_mid=True, head_size=8,
    )  # fmt: skip


def test_a_face_network_is_called_in_its_own_range(tmp_path: Path) -> None:
    net = seeded(small_restoreformer)
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, tmp_path / "rf.safetensors")
    options = RestoreOptions(model=str(tmp_path / "rf.safetensors"), detector="builtin", mask="soft", precision="fp32")
    model = load_restorer(options, choose_parts(options, warn=print)).model
    face = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(model(face.numpy())), net(face)[0], rtol=1e-3, atol=1e-3)
    with pytest.raises(UsageError, match="no `weight` input"):
        load_restorer(replace(options, fidelity=0.5), choose_parts(options, warn=print))


def test_an_upscaler_is_no_face_restorer(tmp_path: Path) -> None:
    state = ARCHITECTURES["SPAN"]().state_dict()
    with pytest.raises(CheckpointError, match="x: SPAN, not a face restorer"):
        load_spandrel_face_net(state, source="x", weight=0.5)
    with pytest.raises(CheckpointError, match="x: RestoreFormer, for FaceSR, not a background"):
        load_spandrel_net(seeded(small_restoreformer).state_dict(), source="x", probe=PROBE)


class Weighed(nn.Module):
    """Called as spandrel's inner CodeFormer is."""

    def forward(self, faces: torch.Tensor, weight: float = 0.5, **others: Any) -> tuple[torch.Tensor, None]:
        return faces * weight, None


def test_fidelity_reaches_the_inner_codeformer() -> None:
    faces = torch.rand(1, 3, 4, 4)
    assert torch.equal(SpandrelFaceNet(Weighed(), "CodeFormer", 0.25)(faces), faces * 0.25)
    assert SpandrelFaceNet(Weighed(), "CodeFormer", 0.25).has_weight and set(FACE_CALLS) > {"CodeFormer"}
