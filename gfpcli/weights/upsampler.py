"""A background network on its device, in its precision, as torch runs it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from gfpcli.pipeline.tensors import ArrayNet, EnlargingNet
from gfpcli.pipeline.upsample import LARGEST, NetUpsampler, TileProgress

LARGEST_ON_GPU = 1024  # px of a tile
PROBE_SIZE = 64  # px
PROBE_RMS = 1.0  # grey levels that a faster precision may differ from fp32


def faster(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module | None:
    """The network in another precision, None where it does not agree with fp32 on a probe, or does not run at all."""
    fast = copy.deepcopy(net).to(dtype)
    probe = torch.rand(1, 3, PROBE_SIZE, PROBE_SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        with torch.inference_mode():
            difference = fast(probe.to(dtype)).float().clamp(0, 1) - net(probe).clamp(0, 1)
    except RuntimeError:
        return None
    rms = 255 * difference.square().mean().sqrt().item()
    return fast if rms <= PROBE_RMS else None  # a NaN does not agree either


def upsampler_of(
    enlarging: EnlargingNet, *, source: str, device: torch.device, tile: int, watch: TileProgress, dtype: torch.dtype,
    warn: Callable[[str], None],
) -> NetUpsampler:  # fmt: skip
    """An upsampler ready to run.

    Args:
        source: the network's file, for messages.
        tile: its edge, px; 0 = by free memory.
        watch: told how many tiles of an image are done, of how many.
        dtype: wanted for 8-bit images; `warn` is told where it does not agree with fp32, which is then used.
    """
    net = enlarging.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = None if dtype == torch.float32 else faster(net, device, dtype)
    if fast is None and dtype != torch.float32:
        warn(f"{source}: {str(dtype).removeprefix('torch.')} does not agree with fp32 here; it runs in fp32")
    is_cuda = device.type == "cuda"
    return NetUpsampler(
        ArrayNet(net, device), enlarging.tiling, ArrayNet(fast, device, dtype) if fast else None, tile, watch,
        LARGEST_ON_GPU if is_cuda else LARGEST, (lambda: torch.cuda.mem_get_info(device)[0]) if is_cuda else None,
    )  # fmt: skip
