"""Adaptive discriminator augmentation: what it changes, how often, and how p follows the discriminator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gfpcli.train import ada
from gfpcli.train.ada import PriorState, augment, drawn_affines, drawn_colours


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chance(p: float) -> Tensor:
    return torch.tensor(p)


def test_p_of_0_changes_nothing_and_a_seed_gives_the_same() -> None:
    faces = torch.rand(4, 3, 16, 16) * 2 - 1
    assert augment(faces, chance(0.0), rng()) is faces
    one, same, other = (augment(faces, chance(0.7), rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_mirrors_turns_and_shifts_move_whole_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scaling, free turns and colours every pixel is one of the face's."""
    monkeypatch.setattr(ada, "SCALE_SPREAD", 0.0)
    monkeypatch.setattr(ada, "drawn_colours", lambda n, *_: (torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 3, 1)))
    monkeypatch.setattr(ada, "FREE_TURN", 0.0)
    faces = torch.rand(1, 3, 16, 16).repeat(40, 1, 1, 1)
    moved = augment(faces, chance(1.0), rng())
    values = faces[0].flatten().sort().values
    at = torch.searchsorted(values, moved.flatten() - 1e-5).clamp(max=len(values) - 1)
    assert torch.allclose(values[at], moved.flatten(), atol=1e-4)
    affines = drawn_affines(40, 16, chance(1.0), rng())
    assert torch.allclose(torch.linalg.det(affines), torch.tensor(-1.0), atol=1e-5)  # all mirrored
    shifts = affines[:, :2, 2] * 8  # px of 16
    assert torch.allclose(shifts, shifts.round(), atol=1e-4) and float(shifts.abs().max()) == pytest.approx(2, abs=1e-4)


def test_each_change_comes_with_its_chance() -> None:
    n = 4000
    identity = (drawn_affines(n, 64, chance(0.2), rng()) - torch.eye(3)).abs().flatten(1).amax(dim=1) < 1e-6
    unchanged = 0.8**4 * (1 - 0.2 * 3 / 4)  # one quarter turn in four is by 0
    assert float(identity.float().mean()) == pytest.approx(unchanged, abs=0.03)
    matrix, offset = drawn_colours(n, chance(0.2), rng())
    is_same = ((matrix - torch.eye(3)).abs().flatten(1).amax(dim=1) < 1e-6) & (offset.abs().flatten(1).amax(1) < 1e-6)
    assert float(is_same.float().mean()) == pytest.approx(0.8**3, abs=0.03)


def test_colours_keep_gray_gray_and_move_its_brightness() -> None:
    matrix, offset = drawn_colours(50, chance(1.0), rng())
    gray = matrix @ torch.full((50, 3, 1), 0.25) + offset
    assert torch.allclose(gray[:, 0], gray[:, 1], atol=1e-5) and torch.allclose(gray[:, 0], gray[:, 2], atol=1e-5)
    assert float(gray.std()) > 0.1


def test_gradients_reach_the_faces() -> None:
    faces = torch.rand(4, 3, 16, 16, requires_grad=True)
    (augment(faces, chance(1.0), rng()) ** 2).sum().backward()
    assert faces.grad is not None and float(faces.grad.abs().sum()) > 0


def test_p_rises_where_d_knows_the_true_faces_and_falls_where_not() -> None:
    state = PriorState()

    def iterate(*signs: float, target: float = 0.6) -> float:
        for sign in signs:
            state.follow({"sign_real": sign}, 10, target=target, n_images_to_1=400)
        return float(state.p)

    assert iterate(1, 1, 1) == 0  # every fourth iteration
    assert iterate(0.5) == pytest.approx(4 * 10 / 400)
    assert iterate(1, 1, 1, 1) == pytest.approx(0.2)
    assert iterate(1, 1, 0.1, 0.1) == pytest.approx(0.1)  # their mean is 0.55
    assert iterate(*[0] * 8) == 0 and iterate(*[1] * 80) == 1  # within 0 to 1
    assert iterate(*[0] * 4, target=0) == 1  # without a target nothing changes


def test_the_moving_average_of_the_path_lengths() -> None:
    state = PriorState()
    for length in (2.0, 3.0):
        state.follow({"sign_real": 0.0, "mean_path": length}, 8, target=0.6, n_images_to_1=100)
    state.follow({"sign_real": 0.0}, 8, target=0.6, n_images_to_1=100)
    assert float(state.path_length) == pytest.approx(0.01 * 3 + 0.99 * 0.02)
