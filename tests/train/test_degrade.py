"""Degradations: what is drawn, and what it does to a face."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import UsageError
from gfpcli.train.degrade import Degradation, Round, degrade, draw_degradation, make_pair, motion_kernel, target_of
from gfpcli.train.degrade_options import DEGRADATIONS as PRESETS
from gfpcli.train.degrade_options import RANGE_LIMITS, DegradeOptions
from gfpcli.train.old_prints import Damage, Fading, Grain, Halftone

Make = Callable[[int, int], NDArray[np.uint8]]
PINNED = (4.8130574, 6.6182318, 7.8435194, 61)  # sigma, shrink, noise and quality of one draw
NO_ROUND = Round(0.1, 0.1, 0.0, 1.0, 0.0, 0, 100)
NOTHING = Degradation(NO_ROUND)
EFFECTS = {  # field of a degradation: its chance among the options
    "motion": "motion_chance", "fading": "fading_chance", "grain": "grain_chance", "halftone": "halftone_chance",
    "damage": "damage_chance", "second": "second_chance", "sinc": "sinc_chance", "codec": "codec_chance",
}  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_draws_fill_their_ranges_and_stay_inside(preset: str) -> None:
    options = replace(PRESETS[preset], mild_share=0.0, halftone_chance=0.0)  # a screen limits what comes after it
    draws = [draw_degradation(options, np.random.default_rng(seed)) for seed in range(3000)]
    for name in ("shrink", "noise", "quality"):
        low, high = getattr(options, name)
        values = [getattr(each.first, name) for each in draws]
        assert low <= min(values) < low + 0.05 * (high - low) + 1e-9
        assert high - 0.05 * (high - low) - 1e-9 < max(values) <= high
    low, high = options.sigma
    assert all(low <= each.first.sigma_x <= high and low <= each.first.sigma_y <= high for each in draws)
    shares = {
        "iso_chance": np.mean([each.first.sigma_x == each.first.sigma_y for each in draws]),
        "shift_chance": np.mean([each.shift is not None for each in draws]),
        "jitter_chance": np.mean([each.jitter is not None for each in draws]),
        "gray_chance": np.mean([each.is_gray for each in draws]),
        **{chance: np.mean([getattr(each, name) is not None for each in draws]) for name, chance in EFFECTS.items()},
    }
    for name, share in shares.items():
        assert abs(share - getattr(options, name)) < 0.03, name


def test_the_paper_preset_is_the_reference() -> None:
    paper = PRESETS["paper"]
    assert (paper.kernel_size, paper.sigma, paper.shrink, paper.noise) == (41, (0.1, 10), (0.8, 8), (0, 20))
    assert (paper.quality, paper.shift, paper.shift_chance, paper.gray_chance) == ((60, 100), 20, 0.3, 0.01)


def test_the_same_state_gives_the_same_face_and_another_another(smooth_image: Make) -> None:
    face = smooth_image(128, 128)
    one, same, other = (draw_degradation(PRESETS["paper"], np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert one == same and one != other
    assert (degrade(face, one) == degrade(face, same)).all()
    assert (degrade(face, one) != degrade(face, other)).any()


@pytest.mark.parametrize(
    "change",
    [
        {"first": replace(NO_ROUND, sigma_x=3.0, sigma_y=3.0)},
        {"first": replace(NO_ROUND, sigma_x=3.0, sigma_y=3.0, shape="plateau", power=2.0)},
        {"first": replace(NO_ROUND, shrink=4.0)},
        {"first": replace(NO_ROUND, noise=15.0)},
        {"first": replace(NO_ROUND, noise=15.0, is_shot_noise=True)},
        {"first": replace(NO_ROUND, quality=20)},
        {"second": replace(NO_ROUND, shrink=4.0)},
        {"shift": (15.0, -15.0, 0.0)},
        {"motion": (80.0, 0.0)},
        {"fading": Fading(0.8, 20.0, 0.5, (0.7, 0.9, 1.0))},
        {"grain": Grain(12.0, 1.0, 1)},
        {"halftone": Halftone(5.0, 10.0, 1.0, True)},
        {"damage": Damage(9, 9, 90, 1)},
        {"sinc": 1.1},
        {"codec": ("libx264", 44)},
        {"codec": ("mpeg4", 51)},
    ],
)
def test_each_step_does_something(smooth_image: Make, change: dict[str, object]) -> None:
    face = np.repeat(smooth_image(128, 128)[..., :1], 3, axis=2)  # gray: JPEG halves the colours' resolution
    base = degrade(face, NOTHING).astype(float)
    assert np.abs(base - face).mean() < 2  # JPEG of quality 100
    assert np.abs(degrade(face, replace(NOTHING, **change)) - base).mean() > 1.5  # type: ignore[arg-type]


def test_gray_is_gray_and_odd_sizes_keep_their_size(smooth_image: Make) -> None:
    out = degrade(
        smooth_image(97, 61),
        replace(NOTHING, first=replace(NO_ROUND, shrink=7.3), is_gray=True, jitter=(1.2, 0.8, 0.5, 0.05)),
    )
    assert out.shape == (97, 61, 3) and (out == out[..., :1]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigma": (3.0, 1.0)}, {"sigma": (0.0, 0.0)}, {"shrink": (0.0, 0.0)}, {"noise": (-9.0, -1.0)},
        {"quality": (200.0, 300.0)}, {"hue": (0.0, math.inf)}, {"contrast": (math.nan, math.nan)}, {"shift": -1.0},
        {"gray_chance": 1.5}, {"damage_chance": -0.1}, {"mild_share": 2.0}, {"crf": (20.0, 60.0)},
        {"halftone": (0.0, 2.0)}, {"kernel_size": 40}, {"kernel_size": 10**9 + 1},
    ],
)  # fmt: skip
def test_values_that_cannot_be_drawn_or_applied_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        DegradeOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RANGE_LIMITS)
def test_the_limits_themselves_can_be_applied(smooth_image: Make, name: str) -> None:
    face = smooth_image(32, 32)
    for limit in RANGE_LIMITS[name]:
        every = dict.fromkeys((*EFFECTS.values(), "jitter_chance"), 1.0)
        few = {"specks": (1.0, 1.0), name: (limit, limit)}
        options = DegradeOptions(kernel_size=9, **every, **few)  # type: ignore[arg-type]
        for seed in range(3):
            drawn = draw_degradation(options, np.random.default_rng(seed))
            assert degrade(face, drawn, kernel_size=9).shape == face.shape


def test_an_effect_that_is_off_changes_no_other_draw() -> None:
    """The paper's draws come first, so that runs that know no more are what they were."""
    for seed in range(50):
        plain = draw_degradation(PRESETS["paper"], np.random.default_rng(seed))
        codec = draw_degradation(replace(PRESETS["paper"], codec_chance=1.0), np.random.default_rng(seed))
        assert replace(codec, codec=None) == plain and codec.codec is not None


def test_the_paper_s_draws_are_pinned() -> None:
    drawn = draw_degradation(PRESETS["paper"], np.random.default_rng(20210611))
    first = drawn.first
    assert (first.sigma_x, first.shrink, first.noise) == pytest.approx(PINNED[:3]) and first.quality == PINNED[3]


@pytest.mark.parametrize("name", PRESETS)
def test_a_named_degradation_makes_the_same_pair_each_time(smooth_image: Make, name: str) -> None:
    face = smooth_image(96, 96)
    (low, true), (again, _), (other, _) = (make_pair(name, face, seed) for seed in (3, 3, 4))
    assert low.shape == true.shape == face.shape and low.dtype == true.dtype == np.uint8
    assert (low == again).all() and (low != other).any() and (low != true).any()


def test_a_degradation_of_another_name_is_refused(smooth_image: Make) -> None:
    with pytest.raises(UsageError, match="choose one of paper, mild, video, second-order"):
        make_pair("rust", smooth_image(32, 32), 0)


def test_mild_draws_have_their_share_and_are_mild() -> None:
    options = replace(PRESETS["scratched"], mild_share=0.3)
    draws = [draw_degradation(options, np.random.default_rng(seed)) for seed in range(2000)]
    mild = [each for each in draws if each.damage is None]
    assert abs(len(mild) / len(draws) - 0.3) < 0.03
    assert all(each.first.shrink <= 2 and each.first.sigma_x <= 1.5 and each.first.quality >= 80 for each in mild)
    assert all(replace(each, first=NO_ROUND) == NOTHING for each in mild)


def test_fading_stays_in_the_target_unless_it_is_to_be_repaired(smooth_image: Make) -> None:
    """Scratches and dots are repaired; a sepia photo keeps its tone, as the photo around the face does."""
    face = smooth_image(64, 64)
    drawn = replace(NOTHING, fading=Fading(1.0, 0.0, 0.0, (0.6, 0.85, 1.0)), damage=Damage(2, 2, 9, 0))
    toned = target_of(face, drawn)
    assert np.abs(toned[..., 0] / np.maximum(toned[..., 2], 1.0) - 0.6)[toned[..., 2] > 60].max() < 0.03
    assert (target_of(face, replace(drawn, is_fading_repaired=True)) == face).all()
    assert (target_of(face, replace(drawn, fading=None)) == face).all()
    error = degrade(face, replace(drawn, damage=None)).astype(float) - toned
    assert np.abs(error).mean() < 3, "what is left of the degraded face is its target"


def test_gray_screens_make_the_target_gray() -> None:
    options = replace(PRESETS["halftone"], mild_share=0.0, fading_chance=0.5, colour_share=0.4)
    draws = [draw_degradation(options, np.random.default_rng(seed)) for seed in range(600)]
    assert all(each.halftone is not None for each in draws)
    gray = [each for each in draws if each.halftone and not each.halftone.is_colour]
    assert abs(len(gray) / len(draws) - 0.6) < 0.06 and all(each.fading is not None for each in gray)
    shown = [(each.first.shrink, each.halftone.cell) for each in draws if each.halftone]
    assert all(shrink <= 4 and cell >= 2 * shrink for shrink, cell in shown)


@pytest.mark.parametrize("angle", [0.0, math.pi / 4, math.pi / 2, 2.5])
def test_motion_blurs_along_its_line_only(angle: float) -> None:
    kernel = motion_kernel(20.0, angle)
    assert kernel.sum() == pytest.approx(1) and kernel.shape[0] % 2 == 1
    y, x = (np.indices(kernel.shape) - kernel.shape[0] // 2).astype(float)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    assert abs((kernel * along).sum()) < 0.1 and abs((kernel * across).sum()) < 0.1
    assert (kernel * along**2).sum() == pytest.approx(20**2 / 12, rel=0.1) and (kernel * across**2).sum() < 0.5


def test_shot_noise_grows_with_the_light() -> None:
    step = np.full((64, 128, 3), 30, np.uint8)
    step[:, 64:] = 200
    noisy = degrade(step, replace(NOTHING, first=replace(NO_ROUND, noise=8.0, is_shot_noise=True))).astype(float)
    dark, light = noisy[:, 4:60].std(), noisy[:, 68:124].std()
    assert light / dark == pytest.approx((200 / 30) ** 0.5, rel=0.15)
    gray = degrade(step, replace(NOTHING, first=replace(NO_ROUND, noise=8.0, is_gray_noise=True))).astype(float)
    assert np.abs(gray - gray.mean(axis=2, keepdims=True)).max() <= 3  # JPEG's rounding
