"""Real-ESRGAN's layouts: read from shapes, and equal to its own inference code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from gfpcli.adapters._compat import prepare_basicsr
from gfpcli.adapters.realesrgan import load_enlarging_net
from gfpcli.errors import CheckpointError
from gfpcli.model.checkpoint import read_state
from gfpcli.pipeline.tensors import ArrayNet
from gfpcli.pipeline.upsample import NetUpsampler

prepare_basicsr()
from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: E402
from basicsr.archs.srvgg_arch import SRVGGNetCompact  # noqa: E402

Make = Callable[[int, int], NDArray[np.uint8]]
CPU = torch.device("cpu")
LAYOUTS: dict[str, Callable[[], nn.Module]] = {
    "realesrgan-x2": lambda: RRDBNet(3, 3, scale=2, num_feat=64, num_block=23, num_grow_ch=32),
    "realesrgan-x4": lambda: RRDBNet(3, 3, scale=4, num_feat=64, num_block=23, num_grow_ch=32),
    "realesr-general": lambda: SRVGGNetCompact(num_feat=64, num_conv=32, upscale=4),
    "compact-x2": lambda: SRVGGNetCompact(num_feat=48, num_conv=12, upscale=2),
}


def realesrganer(net: nn.Module, path: Path, scale: int) -> Any:
    """Upstream's own inference on the CPU, the picture whole; `path` is written."""
    from realesrgan import RealESRGANer

    torch.save({"params_ema": net.state_dict(), "params": {}}, path)
    return RealESRGANer(scale, str(path), model=net, tile=0, pre_pad=0, half=False, device=CPU)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_whole_image_is_what_realesrganer_makes_of_it(name: str, tmp_path: Path, smooth_image: Make) -> None:
    torch.manual_seed(3)
    path = tmp_path / "x.pth"
    image = smooth_image(33, 41)  # odd: the x2 layout mirrors a row and a column
    scale = int(name[-1]) if name[-1].isdigit() else 4
    theirs = realesrganer(LAYOUTS[name](), path, scale)
    theirs.pre_process(image[..., ::-1].astype(np.float32) / 255)
    with torch.no_grad():
        theirs.process()
    want = theirs.post_process()[0]
    enlarging = load_enlarging_net(read_state(path), source="x.pth")
    assert enlarging.tiling.scale == scale
    upsampler = NetUpsampler(ArrayNet(enlarging.net, CPU), enlarging.tiling)
    got = upsampler.run(image)
    assert got.shape == want.shape == (3, 33 * scale, 41 * scale)
    assert np.linalg.norm(got - want.numpy()) / want.norm() < 1e-5
    whole, _ = theirs.enhance(image)
    assert np.abs(upsampler.enlarge(image).astype(int) - whole).max() <= 1


def test_the_official_x4plus_is_the_same_in_tiles_whole_and_by_realesrganer(shared_data: Path, tmp_path: Path) -> None:
    weights = shared_data / "weights" / "realesrgan_x4plus_fp16.safetensors"
    if not weights.is_file():
        pytest.skip(f"the official weights are not present: {weights}")
    photo = np.asarray(cv2.imread(str(shared_data / "photos" / "portrait_astronaut.png")), np.uint8)
    image = photo[60:164, 170:290]  # eyes, hair, a flag's edge
    state = read_state(weights)
    enlarging = load_enlarging_net(state, source=weights.name)
    net = ArrayNet(enlarging.net, CPU)
    whole = NetUpsampler(net, enlarging.tiling).enlarge(image).astype(int)
    theirs = LAYOUTS["realesrgan-x4"]()
    theirs.load_state_dict(dict(state))
    want, _ = realesrganer(theirs, tmp_path / "x.pth", 4).enhance(image)
    assert np.abs(whole - want).max() <= 1
    n_tiles = []
    tiled = NetUpsampler(net, enlarging.tiling, tile=60, watch=lambda done, of: n_tiles.append(of)).enlarge(image)
    assert max(n_tiles) == 4
    difference = np.abs(tiled.astype(int) - whole)
    assert difference.max() <= 6 and difference.mean() < 0.15 and (difference > 1).mean() < 0.003


@pytest.mark.parametrize(
    ("net", "facts"),
    [
        (SRVGGNetCompact(num_feat=8, num_conv=11, upscale=3), (3, 1, 13, 13)),
        (RRDBNet(3, 3, scale=4, num_feat=8, num_block=1, num_grow_ch=4), (4, 1, 19, 19)),
        (RRDBNet(3, 3, scale=2, num_feat=8, num_block=2, num_grow_ch=4), (2, 2, 68, 48)),
        (RRDBNet(3, 3, scale=1, num_feat=8, num_block=1, num_grow_ch=4), (1, 4, 76, 76)),
    ],
)
def test_shapes_tell_scale_and_reach(net: nn.Module, facts: tuple[int, ...], tmp_path: Path) -> None:
    save_file(net.state_dict(), tmp_path / "x.safetensors")
    made = load_enlarging_net(read_state(tmp_path / "x.safetensors"), source="x")
    assert (made.tiling.scale, made.tiling.multiple, made.tiling.reach, made.tiling.halo) == facts
    side = 3 * made.tiling.reach + 64
    side -= side % made.tiling.multiple
    flat = torch.full((1, 3, side, side), 0.5)
    dot = flat.clone()
    dot[:, :, side // 2, side // 2] = 1.0
    with torch.inference_mode():
        changed = (made.net.double()(dot.double()) != made.net(flat.double()))[0].any(dim=0).nonzero()
    furthest = (changed.double() / made.tiling.scale - side // 2).abs().max().item()
    assert furthest <= made.tiling.reach + made.tiling.multiple, "the reach is what a pixel reaches"


def test_other_files_are_refused_with_their_kind() -> None:
    with pytest.raises(CheckpointError, match=r"x\.pth: of a kind gfp does not know, not a background upsampler"):
        load_enlarging_net({"a": torch.zeros(1)}, source="x.pth")
    state = SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2).state_dict()
    with pytest.raises(CheckpointError, match="do not fit together"):
        load_enlarging_net({**state, "body.2.weight": torch.zeros(8, 4, 3, 3)}, source="x.pth")
    rrdb = RRDBNet(3, 3, scale=4, num_feat=8, num_block=1, num_grow_ch=4).state_dict()
    for key, value in (("conv_first.weight", torch.zeros(8, 5, 3, 3)), ("conv_hr.weight", torch.zeros(1))):
        with pytest.raises(CheckpointError, match="do not fit together"):
            load_enlarging_net({**rrdb, key: value}, source="x.pth")
