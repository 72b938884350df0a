"""Degradations: what is drawn, and what it does to a face."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import UsageError
from gfpcli.train.degrade import Degradation, degrade, draw_degradation
from gfpcli.train.options import DEGRADATIONS as PRESETS
from gfpcli.train.options import RANGE_LIMITS, DegradeOptions

Make = Callable[[int, int], NDArray[np.uint8]]
NOTHING = Degradation(0.1, 0.1, 0.0, 1.0, 0.0, 0, 100, None, None, False)


@pytest.mark.parametrize("preset", PRESETS)
def test_draws_fill_their_ranges_and_stay_inside(preset: str) -> None:
    options = PRESETS[preset]
    draws = [draw_degradation(options, np.random.default_rng(seed)) for seed in range(3000)]
    for name in ("shrink", "noise", "quality"):
        low, high = getattr(options, name)
        values = [getattr(each, name) for each in draws]
        assert low <= min(values) < low + 0.05 * (high - low) + 1e-9
        assert high - 0.05 * (high - low) - 1e-9 < max(values) <= high
    low, high = options.sigma
    assert all(low <= each.sigma_x <= high and low <= each.sigma_y <= high for each in draws)
    shares = {
        "iso_chance": np.mean([each.sigma_x == each.sigma_y for each in draws]),
        "shift_chance": np.mean([each.shift is not None for each in draws]),
        "jitter_chance": np.mean([each.jitter is not None for each in draws]),
        "gray_chance": np.mean([each.is_gray for each in draws]),
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
        {"sigma_x": 3.0, "sigma_y": 3.0},
        {"shrink": 4.0},
        {"noise": 15.0},
        {"quality": 20},
        {"shift": (15.0, -15.0, 0.0)},
    ],
)
def test_each_step_does_something(smooth_image: Make, change: dict[str, object]) -> None:
    face = np.repeat(smooth_image(128, 128)[..., :1], 3, axis=2)  # gray: JPEG halves the colours' resolution
    base = degrade(face, NOTHING).astype(float)
    assert np.abs(base - face).mean() < 2  # JPEG of quality 100
    assert np.abs(degrade(face, replace(NOTHING, **change)) - base).mean() > 1.5  # type: ignore[arg-type]


def test_gray_is_gray_and_odd_sizes_keep_their_size(smooth_image: Make) -> None:
    out = degrade(smooth_image(97, 61), replace(NOTHING, is_gray=True, shrink=7.3, jitter=(1.2, 0.8, 0.5, 0.05)))
    assert out.shape == (97, 61, 3) and (out == out[..., :1]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigma": (3.0, 1.0)}, {"sigma": (0.0, 0.0)}, {"shrink": (0.0, 0.0)}, {"noise": (-9.0, -1.0)},
        {"quality": (200.0, 300.0)}, {"hue": (0.0, math.inf)}, {"contrast": (math.nan, math.nan)}, {"shift": -1.0},
        {"gray_chance": 1.5}, {"kernel_size": 40}, {"kernel_size": 10**9 + 1},
    ],
)  # fmt: skip
def test_values_that_cannot_be_drawn_or_applied_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        DegradeOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RANGE_LIMITS)
def test_the_limits_themselves_can_be_applied(smooth_image: Make, name: str) -> None:
    face = smooth_image(32, 32)
    for limit in RANGE_LIMITS[name]:
        options = DegradeOptions(kernel_size=9, jitter_chance=1.0, **{name: (limit, limit)})  # type: ignore[arg-type]
        for seed in range(3):
            drawn = draw_degradation(options, np.random.default_rng(seed))
            assert degrade(face, drawn, kernel_size=9).shape == face.shape
