"""Networks of a run: official widths, priors, released discriminators, what is frozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gfpcli.errors import CheckpointError, UsageError
from gfpcli.model.checkpoint import kind_of, read_state
from gfpcli.model.discriminator import ComponentDiscriminator, StyleGAN2Discriminator
from gfpcli.train.nets import load_discriminators, make_nets, shape_for, update_ema, widths_of
from gfpcli.train.options import TRAIN_PRESETS
from gfpcli.weights.cache import BUILTINS
from tests.model.test_gfpgan import reference
from tests.train.conftest import options_of

FULL = {"gan": 0.1, "component_gan": 1.0}


def test_the_paper_preset_has_the_official_widths() -> None:
    paper = TRAIN_PRESETS["paper-512"]
    assert widths_of(512, 1.0, 1) == (512, 512, 512, 512, 256, 128, 64, 32)
    shape = shape_for(paper)
    assert shape.unet == (256, 256, 256, 256, 128, 64, 32, 16)
    theirs = reference("paper", 64, 1, 1).state_dict()
    nets = make_nets(replace(paper, size=64), None, None)
    ours = nets.generator.state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
    clean = make_nets(replace(paper, arch="clean", size=64, multiplier=2), None, None).generator.state_dict()
    official = reference("clean", 64, 1, 2).state_dict()
    assert {key: value.shape for key, value in clean.items()} == {key: value.shape for key, value in official.items()}


def test_the_same_seed_gives_the_same_networks() -> None:
    one, same, other = (make_nets(options_of(seed=seed), None, None).generator.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one) and any((one[key] != other[key]).any() for key in one)


@pytest.mark.parametrize("arch", ["clean", "paper"])
def test_a_prior_goes_into_the_decoder_and_stays_fixed(tmp_path: Path, arch: str) -> None:
    options = options_of(arch=arch, narrow=0.25)
    donor = make_nets(replace(options, seed=9), None, None).generator.stylegan_decoder
    path = tmp_path / "prior.pth"
    torch.save({"params_ema": donor.state_dict()}, path)  # type: ignore[union-attr]
    net = make_nets(options, None, path).generator
    assert all(torch.equal(a, b) for a, b in zip(
        donor.state_dict().values(), net.stylegan_decoder.state_dict().values(), strict=True))  # type: ignore[union-attr]  # fmt: skip
    assert not any(weight.requires_grad for weight in net.stylegan_decoder.parameters())  # type: ignore[union-attr]
    free = make_nets(replace(options, is_prior_fixed=False), None, path).generator
    assert any(weight.requires_grad for weight in free.stylegan_decoder.parameters())  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match="does not fit"):
        make_nets(replace(options, narrow=0.5), None, path)
    torch.save({"head.weight": torch.zeros(3), "middle.conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not a StyleGAN2 generator"):
        make_nets(options, None, path)


def test_the_512_px_preset_goes_on_from_the_built_in_core() -> None:
    options = TRAIN_PRESETS["compact-512"]
    state = make_nets(options, BUILTINS[options.start], None).generator.state_dict()
    core = read_state(BUILTINS["compact"])
    assert all(torch.equal(state[f"core.{key}"], value) for key, value in core.items())
    assert kind_of(state) == "compact-512" and not state["large.conv3.weight"].any()
    fresh = make_nets(options, None, None).generator.state_dict()
    assert {key: value.shape for key, value in fresh.items()} == {key: value.shape for key, value in state.items()}


def test_512_px_weights_do_not_go_on_at_256(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(make_nets(TRAIN_PRESETS["compact-512"], None, None).generator.state_dict(), path)
    assert make_nets(TRAIN_PRESETS["compact-512"], path, None).generator.size == 512
    with pytest.raises(UsageError, match="--set arch=compact-512 goes on from it"):
        make_nets(TRAIN_PRESETS["compact"], path, None)
    with pytest.raises(UsageError, match="compact-512 takes 512"):
        replace(TRAIN_PRESETS["compact-512"], size=256)


def test_the_official_stylegan2_generator_fits_as_prior(tmp_path: Path) -> None:
    reference("paper", 32, 0.25, 1)  # prepares the imports
    from basicsr.archs.stylegan2_arch import StyleGAN2Generator

    theirs = StyleGAN2Generator(32, num_style_feat=512, num_mlp=8, channel_multiplier=1, narrow=0.25)
    path = tmp_path / "prior.pth"
    torch.save({"params_ema": theirs.state_dict()}, path)
    net = make_nets(options_of(arch="paper", narrow=0.25), None, path).generator
    own = net.stylegan_decoder.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in own.items())


def test_released_discriminators_load(tmp_path: Path) -> None:
    options = options_of(loss=FULL)
    nets = make_nets(options, None, None)
    torch.manual_seed(3)
    whole = StyleGAN2Discriminator(tuple(reversed(widths_of(32, options.narrow, 1))))
    files = {"discriminator": tmp_path / "d.pth", "mouth": tmp_path / "mouth.pth"}
    torch.save({"params": whole.state_dict()}, files["discriminator"])
    torch.save({"params": ComponentDiscriminator().state_dict()}, files["mouth"])
    load_discriminators(nets, files)
    assert torch.equal(nets.discriminator.final_linear[1].weight, whole.final_linear[1].weight)  # type: ignore
    with pytest.raises(CheckpointError, match="not a discriminator"):
        load_discriminators(nets, {"mouth": files["discriminator"]})


def test_going_on_from_a_checkpoint_names_what_does_not_fit(tmp_path: Path) -> None:
    options = options_of()
    path = tmp_path / "own.pth"
    before = make_nets(options, None, None).generator.state_dict()
    torch.save(before, path)
    after = make_nets(replace(options, seed=5), path, None).generator.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    with pytest.raises(UsageError, match="--set arch=clean"):
        make_nets(replace(options, arch="paper"), path, None)
    with pytest.raises(UsageError, match="--set size=32"):
        make_nets(replace(options, size=64), path, None)


def test_parts_that_are_not_run_are_not_trained() -> None:
    net = make_nets(options_of(), None, None).generator
    names = {name.split(".")[0] for name, weight in net.named_parameters() if not weight.requires_grad}
    assert names == {"stylegan_decoder", "toRGB"}
    net = make_nets(options_of(loss={"pyramid": 1.0}), None, None).generator
    assert all(weight.requires_grad for weight in net.toRGB.parameters())  # type: ignore[union-attr]


def test_the_running_mean() -> None:
    one, other = (make_nets(options_of(seed=seed), None, None).generator for seed in (1, 2))
    want = {
        k: 0.9 * a + 0.1 * b for (k, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    }
    update_ema(one, other, 0.9)
    assert all(torch.allclose(value, want[key], atol=1e-6) for key, value in one.state_dict().items())
