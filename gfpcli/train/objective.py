"""The weighted loss terms of the networks (GFP-GAN, section 3.4; upstream `gfpgan_model.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfpcli.model.gfpgan import GFPGAN
from gfpcli.train import losses
from gfpcli.train.data import Batch, FaceDataset
from gfpcli.train.nets import Nets
from gfpcli.train.options import COMPONENTS, TrainOptions
from gfpcli.train.validate import Validated, validate

Terms = dict[str, Tensor]
Perceptual = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Identity = Callable[[Tensor, Tensor], Tensor]
ImageFeatures = Callable[[Tensor], tuple[Tensor, ...]]
OWN_TERMS = {
    "gradient": losses.gradient, "lowpass": losses.lowpass, "texture": losses.texture,
    "checkerboard": losses.checkerboard,
}  # fmt: skip


class Phases(Protocol):
    """What the training loop calls in an iteration, in this order: an objective of one stage.

    Terms are weighted, and their sum is minimised; what is measured is told only.
    """

    def generator_main(self, batch: Batch, iteration: int) -> tuple[Tensor, Terms, Terms]:
        """The generator's faces (N, 3, S, S), RGB in [-1, 1], float32; its terms, and what is measured."""
        ...

    def is_path_regularised(self, iteration: int) -> bool:
        """Whether the path length penalty is computed in this iteration."""
        ...

    def generator_path_length(self, batch: Batch) -> tuple[Terms, Terms]:
        """The path length penalty, and what is measured."""
        ...

    def is_adversarial(self, iteration: int) -> bool:
        """Whether there are discriminators that train in this iteration."""
        ...

    def discriminator_main(self, fake: Tensor, batch: Batch) -> tuple[Terms, Terms]:
        """The terms of the discriminators on true faces and on the generator's (detached) `fake`; what is measured."""
        ...

    def is_regularised(self, iteration: int) -> bool:
        """Whether the R1 penalty is computed in this iteration."""
        ...

    def discriminator_r1(self, batch: Batch) -> Terms:
        """The R1 penalty."""
        ...

    def follow(self, values: Mapping[str, float], n_images: int) -> None:
        """Changes what is carried on to the next iteration by the values of this one, of `n_images` images.

        The values are the means over all processes, so that all change alike.
        """
        ...

    def validate(self, samples: FaceDataset, device: torch.device) -> Validated:
        """The figures of the moving average. Raises InputError: a file is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Objective:
    """Forward passes of the networks of the GFP-GAN stage, and the terms that are minimised.

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

    def generator_main(self, batch: Batch, iteration: int) -> tuple[Tensor, Terms, Terms]:
        """The generator's faces (N, 3, S, S), RGB in [-1, 1], float32; its weighted terms; their squared error."""
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
        terms |= self._likeness(fake, true) | self._on_features(fake, true, iteration)
        if self.is_adversarial(iteration):
            terms |= self._generator_gan(fake, batch)
        return fake, terms, {"mse": F.mse_loss(fake.detach().clamp(-1, 1), batch.true)}

    def is_path_regularised(self, iteration: int) -> bool:
        """Never: the latent comes from the U-Net."""
        return False

    def generator_path_length(self, batch: Batch) -> tuple[Terms, Terms]:
        """No terms."""
        return {}, {}

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
        return terms

    def _on_features(self, fake: Tensor, true: Tensor, iteration: int) -> Terms:
        """The generator's terms on the features of EfficientNet-Lite0, which are computed once for both."""
        loss = self.options.loss
        is_judged = self.nets.projected is not None and self.is_adversarial(iteration)
        terms: Terms = {}
        if self.lite is None or not (loss.lite or is_judged):
            return terms
        features = self.lite(fake)
        if loss.lite:
            with torch.no_grad():
                wanted = self.lite(true)
            terms["lite"] = loss.lite * losses.feature_distance(features, wanted)
        if is_judged and self.nets.projected is not None:
            terms["gan_projected"] = loss.projected_gan * losses.generator_hinge(self.nets.projected(features))
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

    def discriminator_main(self, fake: Tensor, batch: Batch) -> tuple[Terms, Terms]:
        """The discriminators' losses on true faces and on the generator's (detached) faces `fake`.

        Logistic ones, and the hinge loss of the projected discriminator.
        """
        terms: Terms = {}
        net = self.nets.discriminator
        if net is not None:
            terms["d"] = losses.discriminator_gan(self._score(net, batch.true), self._score(net, fake))
        for name, size, box in self._component_boxes(batch):
            real_score, _ = self._score_component(name, losses.component_patches(batch.true, box, size))
            fake_score, _ = self._score_component(name, losses.component_patches(fake, box, size))
            terms[f"d_{name}"] = losses.discriminator_gan(real_score, fake_score)
        if self.nets.projected is not None and self.lite is not None:
            with torch.no_grad():
                real, made = self.lite(batch.true), self.lite(fake)
            terms["d_projected"] = losses.discriminator_hinge(self.nets.projected(real), self.nets.projected(made))
        return terms, {}

    def discriminator_r1(self, batch: Batch) -> Terms:
        """The R1 penalty of the whole-face discriminator, times `r1_every` for the iterations without it."""
        assert self.nets.discriminator is not None
        real = batch.true.detach().requires_grad_(True)
        score = self.nets.discriminator(self._emphasised(real))  # in fp32: its gradient is differentiated again
        weight = self.options.loss.r1 / 2 * self.options.r1_every
        return {"r1": weight * losses.r1_penalty(score, real)}

    def follow(self, values: Mapping[str, float], n_images: int) -> None:
        """Nothing is carried on besides networks and optimizers."""

    def validate(self, samples: FaceDataset, device: torch.device) -> Validated:
        """Restores faces with the moving average. Raises InputError: a file is gone."""
        return validate(self.nets.g_ema, samples, self.options.n_valid, device)

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
