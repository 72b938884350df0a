"""Batch norms folded into the convolutions before them: the same answers with a layer less to compute for each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def fold_batch_norms(net: nn.Module, sample: Tensor) -> None:
    """Change a network in `eval` mode in place: each batch norm after a convolution becomes part of it.

    One pass of `sample` shows which convolution that is; in all networks here nothing else reads its output. In
    evaluation a batch norm is a fixed scale and shift of each channel, so only rounding changes (Jacob et al., CVPR
    2018, section 3.2).

    Args:
        sample: an input of the network, (N, C, H, W); its values do not matter.
    """
    for conv_name, norm_name in _folded_pairs(net, sample):
        conv, norm = net.get_submodule(conv_name), net.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        _replace(net, conv_name, fuse_conv_bn_eval(conv, norm))
        _replace(net, norm_name, nn.Identity())


def _folded_pairs(net: nn.Module, sample: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions and of the batch norms that are given their outputs."""
    names = {module: name for name, module in net.named_modules()}
    made: list[tuple[Tensor, str]] = []  # the tensors are kept, so that no two of them are at one address
    pairs: list[tuple[str, str]] = []

    def remember(module: nn.Module, _: Any, output: Tensor) -> None:
        made.append((output, names[module]))

    def match(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        pairs.extend((conv, names[module]) for output, conv in made if output is inputs[0])

    hooks = [each.register_forward_hook(remember) for each in names if isinstance(each, nn.Conv2d)]
    hooks += [each.register_forward_pre_hook(match) for each in names if isinstance(each, nn.BatchNorm2d)]
    try:
        net(sample)
    finally:
        for hook in hooks:
            hook.remove()
    return pairs


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, module)
