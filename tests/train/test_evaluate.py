"""The metrics of a pair and of one picture: by their definitions, against other implementations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gfpcli.adapters.basicsr import luma, niqe, ssim
from gfpcli.errors import InputError
from gfpcli.options import EvalOptions
from gfpcli.train.evaluate import Features, Judges, angle_between, compare, measure_files, measured_alone, metrics_of
from gfpcli.train.face_metrics import FaceJudge, load_face_judge

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "photos" / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def judge() -> FaceJudge:
    return load_face_judge()


def photo() -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(PHOTO)), np.uint8)


def test_niqe_is_that_of_another_implementation() -> None:
    """pyiqa 0.1.16 (torch, its own resampling and its own fit of the distributions) gave these values.

    It was not installed: it brings transformers, timm and more. Its wheel was unpacked, empty modules `pyiqa`,
    `pyiqa.archs` and `pyiqa.utils` were set up with that folder as their path, as were stubs of `download_util`,
    `registry`, `arch_util` and `fsim_arch`, which NIQE does not use, and then
    `pyiqa.archs.niqe_arch.calculate_niqe(x, color_space=..., mu_pris_param=..., cov_pris_param=...)` was called with x
    the photo as (1, 3, H, W) RGB in [0, 1] and the parameters of basicsr's niqe_pris_params.npz. Its default is the Y
    of YIQ (0 to 255), ours is that of YCbCr (16 to 235), as MATLAB's rgb2ycbcr: 1 to 2 % lie between them.
    """
    for sigma, ycbcr, yiq in ((0.0, 3.578166, 3.642820), (1.5, 6.745288, 6.653828)):
        picture = cv2.GaussianBlur(photo(), (0, 0), sigma) if sigma else photo()
        assert niqe(np.asarray(picture, np.uint8)) == pytest.approx(ycbcr, rel=2e-3)
        assert niqe(np.asarray(picture, np.uint8)) == pytest.approx(yiq, rel=0.03)


def test_psnr_and_ssim_are_scikit_image_s(rng: np.random.Generator) -> None:
    true = photo()[:200, :200]
    noisy = np.clip(true + rng.normal(0, 9, true.shape), 0, 255).astype(np.uint8)
    told = compare(noisy, true, Judges(), EvalOptions(crop=7))
    inner, true_inner = noisy[7:-7, 7:-7], true[7:-7, 7:-7]
    assert told["psnr"] == pytest.approx(peak_signal_noise_ratio(true_inner, inner), rel=1e-9)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "win_size": 11, "data_range": 255}
    shares, weights = [], structural_similarity(true_inner, inner, channel_axis=2, full=True, **window)[1]
    shares.append(weights[5:-5, 5:-5].mean())  # where the window fits whole
    assert told["ssim"] == pytest.approx(shares[0], rel=1e-6)
    told = compare(noisy, true, Judges(), EvalOptions(channel="y"))
    y, true_y = luma(noisy).astype(float), luma(true).astype(float)
    assert y.min() >= 16 and y.max() <= 235
    assert told["psnr"] == pytest.approx(10 * math.log10(255**2 / np.square(y - true_y).mean()), rel=1e-6)
    assert told["ssim"] == pytest.approx(calculate_ssim(noisy, true, 0, test_y_channel=True))


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
    values = compare(noisy, true, Judges(), EvalOptions())
    assert values.keys() == {"psnr", "ssim", "niqe"} and math.isnan(values["niqe"])  # too small for NIQE
    assert values["psnr"] == pytest.approx(calculate_psnr(noisy, true, 0))
    assert values["ssim"] == pytest.approx(calculate_ssim(noisy, true, 0))
    assert math.isnan(ssim(noisy[:10, :10], true[:10, :10]))  # smaller than its window
    judges = Judges(lambda a, b: (a - b).abs().mean(), torch.nn.Flatten())
    values = compare(noisy, true, judges, EvalOptions())
    assert values["lpips"] == pytest.approx(np.abs(noisy - true.astype(float)).mean() / 127.5, rel=1e-4)
    assert 0 < values["deg"] < 90
    with pytest.raises(InputError, match="--crop 32: nothing is left of 64x64"):
        compare(noisy, true, Judges(), EvalOptions(crop=32))


def test_features_of_both_pictures_are_kept_for_fid(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), photo()[:64, :64])
    judges = Judges(inception=lambda x: [x.mean(dim=(2, 3))])
    for options, n_true in ((EvalOptions(), 1), (EvalOptions(fid_stats=Path("a.npz")), 0)):
        features = Features()
        measure_files(tmp_path / "a.png", tmp_path / "a.png", judges, options, features)
        assert features.restored[0].shape == (3,) and len(features.true) == n_true


def test_the_landmarks_distance_is_that_of_the_faces(judge: FaceJudge) -> None:
    true = photo()
    assert judge(true, true)["lmd"] == 0
    moved = np.asarray(cv2.warpAffine(true, np.float64([[1, 0, 3], [0, 1, 4]]), (512, 600)), np.uint8)
    assert judge(moved, true)["lmd"] == pytest.approx(5, abs=0.5)
    assert 0 < judge(np.asarray(cv2.GaussianBlur(true, (0, 0), 3), np.uint8), true)["lmd"] < 2
    assert np.isnan(list(judge(true[:64, :64], true[:64, :64]).values())).all()  # no face


def test_the_identity_is_that_of_the_same_face_in_both_pictures(judge: FaceJudge) -> None:
    true = photo()
    changed = true.copy()
    changed[:, 256:] = 255 - changed[:, 256:]  # half of the face, and half of what is around it
    assert judge(true, true)["identity"] == pytest.approx(1, abs=1e-5)
    assert judge(np.asarray(cv2.GaussianBlur(true, (0, 0), 1), np.uint8), true)["identity"] > 0.95
    assert judge(changed, true)["identity"] < 0.7
    seen: list[NDArray[np.uint8]] = []

    def first_pixels(crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        seen.extend(crops)
        return np.float32([[0.6, 0.8], [0.8, 0.6]])

    told = FaceJudge(judge.detector, judge.refiner, first_pixels)(changed, true)
    assert told["identity"] == pytest.approx(0.96)
    assert [crop.shape for crop in seen] == [(256, 256, 3)] * 2
    left = np.abs(seen[0][:, :100].astype(int) - seen[1][:, :100]).max()
    assert left == 0 and (seen[0][:, 160:] != seen[1][:, 160:]).any()  # the same place in both pictures


def test_what_needs_no_reference() -> None:
    sharp = photo()
    soft = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 2), np.uint8)
    told, other = (measured_alone(each, EvalOptions(no_reference=True)) for each in (sharp, soft))
    assert told.keys() == other.keys() == {"niqe", "sharpness"}
    assert told["sharpness"] > 10 * other["sharpness"] and told["niqe"] < other["niqe"]
    assert told["sharpness"] == pytest.approx(cv2.Laplacian(luma(sharp).astype(float), cv2.CV_64F).var(), rel=1e-4)


def test_the_definitions_follow_the_options() -> None:
    told = metrics_of(EvalOptions(channel="y", crop=4))
    assert all("Y of BT.601" in told[name].definition for name in ("psnr", "ssim"))
    assert all("4 px cut off" in told[name].definition for name in ("psnr", "ssim", "niqe"))
    assert "RGB" in metrics_of(EvalOptions())["ssim"].definition
    assert set(metrics_of(EvalOptions(no_reference=True))) == {"niqe", "sharpness", "fid"}
    assert all(each.metadata["help"] for each in fields(EvalOptions))
