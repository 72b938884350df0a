"""A background network in the precision that agrees with fp32."""

from __future__ import annotations

import torch

from gfpcli.adapters.realesrgan import SRVGGNetCompact
from gfpcli.weights.upsampler import faster

CPU = torch.device("cpu")


def test_a_faster_precision_is_taken_only_where_it_agrees() -> None:
    torch.manual_seed(1)
    net = SRVGGNetCompact(num_feat=8, num_conv=3, upscale=2)
    assert faster(net, CPU, torch.bfloat16) is not None
    net.body[0].weight.data *= 1e6
    assert faster(net, CPU, torch.float16) is None
