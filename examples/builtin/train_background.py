"""Train the built-in background network `compact-x2`, Real-ESRGAN's compact layout, from random weights.

    python examples/builtin/train_background.py --data DATA --out compact-x2.safetensors

One photo in ten, chosen by the SHA-1 of its name, is never trained on.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
from begin import begin
from safetensors.torch import save_file
from torch import Tensor, nn

from gfpcli.adapters.realesrgan import SRVGGNetCompact
from gfpcli.train.nets import update_ema

sys.path.insert(0, str(Path(__file__).parent))
from mild import LOW, damage, draw_true, read_photos

LOG = logging.getLogger("train_background")
FACTS = {"arch": "srvgg", "scale": "2", "licence": "Apache-2.0"}
WIDTH, DEPTH = 32, 12  # channels; convolutions between the first and the last
LOW_CROP = 48  # px of the small patch that is learnt from
TAPS = ((-0.09375, 0.15625), (0.9375, 0.9375), (0.15625, -0.09375))  # a parabola at -1/4 px (reversed) and +1/4 px


def new_net() -> SRVGGNetCompact:
    """Begins as smooth enlargement: three channels carry the image through, all else adds nothing yet."""
    net = SRVGGNetCompact(num_feat=WIDTH, num_conv=DEPTH, upscale=2)
    convs = [layer for layer in net.body if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for conv in convs[:-1]:
            nn.init.kaiming_normal_(conv.weight, a=0.25)
            conv.bias.zero_()
            conv.weight[:3] = 0
            for channel in range(3):
                conv.weight[channel, channel, 1, 1] = 1  # the image is not negative: no activation changes it
        last = convs[-1]
        last.weight.zero_()
        last.bias.zero_()
        taps = torch.tensor(TAPS)  # (3 px, 2 phases)
        for channel in range(3):
            for y in range(2):
                for x in range(2):
                    kernel = torch.outer(taps[:, 1 - y], taps[:, 1 - x])
                    kernel[1, 1] -= 1  # the layout adds the nearest pixel
                    last.weight[4 * channel + 2 * y + x, channel] = kernel
    return net


def draw_batch(photos: list[np.ndarray], size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Damaged (N, 3, LOW_CROP, LOW_CROP) and true patches of twice that, RGB in [0, 1]."""
    lows, trues = [], []
    for _ in range(size):
        true = draw_true(photos, rng)
        low = damage(true, rng)
        y, x = rng.integers(0, LOW - LOW_CROP + 1, 2)
        lows.append(low[y : y + LOW_CROP, x : x + LOW_CROP, ::-1])
        trues.append(true[2 * y : 2 * (y + LOW_CROP), 2 * x : 2 * (x + LOW_CROP), ::-1])
    low_batch, true_batch = (torch.from_numpy(np.stack(each)).permute(0, 3, 1, 2) / 255 for each in (lows, trues))
    return low_batch, true_batch  # channels last as they lie


def save_net(net: nn.Module, path: Path) -> None:
    """Half precision, written whole or not at all."""
    part = path.with_suffix(".part")
    save_file({key: value.half().contiguous() for key, value in net.state_dict().items()}, part, FACTS)
    part.replace(path)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = read_options()
    rng = begin(args.threads, args.seed)
    photos = list(read_photos(args.data / "wild", held_out=False).values())
    net = new_net().to(memory_format=torch.channels_last)
    ema = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.rate, betas=(0.9, 0.99))
    LOG.info("%d photos, %d parameters", len(photos), sum(value.numel() for value in net.parameters()))
    start, step, mean = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        low, true = draw_batch(photos, args.batch_size, rng)
        with torch.autocast("cpu", torch.bfloat16):
            out = net(low)
        loss = (out.float() - true).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        update_ema(ema, net, min(0.998, step / (step + 10)))
        mean += (loss.item() - mean) / min(step, 500)
        if step % 100 == 0:
            LOG.info("step %d, %.0f %%, loss %.5f", step, 100 * done, mean)
        if step % 500 == 0:
            save_net(ema, args.out)
    save_net(ema, args.out)
    LOG.info("%d steps in %.1f minutes", step, (time.monotonic() - start) / 60)


if __name__ == "__main__":
    main()
