"""The named terms that are minimised, weighted and summed (GFP-GAN, section 3.4; upstream `optimize_parameters`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfpcli.model.arcface import gray_for_identity
from gfpcli.model.gfpgan import GFPGAN
from gfpcli.train import losses
from gfpcli.train.data import Batch
from gfpcli.train.nets import PARTS, Nets
from gfpcli.train.options import TrainOptions

Terms = dict[str, Tensor]
Perceptual = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Objective:
    """What the networks are asked for.

    Attributes:
        perceptual: gives (perceptual, style) of two batches; None where both terms are off.
        arcface: in eval mode, without gradients of its own; None where the identity term is off.
    """

    options: TrainOptions
    nets: Nets
    perceptual: Perceptual | None = None
    arcface: nn.Module | None = None

    def is_adversarial(self, iteration: int) -> bool:
        """Whether discriminators take part: not in the first `gan_from` iterations."""
        return iteration >= self.options.gan_from

    def restore(self, batch: Batch, iteration: int) -> tuple[Tensor, Terms]:
        """The generator's faces (N, 3, S, S), float32, and its terms, weighted."""
        loss, true = self.options.loss, batch.true
        terms: Terms = {}
        pyramid: list[Tensor] = []
        net = self.nets.generator
        with self._autocast(true):
            if loss.pyramid and iteration < self.options.pyramid_until and isinstance(net, GFPGAN):
                out, pyramid = net.with_pyramid(batch.low)
            else:
                out = net(batch.low)
        out = out.float()
        if pyramid:
            terms["pyramid"] = loss.pyramid * losses.pyramid([rgb.float() for rgb in pyramid], true)
        if loss.l1:
            terms["l1"] = loss.l1 * F.l1_loss(out, true)
        if loss.edges:
            both = [F.l1_loss(out.diff(dim=axis), true.diff(dim=axis)) for axis in (2, 3)]
            terms["edges"] = loss.edges * (both[0] + both[1])
        if loss.coarse:
            terms["coarse"] = loss.coarse * F.l1_loss(
                F.avg_pool2d(out, losses.COARSE), F.avg_pool2d(true, losses.COARSE)
            )
        if loss.detail:
            terms["detail"] = loss.detail * losses.detail(out, true)
        if loss.grid:
            terms["grid"] = loss.grid * losses.grid(out, true)
        if self.perceptual is not None:
            content, style = self.perceptual(out, true)
            terms |= {"perceptual": loss.perceptual * content, "style": loss.style * style}
        if self.arcface is not None:
            own = self.arcface(gray_for_identity(out))
            with torch.no_grad():
                wanted = self.arcface(gray_for_identity(true))
            terms["identity"] = loss.identity * F.l1_loss(own, wanted)
        if self.is_adversarial(iteration):
            terms |= self._adversarial(out, batch)
        return out, terms

    def _adversarial(self, out: Tensor, batch: Batch) -> Terms:
        """What the discriminators say of the generator's faces."""
        loss = self.options.loss
        terms: Terms = {}
        if self.nets.discriminator is not None:
            terms["gan"] = loss.gan * losses.generator_gan(self._score(self.nets.discriminator, out))
        for part, size, box in self._patches(batch):
            fake = losses.component_patches(out, box, size)
            score, feats = self._judge_part(part, fake)
            if loss.component_gan:
                terms[f"gan_{part}"] = loss.component_gan * losses.generator_gan(score)
            if loss.component_style:
                with torch.no_grad():
                    _, real = self._judge_part(part, losses.component_patches(batch.true, box, size))
                terms[f"style_{part}"] = loss.component_style * losses.component_style(feats, real)
        return terms

    def judge(self, out: Tensor, batch: Batch, iteration: int) -> Terms:
        """The discriminators' own terms on the generator's faces `out`, without its gradient."""
        terms: Terms = {}
        out = out.detach()
        judge = self.nets.discriminator
        if judge is not None:
            terms["d"] = losses.discriminator_gan(self._score(judge, batch.true), self._score(judge, out))
            if self.options.loss.r1 and iteration % self.options.r1_every == 0:
                real = batch.true.detach().requires_grad_(True)
                score = judge(self._shown(real))  # never in half precision: its gradient has a gradient
                # lazy: as strong as if it were there at every iteration (StyleGAN2, appendix B)
                weight = self.options.loss.r1 / 2 * self.options.r1_every
                terms["r1"] = weight * losses.r1_penalty(score, real)
        for part, size, box in self._patches(batch):
            real_score, _ = self._judge_part(part, losses.component_patches(batch.true, box, size))
            fake_score, _ = self._judge_part(part, losses.component_patches(out, box, size))
            terms[f"d_{part}"] = losses.discriminator_gan(real_score, fake_score)
        return terms

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, torch.bfloat16, enabled=self.options.precision == "bf16")

    def _shown(self, faces: Tensor) -> Tensor:
        """What a discriminator sees: fine detail, which is faint beside light and dark, made stronger."""
        if not self.options.emphasis:
            return faces
        around = F.avg_pool2d(faces, 5, 1, 2, count_include_pad=False)
        return faces + self.options.emphasis * (faces - around)

    def _score(self, judge: nn.Module, faces: Tensor) -> Tensor:
        """Realness (N, 1) of whole faces, float32."""
        with self._autocast(faces):
            score: Tensor = judge(self._shown(faces))
        return score.float()

    def _judge_part(self, part: str, patches: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Realness map and the two features of a component's patches, float32."""
        with self._autocast(patches):
            score, (fine, coarse) = self.nets.components[part](self._shown(patches))
        return score.float(), (fine.float(), coarse.float())

    def _patches(self, batch: Batch) -> list[tuple[str, int, Tensor]]:
        """(part, patch size, boxes (N, 4)) of each facial component; empty where its terms are off."""
        if not self.nets.components:
            return []
        return [(part, self.options.patch_sizes[i], batch.boxes[:, i]) for i, part in enumerate(PARTS)]
