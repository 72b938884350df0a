"""The training of the prior: its penalties, its draws, going on, what is written, and the GFP-GAN that takes it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from gfpcli.errors import InputError, UsageError
from gfpcli.model.paper import EqualLinear, MappingLayer
from gfpcli.train import losses
from gfpcli.train.data import Batch
from gfpcli.train.distributed import World
from gfpcli.train.fid import statistics_of
from gfpcli.train.loop import TrainCallbacks, TrainingRun, make_optimizers, set_rates, training_loop
from gfpcli.train.nets import generator_groups, make_nets
from gfpcli.train.options import TRAIN_PRESETS, TrainOptions
from gfpcli.train.prior import PriorObjective, drawn_noises, generated, mixed_latents
from gfpcli.train.prior_figure import Faces, PriorJudge, PriorValidation, judge_by, load_face_features
from gfpcli.train.state import score_of
from tests.train.conftest import options_of, samples_of

MakePrior = Callable[..., TrainingRun]


def prior_options(**changes: Any) -> TrainOptions:
    """The tiny prior at 32 px, half as wide."""
    small = {"size": 32, "narrow": 1 / 16, "batch_size": 4, "n_valid": 4, "validate_every": 1000, "save_every": 1000}
    return replace(TRAIN_PRESETS["prior-tiny"], **{**small, **changes})


def mean_colours(faces: Faces) -> NDArray[np.floating]:
    """Features that need no network."""
    return np.stack([face.reshape(-1, 3).mean(axis=0) for face in faces])


@pytest.fixture
def make_prior(tmp_path: Path) -> MakePrior:
    """Makes a run of the prior in `tmp_path/folder`."""

    def make(folder: str = "run", **changes: Any) -> TrainingRun:
        options = prior_options(**changes)
        nets = make_nets(options, None, None)
        samples = samples_of(options, 6)
        true = statistics_of(list(mean_colours([samples.sample(0, i).true for i in range(6)]).astype(float)))
        objective = PriorObjective(options, nets, PriorJudge(mean_colours, true))
        callbacks = TrainCallbacks(lambda *_: None, lambda *_: None, lambda _: None)
        return TrainingRun(options, tmp_path / folder, samples, replace(samples, faces=()), nets, objective,
                           torch.device("cpu"), World(), callbacks)  # fmt: skip

    return make


def rows_of(run: TrainingRun) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]


def batch_of(n: int, size: int = 32, seed: int = 7) -> Batch:
    faces = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return Batch(faces, faces, torch.zeros(n, 3, 4), seed)


def test_every_phase_is_there_at_its_interval(make_prior: MakePrior) -> None:
    run = make_prior(iterations=6, r1_every=4, path_every=3)
    training_loop(run)
    rows = rows_of(run)
    assert all({"gan", "d", "sign_real", "ada_p"} <= row.keys() for row in rows)
    assert [row["iteration"] for row in rows if "r1" in row] == [0, 4]
    assert [row["iteration"] for row in rows if "path_length" in row and "mean_path" in row] == [0, 3]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert "psnr" not in rows[0] and "mse" not in rows[0]


def test_r1_is_the_squared_gradient_of_d(make_prior: MakePrior) -> None:
    """Of a linear discriminator the gradient is its weights, for every face."""
    options = prior_options(r1_every=5)
    nets = make_nets(options, None, None)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1))
    objective = PriorObjective(options, replace(nets, discriminator=linear), None)  # type: ignore[arg-type]
    penalty = objective.discriminator_r1(batch_of(4))["r1"]
    by_hand = linear[1].weight.detach().square().sum()
    assert float(penalty.detach()) == pytest.approx(options.loss.r1 / 2 * 5 * float(by_hand), rel=1e-5)
    penalty.backward()
    expected = options.loss.r1 / 2 * 5 * 2 * linear[1].weight
    assert torch.allclose(linear[1].weight.grad, expected, rtol=1e-4)  # type: ignore[arg-type]


def test_r1_of_the_real_discriminator_is_that_of_finite_differences() -> None:
    """In double precision, channels last as in a run; its derivative by a weight too."""
    options = prior_options()
    net = make_nets(options, None, None).discriminator
    assert net is not None
    net = net.double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    faces = batch_of(2).true.double()
    direction = torch.randn(faces.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def penalty() -> Tensor:
        real = faces.clone().requires_grad_(True)
        return losses.r1_penalty(net(real), real)

    real = faces.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(net(real).sum(), real)
    with torch.no_grad():
        slope = (net(faces + 1e-6 * direction).sum() - net(faces - 1e-6 * direction).sum()) / 2e-6
    assert float((grad * direction).sum()) == pytest.approx(float(slope), rel=1e-5)
    assert float(penalty().detach()) == pytest.approx(float(grad.square().sum() / 2), rel=1e-9)
    weight = net.conv_body[1].conv1[0].weight
    penalty().backward()
    told = float(weight.grad[0, 0, 1, 1])
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight[0, 0, 1, 1] += step
        values.append(float(penalty().detach()))
        with torch.no_grad():
            weight[0, 0, 1, 1] -= step
    assert told == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


def test_path_lengths_of_a_linear_generator_are_those_by_hand() -> None:
    torch.manual_seed(1)
    matrix = torch.randn(3 * 8 * 8, 5, requires_grad=True)
    latent = torch.randn(4, 2, 5, requires_grad=True)
    faces = (latent.sum(dim=1) @ matrix.T).unflatten(1, (3, 8, 8))
    noise = torch.randn(faces.shape)
    lengths = losses.path_lengths(faces, latent, noise)
    by_hand = torch.stack([(each.flatten() @ matrix / 8).norm() for each in noise])  # the same for both codes
    assert torch.allclose(lengths, by_hand, rtol=1e-4)
    (told,) = torch.autograd.grad(lengths.sum(), matrix)
    (expected,) = torch.autograd.grad(by_hand.sum(), matrix)
    assert torch.allclose(told, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("arch", ["clean", "paper"])
def test_the_path_length_penalty_has_a_right_gradient(arch: str) -> None:
    options = prior_options(arch=arch)
    nets = make_nets(options, None, None)
    nets.generator.double(), nets.prior_state.double()  # type: ignore[union-attr]
    torch.set_default_dtype(torch.float64)
    try:
        objective = PriorObjective(options, nets, None)  # type: ignore[arg-type]
        weight = dict(nets.generator.named_parameters())["style_convs.1.modulated_conv.weight"]
        batch = replace(batch_of(4), true=batch_of(4).true.double())

        def penalty() -> Tensor:
            return objective.generator_path_length(batch)[0]["path_length"]

        penalty().backward()
        assert weight.grad is not None
        told, values = float(weight.grad[0, 0, 0, 1, 1]), []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[0, 0, 0, 1, 1] += step
            values.append(float(penalty().detach()))
            with torch.no_grad():
                weight[0, 0, 0, 1, 1] -= step
        assert told == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_penalty_is_by_the_moving_average_and_its_interval() -> None:
    options = prior_options(path_every=3)
    nets = make_nets(options, None, None)
    assert nets.prior_state is not None
    objective = PriorObjective(options, nets, None)  # type: ignore[arg-type]
    (at_0, measured), weight = objective.generator_path_length(batch_of(2)), options.loss.path_length * 3
    length = float(measured["mean_path"])  # of one face: half of two
    assert float(at_0["path_length"].detach()) == pytest.approx(weight * length**2, rel=1e-4)
    nets.prior_state.path_length.fill_(length + 0.5)
    terms, _ = objective.generator_path_length(batch_of(2))
    assert float(terms["path_length"].detach()) == pytest.approx(weight * 0.25, rel=1e-3)


def test_mixing_takes_another_style_from_a_random_layer_on() -> None:
    net = make_nets(prior_options(), None, None).generator
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        alone = mixed_latents(net, 50, 0.0, rng)  # type: ignore[arg-type]
        mixed = mixed_latents(net, 50, 1.0, rng)  # type: ignore[arg-type]
    assert (alone == alone[:, :1]).all()
    changes = (mixed[:, 1:] != mixed[:, :-1]).any(dim=2).sum(dim=1)
    assert (changes == 1).all()  # one crossover each
    places = (mixed != mixed[:, :1]).any(dim=2).float().argmax(dim=1)
    assert set(places.tolist()) == set(range(1, net.n_codes))  # type: ignore[arg-type]


def test_noise_and_faces_are_other_ones_in_each_batch_and_phase() -> None:
    nets = make_nets(prior_options(), None, None)
    objective = PriorObjective(prior_options(), nets, None)  # type: ignore[arg-type]
    one, same, other = (objective.generator_main(batch_of(4, seed=seed), 0)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.allclose(one, other)
    assert not torch.allclose(one[0], one[1])
    noises = drawn_noises(nets.generator, 2, torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    assert [tuple(noise.shape) for noise in noises] == [(2, 1, 4, 4)] + [(2, 1, s, s) for s in (8, 8, 16, 16, 32, 32)]


def test_the_discriminator_sees_true_and_generated_faces_augmented(make_prior: MakePrior) -> None:
    run = make_prior()
    assert run.nets.discriminator is not None and run.nets.prior_state is not None
    seen: list[Tensor] = []
    run.nets.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    batch, fake = batch_of(4), batch_of(4).true.flip(0)
    run.objective.discriminator_main(fake, batch)
    assert torch.equal(seen[0], batch.true) and torch.equal(seen[1], fake)  # p is 0
    run.nets.prior_state.p.fill_(1.0)
    run.objective.discriminator_main(fake, batch)
    run.objective.discriminator_r1(batch)
    made, _, _ = run.objective.generator_main(batch, 0)
    for given, plain in zip(seen[2:], (batch.true, fake, batch.true, made), strict=True):
        assert not torch.allclose(given, plain)


def test_clean_layers_learn_as_fast_as_the_paper_s() -> None:
    """Adam with a share of the rate moves a plain layer as it moves a scaled one with the same product."""
    torch.manual_seed(1)
    scaled, mapping = EqualLinear(512, 512), MappingLayer(512)
    net = make_nets(prior_options(), None, None).generator
    shares = {id(weight): group["share"] for group in generator_groups(net) for weight in group["params"]}
    named = dict(net.named_parameters())
    modulation, layer = named["style_conv1.modulated_conv.modulation.weight"], named["style_mlp.1.weight"]
    assert shares[id(modulation)] == pytest.approx(512**-0.5)
    assert shares[id(named["style_conv1.modulated_conv.weight"])] == pytest.approx((32 * 9) ** -0.5)
    assert shares[id(named["constant_input.weight"])] == shares[id(named["style_conv1.bias"])] == 1

    def moved(weight: Tensor, share: float, scale: float) -> float:
        """The step of the product of scale and weight."""
        plain = nn.Parameter(weight.detach().clone())
        adam = torch.optim.Adam([plain], 1e-3 * share)
        plain.grad = torch.ones_like(plain)
        adam.step()
        return float((plain - weight).abs().mean().detach()) * scale

    assert moved(modulation, shares[id(modulation)], 1) == pytest.approx(moved(scaled.weight, 1, 512**-0.5), rel=1e-3)
    # the paper's activation has a gain of sqrt(2) behind the layer, the clean one has it in the weights
    paper = moved(mapping.weight, 1, 0.01 * 512**-0.5 * 2**0.5)
    assert moved(layer, shares[id(layer)], 1) == pytest.approx(paper, rel=1e-3)
    ours, theirs = (float(weight.detach().std()) for weight in (layer, mapping.weight))
    assert ours == pytest.approx(theirs * 0.01 * (2 / 512) ** 0.5, rel=0.05)  # as strong at the start


def test_the_rates_of_the_groups_follow_the_schedule() -> None:
    options = prior_options(warmup=3)
    optimizers = make_optimizers(options, make_nets(options, None, None))
    set_rates(optimizers, options, 1)
    for group in optimizers["generator"].param_groups:
        assert group["lr"] == pytest.approx(options.rate * 0.5 * group["share"])
    paper = make_nets(prior_options(arch="paper"), None, None).generator
    assert [group["share"] for group in generator_groups(paper)] == [1.0]


def test_w_varies_at_the_start_in_both_layouts() -> None:
    for arch in ("clean", "paper"):
        net = make_nets(prior_options(arch=arch), None, None).generator
        with torch.no_grad():
            w = net.mapping(torch.randn(200, 512))  # type: ignore[operator]
        assert 0.3 < float(w.std(dim=0).mean()) < 3, arch


def test_a_resumed_prior_equals_an_uninterrupted_one(make_prior: MakePrior) -> None:
    changes = {"ada_images": 300, "path_every": 2, "r1_every": 3}
    whole, half = (make_prior(folder, iterations=n, **changes) for folder, n in (("whole", 6), ("parts", 3)))
    for run in (whole, half):
        run.nets.prior_state.p.fill_(0.5)  # type: ignore[union-attr]  # augmented from the start
        training_loop(run)
    parts = make_prior("parts", iterations=6, **changes)
    training_loop(parts)
    assert rows_of(parts) == rows_of(whole)  # to the last bit
    assert {row["ada_p"] for row in rows_of(whole)} != {0.5}  # p has changed
    one, other = (load_file(run.folder / "last.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    for key, value in whole.nets.prior_state.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, parts.nets.prior_state.state_dict()[key])  # type: ignore[union-attr]


def test_training_changes_the_faces_towards_the_true_ones(make_prior: MakePrior) -> None:
    run = make_prior(iterations=25, ema=10, n_valid=16)
    before = run.objective.validate(run.samples, run.device)
    training_loop(run)
    after = run.objective.validate(run.samples, run.device)
    assert isinstance(before, PriorValidation) and isinstance(after, PriorValidation)
    assert after.distance < 0.7 * before.distance


def test_best_is_the_network_of_the_lowest_distance(make_prior: MakePrior, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = iter((5.0, 2.0, 3.0))
    monkeypatch.setattr(PriorJudge, "__call__", lambda *_: next(shown))
    run = make_prior(iterations=3, validate_every=1)
    told: list[str] = []
    callbacks = replace(run.callbacks, validation=lambda iteration, result: told.append(result.told))
    assert training_loop(replace(run, callbacks=callbacks)).best == -2.0
    assert score_of(run.folder / "best.safetensors") == -2.0
    assert told[1] == "Frechet distance of identity features 2.0000 (4 generated faces)"
    grid = cv2.imread(str(run.folder / "grids" / "0000003.png"))
    assert grid.shape == (4 * 32, 8 * 32, 3)


def test_truncation_draws_faces_towards_the_mean() -> None:
    net = make_nets(prior_options(), None, None).g_ema
    device = torch.device("cpu")

    def faces(psi: float) -> NDArray[np.floating]:
        return np.concatenate(list(generated(net, 9, psi, device))).astype(float)  # type: ignore[arg-type]

    wide, narrow, mean = (faces(psi) for psi in (1.0, 0.5, 0.0))
    assert np.abs(faces(0.9999) - wide).max() <= 1
    assert (wide == faces(1.0)).all()  # the same z every time
    assert (mean == mean[0]).all() and 0 < np.abs(narrow - mean).mean() < np.abs(wide - mean).mean()


def test_the_judge_compares_with_the_training_faces() -> None:
    samples = samples_of(prior_options(n_valid=3), 4)
    judge = judge_by(samples, mean_colours)
    chosen = [samples.sample(0, int(index)).true for index in samples.epoch_order(0)[:3]]
    assert judge.true.n_pictures == 3 and judge(chosen) == pytest.approx(0, abs=1e-6)
    assert judge([255 - face for face in chosen]) > 1
    with pytest.raises(InputError, match="at least 2 faces"):
        judge_by(samples_of(prior_options(), 1), mean_colours)


def test_features_are_of_the_built_in_network_or_of_fid_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_photo: NDArray[np.uint8]
) -> None:
    cpu = torch.device("cpu")
    vectors = load_face_features(None, cpu)([one_photo, one_photo[::-1]])
    assert vectors.shape == (2, 128) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)

    class Inception(nn.Module):
        def forward(self, faces: Tensor) -> list[Tensor]:
            return [faces.mean(dim=(2, 3), keepdim=True)]

    monkeypatch.setattr("gfpcli.train.prior_figure.inception", lambda weights: Inception())
    rows = load_face_features(tmp_path / "inception.pth", cpu)([one_photo])
    assert np.allclose(rows[0], one_photo.mean(axis=(0, 1))[::-1] / 127.5 - 1, atol=1e-4)


def test_a_prior_sees_faces_as_they_are() -> None:
    samples = samples_of(prior_options(), 4)
    one = samples.sample(0, 1)
    assert (one.low == one.true).all()
    assert one.seed == samples.sample(0, 1).seed != samples.sample(1, 1).seed
    assert one.seed != replace(samples, salt=1).sample(0, 1).seed


def test_what_has_no_meaning_for_a_prior_is_refused() -> None:
    prior = TRAIN_PRESETS["prior-tiny"]
    for changes, reason in (
        ({"arch": "compact-unet", "size": 256}, "has no prior"),
        ({"loss": replace(prior.loss, l1=1.0)}, "loss.l1: a prior has gan, r1, path_length only"),
        ({"loss": replace(prior.loss, gan=0.0)}, "loss.gan=0"),
        ({"gan_from": 5}, "set gan_from: a prior is trained without it"),
        ({"prior": "a.pth"}, "^--prior: a prior"),
        ({"degrade": TRAIN_PRESETS["tiny"].degrade}, "set degrade"),
        ({"mixing": 1.5}, "mixing"),
    ):
        with pytest.raises(UsageError, match=reason):
            replace(prior, **changes)
    with pytest.raises(UsageError, match="only a prior has it"):
        replace(TRAIN_PRESETS["tiny"], loss=replace(TRAIN_PRESETS["tiny"].loss, path_length=1.0))


def test_a_trained_prior_is_the_decoder_of_the_gfpgan_stage(make_prior: MakePrior) -> None:
    for arch in ("clean", "paper"):
        run = make_prior(arch, arch=arch, iterations=2)
        training_loop(run)
        best = run.folder / "best.safetensors"
        stage = options_of(arch=arch, narrow=1 / 16)
        nets = make_nets(stage, None, best)
        decoder = nets.generator.stylegan_decoder.state_dict()  # type: ignore[union-attr]
        saved = load_file(best)
        assert saved.keys() == decoder.keys()
        assert all(torch.equal(saved[key], decoder[key]) for key in saved)
        again = make_nets(run.options, best, None).generator.state_dict()  # --from goes on from it
        assert all(torch.equal(saved[key], again[key]) for key in saved)
