"""The identity term, by either network."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gfpcli.model.arcface import ArcFaceR18, gray_for_identity
from gfpcli.pipeline.identity import built_in_view
from gfpcli.pipeline.tensors import to_images, to_tensor
from gfpcli.train.identity_loss import IdentityLoss, arcface_loss, builtin_identity_loss, cosine_distance, inner_view
from gfpcli.weights.cache import BUILTINS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def builtin() -> IdentityLoss:
    return builtin_identity_loss(BUILTINS["identity"], CPU)


def test_arcface_s_term_is_the_paper_s() -> None:
    torch.manual_seed(0)
    net = ArcFaceR18().eval().requires_grad_(False)
    fake, true = (torch.rand(2, 3, 64, 64) * 2 - 1 for _ in range(2))
    want = F.l1_loss(net(gray_for_identity(fake)), net(gray_for_identity(true)))
    assert torch.equal(arcface_loss(net)(fake, true), want)


def test_the_built_in_network_tells_people_apart(builtin: IdentityLoss, one_photo: np.ndarray) -> None:
    """0 for the same picture, little for the same face blurred, much for another picture."""
    face = to_tensor([one_photo])
    blurred = to_tensor([np.asarray(cv2.GaussianBlur(one_photo, (0, 0), 1.5), np.uint8)])
    turned = to_tensor([np.ascontiguousarray(one_photo[::-1])])
    same, alike, other = (float(builtin(each, face)) for each in (face, blurred, turned))
    assert abs(same) < 1e-5 and same < alike < 0.5 * other


def test_gradients_reach_the_restored_face_only(builtin: IdentityLoss) -> None:
    fake, true = (torch.rand(2, 3, 64, 64, requires_grad=True) for _ in range(2))
    builtin(fake, true).backward()
    assert fake.grad is not None and bool((fake.grad != 0).any()) and true.grad is None
    assert isinstance(builtin.net, torch.nn.Module) and not builtin.net.training
    assert all(weight.grad is None and not weight.requires_grad for weight in builtin.net.parameters())


@pytest.mark.parametrize("size", [128, 256, 512])
def test_the_network_sees_what_it_sees_in_the_pipeline(one_photo: np.ndarray, size: int) -> None:
    face = np.asarray(cv2.resize(one_photo, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    (mine,) = to_images(inner_view(to_tensor([face])))
    wanted = built_in_view(face)
    error = np.abs(mine.astype(float) - wanted).mean()
    moved = np.abs(np.roll(mine, 1, axis=1).astype(float) - wanted).mean()
    assert error < 0.35 * moved, "nearer than with one pixel's shift"


def test_the_distance_is_of_directions() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert cosine_distance(one, 3 * one).tolist() == pytest.approx(0)
    assert cosine_distance(one, one.flip(1)).tolist() == pytest.approx(1)
    assert cosine_distance(one, -one).tolist() == pytest.approx(2)
