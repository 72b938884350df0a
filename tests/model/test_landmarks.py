"""The second network's shapes, where it starts, and its weights in the package."""

from __future__ import annotations

import pytest
import torch

from gfpcli.adapters.facexlib import LOOK_PREFIX
from gfpcli.model.checkpoint import kind_of, read_state
from gfpcli.model.landmarks import SIZE, LandmarkNet
from gfpcli.weights import BUILTINS


def test_a_fresh_network_puts_a_mean_face_in_the_middle() -> None:
    points, logits = LandmarkNet().eval()(torch.zeros(2, 3, SIZE, SIZE))
    assert points.shape == (2, 5, 2) and logits.shape == (2,)
    left, right, nose, *mouth = points[0]
    assert left[0] < nose[0] < right[0] and left[1] < nose[1] < mouth[0][1] < SIZE
    assert torch.allclose((left[0] + right[0]) / 2, torch.tensor((SIZE - 1) / 2))


def test_the_weights_in_the_package_load_strictly_and_are_small() -> None:
    path = BUILTINS["builtin"]
    state = read_state(path)
    assert kind_of(state) == "retinaface" and path.stat().st_size <= 2e6
    own = {key.removeprefix(LOOK_PREFIX): value for key, value in state.items() if key.startswith(LOOK_PREFIX)}
    LandmarkNet().load_state_dict(own)
    own.pop("face.weight")
    with pytest.raises(RuntimeError, match=r"face\.weight"):
        LandmarkNet().load_state_dict(own)
