"""Narrow face networks with random weights, made for the tests."""

from __future__ import annotations

import torch

from gfpcli.model.gfpgan import GFPGANClean, Shape
from gfpcli.model.paper import GFPGANPaper
from gfpcli.weights.face_model import FaceNet

WIDTHS = (16, 16, 16, 8, 8)
NARROW = Shape(unet=WIDTHS, decoder=WIDTHS, n_style=16, n_mlp=1, is_half=True, has_own_codes=True)


def narrow_face_net(kind: type[GFPGANClean | GFPGANPaper]) -> FaceNet:
    """A GFP-GAN network of 64 px in fp32 on the CPU, the same each time; its look depends much on the latent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = kind(NARROW).eval().requires_grad_(False)
        for key, value in net.named_parameters():
            if key.endswith("modulation.weight"):
                value.normal_(0, 1.0)
            elif key.startswith("final_linear.weight"):
                value.mul_(4.0)
    return FaceNet(net, net.size, torch.device("cpu"), torch.float32)
