"""The built-in restorer's networks: 256 px begins as its input, 512 px as the enlarged change of its core."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gfpcli.model.checkpoint import kind_of, load_face_net
from gfpcli.model.compact import CompactUNet, CompactUNet512

WIDTHS = (8, 16)
Net = TypeVar("Net", bound=nn.Module)


def moved(net: Net, seed: int) -> Net:
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


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("net", [CompactUNet(WIDTHS, 4), CompactUNet512(CompactUNet(WIDTHS, 4), 8)])
def test_channels_stay_last(net: nn.Module, n: int) -> None:
    """Else each convolution at full size copies what it is given, which took an eighth of the network's time."""
    is_last = {"memory_format": torch.channels_last}
    seen: dict[str, bool] = {}
    for name, part in net.to(**is_last).named_modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0].is_contiguous(**is_last)}))
    with torch.inference_mode():
        net.eval()(torch.rand(n, 3, 64, 64).contiguous(**is_last))
    assert seen and all(seen.values()), [name for name, last in seen.items() if not last]


def test_512_px_begin_as_the_enlarged_change_of_the_core() -> None:
    core, faces = moved(CompactUNet(WIDTHS, 4), 4).eval(), torch.rand(1, 3, 128, 128)
    small = F.avg_pool2d(faces, 2)
    change = F.interpolate(core(small) - small, scale_factor=2.0, mode="bilinear", align_corners=False)
    net = CompactUNet512(core, 8).eval()
    assert torch.allclose(net(faces), faces + change, atol=1e-6) and net.size == 512
    net(faces).square().mean().backward()
    assert net.large.conv3.weight.grad is not None and (net.large.conv3.weight.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_512_px_layers_see_the_picture_the_core_and_noise() -> None:
    net, faces = moved(CompactUNet512(CompactUNet(WIDTHS, 4), 8), 5), torch.rand(2, 3, 128, 128)
    with torch.inference_mode():
        assert not torch.equal(net.train()(faces), net(faces))
        both = net.eval()(faces)
        assert torch.equal(both, net(faces))
        assert torch.allclose(both[1:], net(faces[1:]), atol=1e-5)  # whatever the batch
        finer = faces.clone()
        finer[..., ::2, ::2] += 0.1
        finer[..., 1::2, 1::2] -= 0.1  # the core at half size does not see it
        assert torch.allclose(F.avg_pool2d(finer, 2), F.avg_pool2d(faces, 2), atol=1e-6)
        assert not torch.allclose(net(finer) - finer, both - faces, atol=1e-4)


def test_the_shape_of_512_px_is_read_from_the_file(tmp_path: Path) -> None:
    net, faces = moved(CompactUNet512(CompactUNet(WIDTHS, 4), 8), 6).eval(), torch.rand(1, 3, 128, 128)
    torch.save(net.state_dict(), tmp_path / "a.pth")
    assert kind_of(net.state_dict()) == "compact-512"
    with torch.inference_mode():
        assert torch.equal(load_face_net(tmp_path / "a.pth")(faces), net(faces))
