"""The built-in restorer's network: begins as its input, with and without the layers at full size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gfpcli.model.checkpoint import load_face_net
from gfpcli.model.compact import CompactUNet

WIDTHS = (8, 16)


def moved(net: CompactUNet, seed: int) -> CompactUNet:
    """With every weight off its start, so that no layer is silent."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return net


@pytest.mark.parametrize("n_fine", [0, 4])
def test_it_begins_as_its_input(n_fine: int) -> None:
    faces = torch.rand(1, 3, 64, 64)
    assert torch.equal(CompactUNet(WIDTHS, n_fine)(faces), faces)


@pytest.mark.parametrize("n_fine", [0, 4])
def test_its_shape_is_read_from_the_file(tmp_path: Path, n_fine: int) -> None:
    net, faces = moved(CompactUNet(WIDTHS, n_fine), 1).eval(), torch.rand(1, 3, 64, 64)
    torch.save(net.state_dict(), tmp_path / "a.pth")
    with torch.inference_mode():
        assert torch.equal(load_face_net(tmp_path / "a.pth")(faces), net(faces))


def test_new_fine_layers_change_nothing_until_they_learn() -> None:
    net, faces = moved(CompactUNet(WIDTHS, 0), 2), torch.rand(1, 3, 64, 64)
    before = net(faces)
    net.add_fine_layers()
    assert net.fine is not None and torch.equal(net(faces), before)
    net(faces).square().mean().backward()
    assert net.fine.conv3.weight.grad is not None and net.fine.conv3.weight.grad.abs().max() > 0


def test_noise_is_fresh_in_training_and_stored_otherwise() -> None:
    net, faces = moved(CompactUNet(WIDTHS, 4), 3), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert not torch.equal(net.train()(faces), net(faces))
        both = net.eval()(faces)
        assert torch.equal(both, net(faces))
        assert torch.allclose(both[1:], net(faces[1:]), atol=1e-6)  # whatever the batch
    assert torch.equal(CompactUNet(WIDTHS, 4).fine.noise, net.fine.noise)  # type: ignore[union-attr]
