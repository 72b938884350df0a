"""Film and paper: what each effect does, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from gfpcli.train.old_prints import Damage, Fading, Grain, Halftone, add_grain, damage, fade, print_halftone


def flat(value: float, side: int = 128) -> np.ndarray:
    return np.full((side, side, 3), value, np.float32)


@pytest.mark.parametrize("is_colour", [False, True])
@pytest.mark.parametrize("tone", [40.0, 128.0, 215.0])
def test_a_screen_keeps_the_tone_and_hides_it_in_dots(tone: float, is_colour: bool) -> None:
    dots = print_halftone(flat(tone), Halftone(6.0, 20.0, 1.0, is_colour))
    assert dots.mean() == pytest.approx(tone, abs=12) and dots.std() > 40
    assert dots.min() >= 0 and dots.max() <= 255


def test_a_screen_repeats_at_its_cell_and_angle() -> None:
    """The strongest wave of the printed picture, beside its mean."""
    dots = print_halftone(flat(128.0), Halftone(8.0, -45.0, 1.0, False))[..., 0]  # with its own 45 degrees: upright
    power = np.abs(np.fft.fft2(dots - dots.mean()))
    y, x = np.unravel_index(int(power.argmax()), power.shape)
    assert sorted((min(y, 128 - y), min(x, 128 - x))) == [0, 16]


def test_a_weak_screen_lies_between_the_picture_and_its_dots() -> None:
    image = flat(100.0)
    strong, weak = (print_halftone(image, Halftone(6.0, 0.0, strength, True)) for strength in (1.0, 0.25))
    assert np.allclose(weak, image + 0.25 * (strong - image), atol=1e-3)


def test_inks_are_those_of_the_colours() -> None:
    red = np.zeros((96, 96, 3), np.float32)
    red[..., 2] = 255
    dots = print_halftone(red, Halftone(6.0, 0.0, 1.0, True))
    assert dots[..., 2].mean() > 245 and dots[..., :2].mean() < 10


def test_grain_is_gray_strongest_in_the_middle_and_as_strong_as_told() -> None:
    middle, dark = (add_grain(flat(tone), Grain(10.0, 0.8, 3)) - tone for tone in (128.0, 8.0))
    assert np.ptp(middle, axis=2).max() < 1e-3
    assert middle.std() == pytest.approx(10.0, rel=0.1) and dark.std() < 0.7 * middle.std()
    fine, coarse = (add_grain(flat(128.0, 512), Grain(10.0, width, 3))[..., 0] for width in (0.0, 1.5))
    assert np.abs(np.diff(coarse)).mean() < 0.5 * np.abs(np.diff(fine)).mean()


def test_fading_to_gray_and_to_sepia() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (8, 8, 3)).astype(np.float32)
    gray = fade(image, Fading(1.0, 0.0, 0.0, (1.0, 1.0, 1.0)))
    assert np.allclose(gray, (image @ [0.114, 0.587, 0.299])[..., None], atol=1e-3)
    sepia = fade(image, Fading(0.5, 20.0, 0.0, (0.6, 0.8, 1.0)))
    assert np.allclose(sepia, 20 + gray * 0.5 * np.array([0.6, 0.8, 1.0]), atol=1e-3)
    assert np.allclose(fade(image, Fading(1.0, 0.0, 1.0, (1.0, 1.0, 1.0))), image, atol=1e-3)


@pytest.mark.parametrize(
    ("drawn", "least", "most"),
    [(Damage(0, 0, 0, 1), 0.0, 0.0), (Damage(3, 0, 0, 1), 0.002, 0.1), (Damage(0, 5, 0, 1), 0.002, 0.1),
     (Damage(0, 0, 60, 1), 0.001, 0.05)],
)  # fmt: skip
def test_damage_covers_a_little_and_leaves_the_rest(drawn: Damage, least: float, most: float) -> None:
    image = flat(120.0, 256)
    out = damage(image, drawn)
    assert least <= (np.abs(out - image).max(axis=2) > 4).mean() <= most
    assert out.min() >= 0 and out.max() <= 255 and (image == 120).all()
    assert (out == damage(image, drawn)).all()


def test_damage_is_as_large_as_the_face() -> None:
    """The same draw at twice the size covers about the same share of the picture."""
    shares = [
        np.mean([np.abs(damage(flat(120.0, side), Damage(2, 3, 30, seed)) - 120).max(axis=2) > 10 for seed in range(8)])
        for side in (256, 512)
    ]
    assert shares[1] == pytest.approx(shares[0], rel=0.35)
