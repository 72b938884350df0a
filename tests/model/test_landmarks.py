"""The second network's shapes, where it starts, and its weights in the package."""

from __future__ import annotations

import pytest
import torch

from gfpcli.adapters.facexlib import REFINER_PREFIX
from gfpcli.model.checkpoint import kind_of, read_state
from gfpcli.model.landmarks import N_VOTE, VOTE_SPACING, LandmarkNet
from gfpcli.model.views import VIEW_SIZE
from gfpcli.weights.cache import BUILTINS


def test_a_fresh_network_reads_a_mean_face_in_the_middle_off_the_whole_square() -> None:
    points, logits = LandmarkNet().eval()(torch.zeros(2, 3, VIEW_SIZE, VIEW_SIZE))
    assert points.shape == (2, 5, 2) and logits.shape == (2,)
    left, right, nose, *mouth = LandmarkNet().eval().answers(torch.zeros(1, 3, VIEW_SIZE, VIEW_SIZE))[0][0]
    assert left[0] < nose[0] < right[0] and left[1] < nose[1] < mouth[0][1] < VIEW_SIZE
    assert torch.allclose((left[0] + right[0]) / 2, torch.tensor((VIEW_SIZE - 1) / 2))


def test_a_place_that_outvotes_the_others_puts_the_landmark_its_offset_away() -> None:
    net = LandmarkNet().eval()
    with torch.no_grad():
        net.votes.weight.zero_()
        net.votes.bias.zero_()
        evenly = net.answers(torch.zeros(1, 3, VIEW_SIZE, VIEW_SIZE))[1]
        net.votes.bias[5:] = torch.tensor([0.5, -0.25] * 5)
        off = net.answers(torch.zeros(1, 3, VIEW_SIZE, VIEW_SIZE))[1] - evenly
        seen = torch.zeros(1, N_VOTE, VIEW_SIZE // VOTE_SPACING, VIEW_SIZE // VOTE_SPACING)
        seen[0, 0, 3, 7] = 1.0  # row 3, column 7
        net.joined[-1] = Always(seen)
        net.votes.weight[:5, 0] = 100.0
        there = net.answers(torch.zeros(1, 3, VIEW_SIZE, VIEW_SIZE))[1]
    assert torch.allclose(evenly, torch.full_like(evenly, (VIEW_SIZE - 1) / 2), atol=1e-3)
    assert torch.allclose(off, VOTE_SPACING * torch.tensor([0.5, -0.25]).expand(5, 2), atol=1e-3)
    assert torch.allclose(there - off, torch.tensor([7 * 4 + 1.5, 3 * 4 + 1.5]).expand(5, 2), atol=1e-3)


class Always(torch.nn.Module):
    """Gives the same features whatever it sees."""

    def __init__(self, seen: torch.Tensor) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.seen


def test_the_weights_in_the_package_load_strictly_and_are_small() -> None:
    path = BUILTINS["builtin"]
    state = read_state(path)
    assert kind_of(state) == "retinaface" and path.stat().st_size <= 2e6
    own = {key.removeprefix(REFINER_PREFIX): value for key, value in state.items() if key.startswith(REFINER_PREFIX)}
    LandmarkNet().load_state_dict(own)
    own.pop("face.weight")
    with pytest.raises(RuntimeError, match=r"face\.weight"):
        LandmarkNet().load_state_dict(own)
