"""The objective of the prior: StyleGAN2 (Karras et al., 2020) with adaptive discriminator augmentation.

Every draw comes from generators that the batch's seed starts, so that a run that goes on, and each process, draws what
it would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfpcli.model.stylegan2 import StyleGAN2Decoder
from gfpcli.pipeline.tensors import to_images
from gfpcli.train import losses
from gfpcli.train.ada import PriorState, augment
from gfpcli.train.data import Batch, FaceDataset
from gfpcli.train.fid import MIN_FID
from gfpcli.train.nets import N_STYLE, Nets
from gfpcli.train.objective import Terms
from gfpcli.train.options import TrainOptions
from gfpcli.train.prior_figure import PriorJudge, PriorValidation

G_MAIN, G_PATH_LENGTH, D_MAIN, D_R1 = 1, 2, 3, 4  # added to a batch's seed: each phase has draws of its own
PATH_SHARE = 2  # the path length is that of one face in two, which saves memory and time
N_FOR_MEAN = 4096  # style codes whose mean truncation starts from
N_TOGETHER = 8  # faces that a validation makes together
GRID_ROWS, GRID_COLUMNS = 4, 8


@dataclass(frozen=True, slots=True)
class PriorObjective:
    """The phases of StyleGAN2's training: the `Phases` of a prior."""

    options: TrainOptions
    nets: Nets
    judge: PriorJudge

    def generator_main(self, batch: Batch, iteration: int) -> tuple[Tensor, Terms, Terms]:
        """New faces (N, 3, S, S), RGB in [-1, 1], float32, and their non-saturating logistic loss."""
        rng = self._rng(batch, G_MAIN)
        n = len(batch.true)
        latent = mixed_latents(self._generator, n, self.options.mixing, rng)
        with self._autocast(batch.true):
            fake = self._generator(latent, None, drawn_noises(self._generator, n, rng))
        fake = fake.float()
        return fake, {"gan": self.options.loss.gan * losses.generator_gan(self._score(fake, rng))}, {}

    def is_path_regularised(self, iteration: int) -> bool:
        """Every `path_every` iterations (lazy regularisation)."""
        return self.options.loss.path_length > 0 and iteration % self.options.path_every == 0

    def generator_path_length(self, batch: Batch) -> tuple[Terms, Terms]:
        """The squared distance of the path lengths to their moving average, times `path_every`; their mean."""
        rng = self._rng(batch, G_PATH_LENGTH)
        n = max(1, len(batch.true) // PATH_SHARE)
        latent = mixed_latents(self._generator, n, self.options.mixing, rng)
        faces = self._generator(latent, None, drawn_noises(self._generator, n, rng))  # fp32: differentiated again
        noise = torch.randn(faces.shape, generator=rng, device=faces.device)
        lengths = losses.path_lengths(faces, latent, noise)
        weight = self.options.loss.path_length * self.options.path_every
        penalty = (lengths - self._state.path_length).square().mean()
        return {"path_length": weight * penalty}, {"mean_path": lengths.detach().mean()}

    def is_adversarial(self, iteration: int) -> bool:
        """Always."""
        return True

    def discriminator_main(self, fake: Tensor, batch: Batch) -> tuple[Terms, Terms]:
        """The logistic loss on true and generated faces, both augmented; the mean sign of D(real), and p."""
        rng = self._rng(batch, D_MAIN)
        real_score, fake_score = self._score(batch.true, rng), self._score(fake, rng)
        terms = {"d": losses.discriminator_gan(real_score, fake_score)}
        return terms, {"sign_real": real_score.detach().sign().mean(), "ada_p": self._state.p}

    def is_regularised(self, iteration: int) -> bool:
        """Every `r1_every` iterations (lazy regularisation)."""
        return self.options.loss.r1 > 0 and iteration % self.options.r1_every == 0

    def discriminator_r1(self, batch: Batch) -> Terms:
        """The R1 penalty at the true faces as the discriminator sees them, augmented; times `r1_every`."""
        assert self.nets.discriminator is not None
        seen = augment(batch.true, self._state.p, self._rng(batch, D_R1)).detach().requires_grad_(True)
        weight = self.options.loss.r1 / 2 * self.options.r1_every
        return {"r1": weight * losses.r1_penalty(self.nets.discriminator(seen), seen)}

    def follow(self, values: Mapping[str, float], n_images: int) -> None:
        """The chance p of the augmentations, and the moving average of the path lengths."""
        self._state.follow(values, n_images, target=self.options.ada_target, n_images_to_1=self.options.ada_images)

    def validate(self, samples: FaceDataset, device: torch.device) -> PriorValidation:
        """The figure of `n_valid` faces, and a grid of truncated ones, always from the same z."""
        net = self.nets.g_ema
        assert isinstance(net, StyleGAN2Decoder)
        n = max(MIN_FID, self.options.n_valid)
        distance = self.judge([face for faces in generated(net, n, 1.0, device) for face in faces])
        tiles = [face for faces in generated(net, GRID_ROWS * GRID_COLUMNS, self.options.truncation, device)
                 for face in faces]  # fmt: skip
        rows = [np.concatenate(tiles[at : at + GRID_COLUMNS], axis=1) for at in range(0, len(tiles), GRID_COLUMNS)]
        return PriorValidation(self.options.figure, distance, n, np.asarray(np.concatenate(rows), np.uint8))

    @property
    def _generator(self) -> StyleGAN2Decoder:
        assert isinstance(self.nets.generator, StyleGAN2Decoder)
        return self.nets.generator

    @property
    def _state(self) -> PriorState:
        assert self.nets.prior_state is not None
        return self.nets.prior_state

    def _rng(self, batch: Batch, phase: int) -> torch.Generator:
        return torch.Generator(batch.true.device).manual_seed(batch.seed + phase)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, torch.bfloat16, enabled=self.options.precision == "bf16")

    def _score(self, faces: Tensor, rng: torch.Generator) -> Tensor:
        """Realness (N, 1) of faces, augmented, float32."""
        assert self.nets.discriminator is not None
        seen = augment(faces, self._state.p, rng)
        with self._autocast(faces):
            score: Tensor = self.nets.discriminator(seen)
        return score.float()


def mixed_latents(net: StyleGAN2Decoder, n: int, mixing: float, rng: torch.Generator) -> Tensor:
    """Latents (N, L, n_style) of new z: with the chance `mixing` the codes from a random layer on are another w."""
    z = torch.randn(2, n, N_STYLE, generator=rng, device=rng.device)
    w, other = net.mapping(z[0])[:, None], net.mapping(z[1])[:, None]  # (N, 1, n_style)
    is_mixed = torch.rand(n, 1, generator=rng, device=rng.device) < mixing
    crossover = torch.randint(1, net.n_codes, (n, 1), generator=rng, device=rng.device)
    layers = torch.arange(net.n_codes, device=rng.device)  # (L,)
    return torch.where((is_mixed & (layers >= crossover))[..., None], other, w)


def drawn_noises(net: StyleGAN2Decoder, n: int, rng: torch.Generator) -> list[Tensor]:
    """New noise (N, 1, H, W) for each convolution."""
    return [torch.randn(n, *noise.shape[1:], generator=rng, device=rng.device) for noise in net.stored_noises()]


@torch.inference_mode()
def generated(net: StyleGAN2Decoder, n: int, psi: float, device: torch.device) -> Iterator[list[NDArray[np.uint8]]]:
    """Faces (S, S, 3) BGR of the same z every time, with the stored noise, some at once.

    Args:
        psi: truncation: the distance to the mean w is multiplied by it.
    """
    rng = torch.Generator().manual_seed(0)  # on the CPU: the same z on every device
    z = torch.randn(n, N_STYLE, generator=rng).to(device)
    mean = None if psi == 1 else net.mapping(torch.randn(N_FOR_MEAN, N_STYLE, generator=rng).to(device)).mean(dim=0)
    for some in z.split(N_TOGETHER):
        w = net.mapping(some)
        w = w if mean is None else mean + psi * (w - mean)
        yield to_images(net(w[:, None].expand(-1, net.n_codes, -1)))
