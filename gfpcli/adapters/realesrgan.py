"""Real-ESRGAN's two networks, as basicsr has them; what a checkpoint holds is read from its shapes.

(The realesrgan package holds a copy of the second; importing it loads all of basicsr's training code.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from gfpcli.adapters._compat import prepare_basicsr
from gfpcli.errors import CheckpointError
from gfpcli.model.checkpoint import KINDS, kind_of
from gfpcli.pipeline.tensors import EnlargingNet
from gfpcli.pipeline.upsample import Tiling

prepare_basicsr()

from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: E402  (only after the preparation above)
from basicsr.archs.srvgg_arch import SRVGGNetCompact  # noqa: E402

FOLDS = {3: 1, 12: 2, 48: 4}  # input channels of RRDBNet -> pixels folded into them, each way
BLOCK_CONVS = 15  # 3x3 convolutions in a row in one residual-in-residual dense block
RRDB_HALO = 24  # folded px: of the 349 that 23 blocks reach in theory


def load_enlarging_net(state: Mapping[str, Tensor], *, source: str) -> EnlargingNet:
    """RRDBNet or SRVGGNetCompact (PReLU) of any width, depth and scale, in eval mode, on the CPU.

    Raises:
        CheckpointError: the state is of another kind or does not fit together; names `source`.
    """
    kind = kind_of(state)
    if kind not in ("rrdbnet", "srvgg"):
        raise CheckpointError(f"{source}: {KINDS[kind]}, not a background upsampler")
    try:
        made = _rrdbnet(state) if kind == "rrdbnet" else _srvgg(state)
        made.net.load_state_dict(dict(state))
    except (RuntimeError, KeyError, IndexError, ValueError, TypeError) as error:
        raise CheckpointError(f"{source}: its weights do not fit together as {KINDS[kind]}") from error
    made.net.eval().requires_grad_(False)
    return made


def _rrdbnet(state: Mapping[str, Tensor]) -> EnlargingNet:
    n_feat, n_in = state["conv_first.weight"].shape[:2]
    fold = FOLDS[n_in]
    scale = 4 // fold
    n_blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    n_grow = state["body.0.rdb1.conv1.weight"].shape[0]
    net = RRDBNet(3, 3, scale=scale, num_feat=n_feat, num_block=n_blocks, num_grow_ch=n_grow)
    reach = BLOCK_CONVS * n_blocks + 2 + 2  # first and last of the trunk, and those after it: 1/2 + 3/4, rounded up
    # the largest tensors lie behind the enlargement: four of n_feat channels at 4 x 4 of the folded pixel
    taken = 4 * 4 * n_feat * 16 / fold**2
    tiling = Tiling(scale, fold, reach=reach * fold, halo=min(reach, RRDB_HALO) * fold, pixel_bytes=round(taken))
    return EnlargingNet(net, tiling)


def _srvgg(state: Mapping[str, Tensor]) -> EnlargingNet:
    places = sorted(int(key.split(".")[1]) for key, value in state.items() if value.dim() == 4)
    n_feat = state["body.0.weight"].shape[0]
    scale = math.isqrt(state[f"body.{places[-1]}.weight"].shape[0] // 3)
    net = SRVGGNetCompact(num_feat=n_feat, num_conv=len(places) - 2, upscale=scale)
    reach = len(places)  # 3x3 convolutions, one after the other
    taken = 4 * (3 * n_feat + 3 * 3 * scale**2)  # in, out and a copy in another order; the results
    multiple = {1: 4, 2: 2}.get(scale, 1)  # only because RealESRGANer mirrors the ends of all nets of these scales
    return EnlargingNet(net, Tiling(scale, multiple, reach=reach, halo=reach, pixel_bytes=taken))
