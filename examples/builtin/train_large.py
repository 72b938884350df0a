"""Train the layers at 512 px of the `compact-512` network only, on pieces of faces, on a core that stays as it is.

    python examples/builtin/train_large.py --faces DATA/faces/train512 --out FOLDER --steps 3000

A tenth of the work of `gfp train --preset compact-512`: the core runs once for a degraded face, without gradients, and
the layers above it see only 128 px pieces of what it gave. FOLDER/state.pt goes on where it was stopped, and
FOLDER/last.safetensors holds the moving average of the whole network.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from begin import begin
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gfpcli.adapters.efficientnet_lite0 import lite0_file, load_lite0
from gfpcli.model.checkpoint import load_face_net
from gfpcli.model.compact import SHRINK, CompactUNet512
from gfpcli.model.efficientnet_lite import FEATURE_CHANNELS
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.train import losses
from gfpcli.train.data import is_held_out, random_similarity, relight
from gfpcli.train.degrade import degrade, draw_degradation, target_of
from gfpcli.train.nets import update_ema
from gfpcli.train.options import TRAIN_PRESETS
from gfpcli.weights.cache import BUILTINS

LOG = logging.getLogger("train_large")
OPTIONS = TRAIN_PRESETS["compact-512"]  # its degradations, shares and weights of the loss terms hold here too
SIZE, PIECE = 512, 128  # px
STEP = 8  # px: pieces begin at a whole feature of the core
N_FIRST, N_KEPT, USES = 48, 400, 16  # faces before the first step and at most; pieces that are taken for each new face
N_HEADS, N_HEAD = 4, 48  # of the discriminator: heads, and channels of each
DECAY = 0.995


@dataclass(frozen=True, slots=True)
class Prepared:
    """A degraded and the true face (3, S, S), what the core adds at half size, and its features; bfloat16."""

    low: Tensor
    true: Tensor
    residual: Tensor
    feat: Tensor


def prepare(image: np.ndarray, key: tuple[int, int], net: CompactUNet512) -> Prepared:
    """The face in one of its degradations, through the core. The draws depend on `key` only."""
    rng = np.random.default_rng(key)
    affine = random_similarity(SIZE, OPTIONS.shake, rng)
    true = cv2.warpAffine(image, affine, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    true = np.asarray(true[:, ::-1] if rng.random() < 0.5 else true, np.uint8)
    true = relight(true, rng) if rng.random() < OPTIONS.relight else true
    low = true
    if rng.random() >= OPTIONS.clean_share:
        drawn = draw_degradation(OPTIONS.degrade, rng)
        low = degrade(true, drawn, kernel_size=OPTIONS.degrade.kernel_size)
        true = target_of(true, drawn)
    x = to_tensor([low])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        small = F.avg_pool2d(x, SHRINK)
        out, feat = net.core.with_features(small)
    parts = (x[0], to_tensor([true])[0], (out - small)[0], feat[0])
    return Prepared(*(part.to(torch.bfloat16).clone() for part in parts))


def prepared_faces(paths: list[Path], net: CompactUNet512, seed: int, first: int) -> Iterator[Prepared]:
    """Without end, from the `first`-th on; the next ones are made in a thread of their own."""
    def work(number: int) -> Prepared:
        torch.set_num_threads(1)
        order = np.random.default_rng((seed, number // len(paths))).permutation(len(paths))
        image = cv2.imread(str(paths[order[number % len(paths)]]))
        return prepare(np.asarray(image, np.uint8), (seed, number), net)

    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(work, first + i) for i in range(4))
        while True:
            first += 1
            ahead.append(pool.submit(work, first + 3))
            yield ahead.popleft().result()


def draw_pieces(pool: deque[Prepared], n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`n` pieces (low, true, residual, features), at the same place of each."""
    drawn = []
    for index in rng.integers(len(pool), size=n):
        face = pool[index]
        y, x = (STEP * int(v) for v in rng.integers(0, (SIZE - PIECE) // STEP + 1, 2))
        cuts = [(part, SIZE // part.shape[-1]) for part in (face.low, face.true, face.residual, face.feat)]
        drawn.append([p[:, y // f : (y + PIECE) // f, x // f : (x + PIECE) // f].float() for p, f in cuts])
    low, true, residual, feat = (torch.stack(parts) for parts in zip(*drawn, strict=True))
    return low, true, residual, feat


class FeatureCritic(nn.Module):
    """A small head on each of the first N_HEADS features of EfficientNet-Lite0: a realness map (N, 1, H, W) of each.

    What the frozen network sees already tells much, so that the heads learn within some dozen steps (Projected GAN,
    Sauer et al., 2021, without its mixing of levels).
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(head_of(n_in) for n_in in FEATURE_CHANNELS[:N_HEADS])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        seen = zip(self.heads, features[:N_HEADS], strict=True)
        return [head(F.normalize(feat) * feat.shape[1] ** 0.5) for head, feat in seen]


def head_of(n_in: int) -> nn.Module:
    """(N, n_in, H, W) to (N, 1, H, W)."""
    convs = (nn.Conv2d(n_in, N_HEAD, 3, 1, 1), nn.Conv2d(N_HEAD, N_HEAD, 3, 1, 1), nn.Conv2d(N_HEAD, 1, 1))
    first, second, last = (spectral_norm(conv) for conv in convs)
    return nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2), last)


def mean_of(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).mean()


def content_terms(out: Tensor, true: Tensor) -> Tensor:
    """The weighted terms of the pixels."""
    loss = OPTIONS.loss
    terms = losses.lowpass(out, true) * loss.lowpass + losses.texture(out, true) * loss.texture
    return terms + loss.l1 * F.l1_loss(out, true) + loss.checkerboard * losses.checkerboard(out, true)


@dataclass(slots=True)
class Training:
    """The networks, their optimizers, and how far they are."""

    net: CompactUNet512
    ema: nn.Module  # of net.large
    critic: FeatureCritic
    optimizer: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    lite: nn.Module  # EfficientNet-Lite0, frozen
    step: int = 0

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"large": self.net.large, "ema": self.ema, "critic": self.critic, "optimizer": self.optimizer,
                "optimizer_d": self.optimizer_d}  # fmt: skip

    def save(self, folder: Path) -> None:
        """Each file is written whole or not at all."""
        content = {name: part.state_dict() for name, part in self.parts().items()}
        torch.save(content | {"step": self.step, "rng": torch.get_rng_state()}, folder / "state.part")
        (folder / "state.part").replace(folder / "state.pt")
        state = {f"core.{key}": value for key, value in self.net.core.state_dict().items()}
        state |= {f"large.{key}": value for key, value in self.ema.state_dict().items()}
        half = {key: value.half().contiguous() for key, value in state.items()}
        save_file(half, folder / "last.part", {"arch": "compact-512", "step": str(self.step)})
        (folder / "last.part").replace(folder / "last.safetensors")

    def load(self, folder: Path) -> None:
        content = torch.load(folder / "state.pt", weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(content[name])
        self.step = content["step"]
        torch.set_rng_state(content["rng"])


def begin_training(start: Path, rate: float, rate_d: float) -> Training:
    net = load_face_net(start)
    net = net if isinstance(net, CompactUNet512) else CompactUNet512(net)  # type: ignore[arg-type]
    net.core.eval().requires_grad_(False)
    net.large.train().requires_grad_(True)
    critic = FeatureCritic()
    ema = copy.deepcopy(net.large).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(net.large.parameters(), rate, (0.9, 0.99))
    optimizer_d = torch.optim.Adam(critic.parameters(), rate_d, (0.0, 0.99))
    return Training(net, ema, critic, optimizer, optimizer_d, load_lite0(lite0_file()))


def train_step(run: Training, pieces: tuple[Tensor, Tensor, Tensor, Tensor], gan: float) -> tuple[float, float]:
    """One step of the layers at 512 px and, with `gan`, one of the discriminator: the loss of each."""
    low, true, residual, feat = pieces
    run.critic.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        out = low + run.net.large(residual, low, feat).float()
    with torch.no_grad():
        wanted = run.lite(true)
    seen = run.lite(out)
    loss = content_terms(out, true) + OPTIONS.loss.lite * losses.feature_distance(seen, wanted)
    if gan:
        loss = loss + gan * mean_of(losses.generator_gan(scores) for scores in run.critic(seen))
    run.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(run.net.large.parameters(), 1.0)
    run.optimizer.step()
    update_ema(run.ema, run.net.large, min(DECAY, (1 + run.step) / (10 + run.step)))
    return loss.item(), critic_step(run, wanted, [each.detach() for each in seen]) if gan else 0.0


def critic_step(run: Training, true: Sequence[Tensor], fake: Sequence[Tensor]) -> float:
    """One step of the discriminator on the features of both: its loss."""
    run.critic.requires_grad_(True)
    pairs = zip(run.critic(true), run.critic(fake), strict=True)
    loss = mean_of(losses.discriminator_gan(*scores) for scores in pairs)
    run.optimizer_d.zero_grad()
    loss.backward()
    run.optimizer_d.step()
    return loss.item()


def train(run: Training, args: argparse.Namespace) -> None:
    """Until `args.steps`, or Ctrl-C."""
    paths = [path for path in sorted(args.faces.glob("*")) if not is_held_out(path.name, OPTIONS.held_out)]
    rng = np.random.default_rng((args.seed, run.step))
    n_new = max(1, args.batch_size // USES)
    faces = prepared_faces(paths, run.net, args.seed, run.step * n_new)
    pool: deque[Prepared] = deque((next(faces) for _ in range(N_FIRST)), maxlen=N_KEPT)
    LOG.info("%d faces, from step %d", len(paths), run.step)
    both: list[tuple[float, float]] = []
    while run.step < args.steps:
        pool.extend(next(faces) for _ in range(n_new))
        factor = min(1.0, (run.step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * run.step / args.steps))
        for optimizer, rate in ((run.optimizer, args.rate), (run.optimizer_d, args.rate_d)):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        pieces = draw_pieces(pool, args.batch_size, rng)
        both.append(train_step(run, pieces, args.gan * (run.step >= args.gan_from)))
        run.step += 1
        if run.step % 25 == 0 or run.step == args.steps:
            LOG.info("step %d, loss %.4f, of the discriminator %.3f", run.step, *np.mean(both[-25:], axis=0))
            run.save(args.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned 512 px faces")
    parser.add_argument("--out", type=Path, required=True, help="folder, in which an earlier run goes on")
    parser.add_argument("--start", type=Path, default=BUILTINS["compact"], help="core, or a whole 512 px network")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--gan-from", type=int, default=300, help="steps without discriminator")
    parser.add_argument("--gan", type=float, default=0.1, help="weight of the GAN term")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rate-d", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    begin(1, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    run = begin_training(args.start, args.rate, args.rate_d)
    if (args.out / "state.pt").exists():
        run.load(args.out)
    train(run, args)


if __name__ == "__main__":
    main()
