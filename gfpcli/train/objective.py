"""The weighted loss terms of the networks (GFP-GAN, section 3.4; upstream `gfpgan_model.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfpcli.model.gfpgan import GFPGAN
from gfpcli.train import losses
from gfpcli.train.data import Batch
from gfpcli.train.nets import Nets
from gfpcli.train.options import COMPONENTS, TrainOptions

Terms = dict[str, Tensor]
Perceptual = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Identity = Callable[[Tensor, Tensor], Tensor]
ImageFeatures = Callable[[Tensor], tuple[Tensor, ...]]
OWN_TERMS = {
    "gradient": losses.gradient, "lowpass": losses.lowpass, "texture": losses.texture,
    "checkerboard": losses.checkerboard,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Objective:
    """Forward passes of the networks, and the terms that are minimised.

    Attributes:
        perceptual: gives (perceptual, style) of two batches; None where both terms are off.
        identity: gives the identity term of two batches; None where it is off.
        lite: the features of EfficientNet-Lite0, frozen; None where no term needs them.
    """

    options: TrainOptions
    nets: Nets
    perceptual: Perceptual | None = None
    identity: Identity | None = None
    lite: ImageFeatures | None = None

    def is_adversarial(self, iteration: int) -> bool:
        """Whether there are discriminators that train in this iteration."""
        return iteration >= self.options.gan_from and next(self.nets.discriminators(), None) is not None

    def is_regularised(self, iteration: int) -> bool:
        """Whether the R1 penalty is computed in this iteration (lazy regularisation; StyleGAN2, appendix B)."""
        has_penalty = self.nets.discriminator is not None and self.options.loss.r1 > 0
        return has_penalty and iteration % self.options.r1_every == 0

    def generator_main(self, batch: Batch, iteration: int) -> tuple[Tensor, Terms]:
        """The generator's faces (N, 3, S, S), RGB in [-1, 1], float32, and its weighted terms."""
        loss, true = self.options.loss, batch.true
        terms: Terms = {}
        pyramid: list[Tensor] = []
        net = self.nets.generator
        with self._autocast(true):
            if loss.pyramid and iteration < self.options.pyramid_until and isinstance(net, GFPGAN):
                fake, pyramid = net.with_pyramid(batch.low)
            else:
                fake = net(batch.low)
        fake = fake.float()
        if pyramid:
            terms["pyramid"] = loss.pyramid * losses.pyramid([rgb.float() for rgb in pyramid], true)
        terms |= self._likeness(fake, true)
        if self.is_adversarial(iteration):
            terms |= self._generator_gan(fake, batch)
        return fake, terms

    def _likeness(self, fake: Tensor, true: Tensor) -> Terms:
        """The terms that compare the generator's faces with the true ones."""
        loss = self.options.loss
        terms: Terms = {}
        if loss.l1:
            terms["l1"] = loss.l1 * F.l1_loss(fake, true)
        for name, term in OWN_TERMS.items():
            if weight := getattr(loss, name):
                terms[name] = weight * term(fake, true)
        if self.perceptual is not None:
            content, style = self.perceptual(fake, true)
            terms |= {"perceptual": loss.perceptual * content, "style": loss.style * style}
        if self.identity is not None:
            terms["identity"] = loss.identity * self.identity(fake, true)
        if self.lite is not None:
            with torch.no_grad():
                wanted = self.lite(true)
            terms["lite"] = loss.lite * losses.feature_distance(self.lite(fake), wanted)
        return terms

    def _generator_gan(self, fake: Tensor, batch: Batch) -> Terms:
        """The generator's terms that come from the discriminators."""
        loss = self.options.loss
        terms: Terms = {}
        if self.nets.discriminator is not None:
            terms["gan"] = loss.gan * losses.generator_gan(self._score(self.nets.discriminator, fake))
        for name, size, box in self._component_boxes(batch):
            score, feats = self._score_component(name, losses.component_patches(fake, box, size))
            if loss.component_gan:
                terms[f"gan_{name}"] = loss.component_gan * losses.generator_gan(score)
            if loss.component_style:
                with torch.no_grad():
                    _, real = self._score_component(name, losses.component_patches(batch.true, box, size))
                terms[f"style_{name}"] = loss.component_style * losses.component_style(feats, real)
        return terms

    def discriminator_main(self, fake: Tensor, batch: Batch) -> Terms:
        """The discriminators' logistic losses on true faces and on the generator's (detached) faces `fake`."""
        terms: Terms = {}
        net = self.nets.discriminator
        if net is not None:
            terms["d"] = losses.discriminator_gan(self._score(net, batch.true), self._score(net, fake))
        for name, size, box in self._component_boxes(batch):
            real_score, _ = self._score_component(name, losses.component_patches(batch.true, box, size))
            fake_score, _ = self._score_component(name, losses.component_patches(fake, box, size))
            terms[f"d_{name}"] = losses.discriminator_gan(real_score, fake_score)
        return terms

    def discriminator_r1(self, batch: Batch) -> Terms:
        """The R1 penalty of the whole-face discriminator, times `r1_every` for the iterations without it."""
        assert self.nets.discriminator is not None
        real = batch.true.detach().requires_grad_(True)
        score = self.nets.discriminator(self._emphasised(real))  # in fp32: its gradient is differentiated again
        weight = self.options.loss.r1 / 2 * self.options.r1_every
        return {"r1": weight * losses.r1_penalty(score, real)}

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, torch.bfloat16, enabled=self.options.precision == "bf16")

    def _emphasised(self, faces: Tensor) -> Tensor:
        """What a discriminator sees: faces with fine detail amplified, which is faint beside light and shadow."""
        if not self.options.emphasis:
            return faces
        mean = F.avg_pool2d(faces, 5, 1, 2, count_include_pad=False)
        return faces + self.options.emphasis * (faces - mean)

    def _score(self, net: nn.Module, faces: Tensor) -> Tensor:
        """Realness (N, 1) of whole faces, float32."""
        with self._autocast(faces):
            score: Tensor = net(self._emphasised(faces))
        return score.float()

    def _score_component(self, name: str, patches: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Realness map and the two features of a component's patches, float32."""
        with self._autocast(patches):
            score, (fine, coarse) = self.nets.components[name](self._emphasised(patches))
        return score.float(), (fine.float(), coarse.float())

    def _component_boxes(self, batch: Batch) -> list[tuple[str, int, Tensor]]:
        """(name, patch size, boxes (N, 4)) of each facial component; empty where its terms are off."""
        if not self.nets.components:
            return []
        return [(name, self.options.patch_sizes[i], batch.boxes[:, i]) for i, name in enumerate(COMPONENTS)]
