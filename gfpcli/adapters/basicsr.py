"""basicsr's blur kernels, perceptual loss, Inception and image metrics, without its global state."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.adapters._compat import prepare_basicsr
from gfpcli.errors import CheckpointError

prepare_basicsr()

from basicsr.archs import inception as inception_arch  # noqa: E402
from basicsr.archs import vgg_arch  # noqa: E402  (only after the preparation above)
from basicsr.data.degradations import (  # noqa: E402
    bivariate_Gaussian,
    bivariate_generalized_Gaussian,
    bivariate_plateau,
    circular_lowpass_kernel,
)
from basicsr.losses.basic_loss import PerceptualLoss  # noqa: E402
from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim  # noqa: E402
from basicsr.metrics.metric_util import to_y_channel  # noqa: E402

VGG_LAYERS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}  # before their ReLU
SSIM_WINDOW = 11  # px
MIN_NIQE = 192  # px: two of its 96 px blocks each way


def gaussian_kernel(size: int, sigma_x: float, sigma_y: float, theta: float) -> NDArray[np.float64]:
    """A (size, size) Gaussian of sum 1; isotropic where both sigmas (px) are equal; theta in radians."""
    is_isotropic = sigma_x == sigma_y
    kernel = bivariate_Gaussian(size, sigma_x, sigma_y, theta, isotropic=is_isotropic)
    return np.asarray(kernel, np.float64)


def shaped_kernel(
    size: int, sigma_x: float, sigma_y: float, theta: float, *, power: float, is_plateau: bool
) -> NDArray[np.float64]:
    """A (size, size) blur kernel of sum 1 that is sharper or flatter than a Gaussian (Real-ESRGAN, section 3.1).

    Args:
        power: of the generalised Gaussian exp(-d**power / 2) or of the plateau 1 / (1 + d**power); d is squared.
    """
    make = bivariate_plateau if is_plateau else bivariate_generalized_Gaussian
    return np.asarray(make(size, sigma_x, sigma_y, theta, power, isotropic=sigma_x == sigma_y), np.float64)


def sinc_kernel(size: int, cutoff: float) -> NDArray[np.float64]:
    """A (size, size) low-pass kernel of sum 1 that rings; `cutoff` in radians for each px, at most pi."""
    with np.errstate(invalid="ignore"):  # its middle, 0 / 0, is filled in afterwards
        return np.asarray(circular_lowpass_kernel(cutoff, size), np.float64)


def perceptual_loss(weights: Path) -> torch.nn.Module:
    """Calls on two (N, 3, S, S) RGB batches in [-1, 1] and gives (perceptual, style), each unweighted.

    Args:
        weights: torchvision's VGG19 file.

    Raises:
        CheckpointError: the file holds something else.
    """
    with _weights_from(vgg_arch, "VGG_PRETRAIN_PATH", weights, "torchvision's VGG19"):
        return PerceptualLoss(
            VGG_LAYERS, "vgg19", use_input_norm=True, range_norm=True, perceptual_weight=1.0, style_weight=1.0
        )


def inception(weights: Path) -> torch.nn.Module:
    """Inception-V3 as FID takes it: (N, 3, H, W) RGB in [-1, 1] to a list with one (N, 2048, 1, 1).

    Raises:
        CheckpointError: the file holds something else.
    """
    with _weights_from(inception_arch, "LOCAL_FID_WEIGHTS", weights, "the Inception-V3 of FID"):
        return inception_arch.InceptionV3([3], resize_input=True, normalize_input=False).eval()


@contextmanager
def _weights_from(module: ModuleType, name: str, weights: Path, what: str) -> Iterator[None]:
    """Names our file where basicsr looks first: the only way to keep it from a download of its own."""
    before = getattr(module, name)
    setattr(module, name, str(weights))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision: `pretrained` has a new name
            yield
    except Exception as error:  # damaged files make the reader raise nearly anything
        raise CheckpointError(f"{weights}: not {what}") from error
    finally:
        setattr(module, name, before)


def psnr(image: NDArray[np.uint8], true: NDArray[np.uint8], *, is_y: bool = False) -> float:
    """dB, of two (H, W, 3) BGR images, or of their Y; infinite where they are equal."""
    return float(calculate_psnr(image, true, crop_border=0, test_y_channel=is_y))


def ssim(image: NDArray[np.uint8], true: NDArray[np.uint8], *, is_y: bool = False) -> float:
    """-1..1, the mean over the channels of two (H, W, 3) BGR images, or of their Y; NaN below its window of 11 px."""
    if min(image.shape[:2]) < SSIM_WINDOW:
        return float("nan")
    return float(calculate_ssim(image, true, crop_border=0, test_y_channel=is_y))


def luma(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Y of BT.601 (H, W), 16..235, of an (H, W, 3) BGR image, as MATLAB's rgb2ycbcr gives it."""
    return np.asarray(to_y_channel(image)[..., 0], np.float32)


def niqe(image: NDArray[np.uint8]) -> float:
    """Lower is better; NaN for a (H, W, 3) BGR image that is too small or too flat to tell."""
    if min(image.shape[:2]) < MIN_NIQE:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # flat blocks divide by zero; they are left out
        try:
            return float(calculate_niqe(image, crop_border=0, convert_to="y"))
        except (ValueError, np.linalg.LinAlgError):
            return float("nan")
