"""The metrics that are ours to compute: the distance of feature sets, the identity's angle, one pair's values."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.metrics.fid import calculate_fid
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from gfpcli.train.evaluate import Features, Judges, angle_between, compare, fid_of


def test_fid_is_the_reference_s(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy_before = SimpleNamespace(sqrtm=lambda matrix, disp: (sqrtm(matrix), 0.0))  # 1.18 has dropped `disp`
    monkeypatch.setattr("basicsr.metrics.fid.linalg", scipy_before)
    spread = rng.normal(size=(16, 16))
    one, other = rng.normal(size=(50, 16)) @ spread, 0.3 + rng.normal(size=(50, 16))
    told = calculate_fid(one.mean(0), np.cov(one, rowvar=False), other.mean(0), np.cov(other, rowvar=False))
    assert fid_of(Features(list(one), list(other))) == pytest.approx(float(told), rel=1e-6)
    assert fid_of(Features(list(one), list(one))) == pytest.approx(0, abs=1e-6)
    few = Features(list(one[:3]), list(other[:3]))  # fewer than dimensions: covariances without full rank
    assert math.isfinite(fid_of(few)) and fid_of(few) > 0
    assert math.isnan(fid_of(Features(list(one[:1]), list(other[:1]))))


def test_the_identity_s_angle() -> None:
    right, up = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.5])
    assert angle_between(right, right) == pytest.approx(0, abs=1e-5)
    assert angle_between(right, up) == pytest.approx(90)
    assert angle_between(right, -right) == pytest.approx(180, abs=1e-5)


def test_a_pair_s_values_and_what_is_left_out(
    rng: np.random.Generator, smooth_image: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    true = smooth_image(64, 64)
    noisy = np.clip(true + rng.normal(0, 9, true.shape), 0, 255).astype(np.uint8)
    features = Features()
    values = compare(noisy, true, Judges(), features)
    assert values.keys() == {"psnr", "ssim", "niqe"} and math.isnan(values["niqe"])  # too small for NIQE
    assert values["psnr"] == pytest.approx(calculate_psnr(noisy, true, 0))
    assert values["ssim"] == pytest.approx(calculate_ssim(noisy, true, 0))
    assert not features.true
    judges = Judges(lambda a, b: (a - b).abs().mean(), torch.nn.Flatten(), lambda x: [x.mean(dim=(2, 3))])
    values = compare(noisy, true, judges, features)
    assert values["lpips"] == pytest.approx(np.abs(noisy - true.astype(float)).mean() / 127.5, rel=1e-4)
    assert 0 < values["deg"] < 90
    assert features.true[0].shape == (3,) and len(features.restored) == 1
