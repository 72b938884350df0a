"""The LPIPS metric (VGG16) with weights from our own cache."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import lpips
import torch
from torch import Tensor

from gfpcli.errors import CheckpointError


def lpips_metric(vgg16: Mapping[str, Tensor], *, source: str) -> torch.nn.Module:
    """Calls on two (N, 3, H, W) RGB batches in [-1, 1] and gives (N, 1, 1, 1), lower is more alike.

    The package brings the metric's own layers; the network below them is torchvision's VGG16.

    Raises:
        CheckpointError: the state is not VGG16's; names `source`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision: `pretrained` has a new name
        metric = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)  # random: else it downloads by itself
    try:
        for part in (metric.net.slice1, metric.net.slice2, metric.net.slice3, metric.net.slice4, metric.net.slice5):
            part.load_state_dict({key: vgg16[f"features.{key}"] for key in part.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{source}: not torchvision's VGG16") from error
    return metric.eval().requires_grad_(False)
