"""Train the built-in background network `compact-x2`, Real-ESRGAN's compact layout.

    python examples/builtin/train_background.py --data DATA --out one.safetensors
    python examples/builtin/train_background.py --data DATA --out two.safetensors --start one.safetensors \\
        --teacher DATA/weights/realesrgan_x4plus_fp16.safetensors --lessons lessons.npz --minutes 40 --rate 3e-4

Alone it learns from the truth by L1. With a teacher, a larger background network, half of each batch are patches that
the teacher has answered too, and there are terms for edges like the teacher's and for texture like the truth's.
One photo in ten, chosen by the SHA-1 of its name, is never trained on.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from begin import begin
from safetensors.torch import save_file
from torch import Tensor, nn

from gfpcli.adapters.efficientnet_lite0 import lite0_file, load_lite0
from gfpcli.adapters.realesrgan import SRVGGNetCompact
from gfpcli.model.checkpoint import read_state
from gfpcli.train import losses
from gfpcli.train.nets import update_ema

sys.path.insert(0, str(Path(__file__).parent))
from mild import LOW, Picture, damage, draw_true, read_photos
from teacher import Lessons, load_upsampler, make_lessons
from train_large import FeatureCritic, mean_of

LOG = logging.getLogger("train_background")
FACTS = {"arch": "srvgg", "scale": "2", "licence": "Apache-2.0"}
WIDTH, DEPTH = 32, 12  # channels; convolutions between the first and the last
LOW_CROP = 48  # px of the small patch that is learnt from
WEIGHTS = {"l1": 2.0, "lowpass": 2.0, "edges": 1.5, "texture": 1.0, "checkerboard": 0.15, "lite": 0.08, "gan": 0.03}
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


@dataclass(frozen=True, slots=True)
class Batch:
    """RGB in [0, 1], channels last as they lie."""

    low: Tensor  # (N, 3, LOW_CROP, LOW_CROP), damaged
    true: Tensor  # (N, 3, 2 * LOW_CROP, 2 * LOW_CROP)
    taught: Tensor  # what the teacher makes of the first of them, (n, 3, 2 * LOW_CROP, 2 * LOW_CROP)


def draw_batch(photos: list[Picture], lessons: Lessons | None, size: int, rng: np.random.Generator) -> Batch:
    """Pieces of new patches and, where there are lessons, half as many of these, turned and mirrored at random."""
    n_taught = size // 2 if lessons else 0
    pieces = []
    for i in range(size):
        if lessons and i < n_taught:
            patches = turned(lessons.draw(rng), rng)
        else:
            true = draw_true(photos, rng)
            patches = (damage(true, rng), true, true)
        y, x = rng.integers(0, LOW - LOW_CROP + 1, 2)
        pieces.append([cut(patch, y, x, len(patch) // LOW) for patch in patches])
    low, true_batch, taught = (
        torch.from_numpy(np.stack(each)).permute(0, 3, 1, 2) / 255 for each in zip(*pieces, strict=True)
    )
    return Batch(low, true_batch, taught[:n_taught])


def turned(patches: Sequence[Picture], rng: np.random.Generator) -> list[Picture]:
    """All in the same way."""
    n_turns, step = int(rng.integers(4)), 1 if rng.random() < 0.5 else -1
    return [np.rot90(patch, n_turns)[:, ::step] for patch in patches]


def cut(patch: Picture, y: int, x: int, scale: int) -> Picture:
    """The piece that begins at a pixel of the small patch, BGR to RGB."""
    return patch[scale * y : scale * (y + LOW_CROP), scale * x : scale * (x + LOW_CROP), ::-1]


class Judges:
    """EfficientNet-Lite0, frozen, and the discriminator on its features."""

    def __init__(self, rate: float) -> None:
        self.lite = load_lite0(lite0_file())
        self.critic = FeatureCritic()
        self.optimizer = torch.optim.Adam(self.critic.parameters(), rate, (0.0, 0.99))

    def scores(self, features: Sequence[Tensor]) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return [scores.float() for scores in self.critic(features)]

    def learn(self, true: Sequence[Tensor], made: Sequence[Tensor]) -> float:
        """One step of the discriminator on the features of both: its loss."""
        self.critic.requires_grad_(True)
        pairs = zip(self.scores(true), self.scores([each.detach() for each in made]), strict=True)
        loss = mean_of(losses.discriminator_gan(*scores) for scores in pairs)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.critic.requires_grad_(False)
        return loss.item()


def agreed_edges(out: Tensor, true: Tensor, taught: Tensor) -> Tensor:
    """L1 between the differences of neighbours and the weaker of the truth's and the teacher's, where both agree.

    The teacher knows what can be seen in a damaged patch, but draws it stronger than it was.
    """
    total = out.new_zeros(())
    for dim in (2, 3):
        mine, wanted, answer = (each.diff(dim=dim) for each in (out, true, taught))
        weaker = torch.where(wanted.abs() < answer.abs(), wanted, answer)
        total = total + ((mine - weaker).abs() * (wanted * answer > 0)).mean()
    return total


def taught_loss(out: Tensor, batch: Batch, judges: Judges) -> Tensor:
    """The truth by L1 and texture, the teacher by its edges, and what the judges say; the discriminator learns too."""
    mine, true, taught = (2 * each - 1 for each in (out, batch.true, batch.taught))  # as the terms take them
    seen = judges.lite(mine)
    with torch.no_grad():
        wanted = judges.lite(true)
    judges.learn(wanted, seen)
    terms = {
        "l1": F.l1_loss(mine, true),
        "lowpass": losses.lowpass(mine, true),
        "edges": agreed_edges(mine[: len(taught)], true[: len(taught)], taught),
        "texture": losses.texture(mine, true),
        "checkerboard": losses.checkerboard(mine, true),
        "lite": losses.feature_distance(seen, wanted),
        "gan": mean_of(losses.generator_gan(scores) for scores in judges.scores(seen)),
    }
    return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()


def save_net(net: nn.Module, path: Path) -> None:
    """Half precision, written whole or not at all."""
    part = path.with_suffix(".part")
    save_file({key: value.half().contiguous() for key, value in net.state_dict().items()}, part, FACTS)
    part.replace(path)


def lessons_of(args: argparse.Namespace, photos: list[Picture]) -> Lessons | None:
    """Those of an earlier run, or new ones; None without a teacher."""
    if args.teacher is None:
        return None
    if not args.lessons.exists():
        teacher = load_upsampler(args.teacher, torch.bfloat16)
        make_lessons(photos, teacher, args.n_lessons, args.lessons, np.random.default_rng((args.seed, 1)))
    return Lessons.read(args.lessons)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to begin with, else smooth enlargement")
    parser.add_argument("--teacher", type=Path, help="a larger background network, such as x4plus")
    parser.add_argument("--lessons", type=Path, default=Path("lessons.npz"), help="its answers; made where absent")
    parser.add_argument("--n-lessons", type=int, default=1500)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--rate-d", type=float, default=2e-3, help="of the discriminator, with a teacher")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = read_options()
    rng = begin(args.threads, args.seed)
    photos = list(read_photos(args.data / "wild", held_out=False).values())
    lessons = lessons_of(args, photos)
    judges = Judges(args.rate_d) if lessons else None
    net = new_net()
    if args.start:
        net.load_state_dict(dict(read_state(args.start)))
    net = net.to(memory_format=torch.channels_last)
    ema = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.rate, betas=(0.9, 0.99))
    LOG.info("%d photos, %d parameters", len(photos), sum(value.numel() for value in net.parameters()))
    start, step, mean = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        batch = draw_batch(photos, lessons, args.batch_size, rng)
        with torch.autocast("cpu", torch.bfloat16):
            out = net(batch.low)
        out = out.float()
        loss = taught_loss(out, batch, judges) if judges else (out - batch.true).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        update_ema(ema, net, min(0.998, step / (step + 10)))
        mean += (loss.item() - mean) / min(step, 500)
        if step % 100 == 0:
            LOG.info("step %d, %.0f %%, loss %.5f", step, 100 * done, mean)
            save_net(ema, args.out)
    save_net(ema, args.out)
    LOG.info("%d steps in %.1f minutes", step, (time.monotonic() - start) / 60)


if __name__ == "__main__":
    main()
