"""The metrics of restored pictures, with their true ones or alone (GFP-GAN, section 4.2, and more)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gfpcli.adapters.basicsr import inception, luma, niqe, psnr, ssim
from gfpcli.adapters.lpips import lpips_metric
from gfpcli.errors import InputError, WeightsError
from gfpcli.model.arcface import gray_for_identity
from gfpcli.model.checkpoint import read_state
from gfpcli.options import EvalOptions
from gfpcli.photo.codec import read_frame
from gfpcli.pipeline.align import to_8_bit
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.train.build import load_arcface
from gfpcli.train.face_metrics import FaceJudge, load_face_judge
from gfpcli.train.fid import MIN_FID, FeatureStatistics, frechet_distance, statistics_of
from gfpcli.train.summary import Metric
from gfpcli.weights.cache import ready

N_INCEPTION = 2048  # of FID's network
NEEDED_WEIGHTS = {"lpips": "vgg16", "deg": "arcface-r18", "fid": "inception-fid"}  # by metric
ALONE = ("niqe", "sharpness", "fid")  # metrics that need no reference (FID: statistics of one)


@dataclass(frozen=True, slots=True)
class Judges:
    """The networks of the metrics that need one; None where the weights are not in the cache."""

    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    arcface: nn.Module | None = None
    inception: Callable[[Tensor], list[Tensor]] | None = None
    faces: FaceJudge | None = None


@dataclass(slots=True)
class Features:
    """Inception features of the pictures seen so far, (N_INCEPTION,) each."""

    restored: list[NDArray[np.float64]] = field(default_factory=list)
    true: list[NDArray[np.float64]] = field(default_factory=list)


def metrics_of(options: EvalOptions) -> dict[str, Metric]:
    """What is measured with these options, and how."""
    is_y = options.channel == "y"
    channel = "Y of BT.601, 16 to 235" if is_y else "RGB, the three channels together"
    crop = f"{options.crop} px cut off each edge" if options.crop else "no edge cut off"
    pictures = f"8 bits, {channel}; {crop}"
    every = {
        "psnr": Metric("PSNR, dB", True, f"peak 255; {pictures}; infinite for equal pictures"),
        "ssim": Metric("SSIM", True, "Gaussian window of 11 px, sigma 1.5, where it fits whole; K1 0.01, K2 0.03; "
                       f"{pictures.replace('together', 'each, then their mean')}"),
        "niqe": Metric("NIQE", False, "Y of BT.601, 16 to 235, rounded; the authors' parameters (as basicsr ships "
                       "them); blocks of 96 px without a choice by sharpness, the rest at the right and below cut off; "
                       f"half size by MATLAB's bicubic; {crop}; missing below 192 px and for flat pictures"),
        "sharpness": Metric("sharpness", True, f"variance of the Laplacian (3x3) of Y of BT.601, 16 to 235; {crop}"),
        "lpips": Metric("LPIPS", False, "VGG16, version 0.1; RGB, whole pictures"),
        "deg": Metric("Deg., identity", False, "degrees between the features of ArcFace-R18 of the whole pictures, "
                      "gray, 128 px (GFP-GAN, section 4.2)"),
        "lmd": Metric("LMD, px", False, "mean distance of five landmarks (eyes, nose, corners of the mouth) by the "
                      "landmark network in the package, in the faces found in the reference; missing without one"),
        "identity": Metric("identity, cosine", True, "between the features of the identity network in the package, of "
                           "the same faces, cut by the reference's landmarks"),
        "fid": Metric("FID", False, "Inception-V3 of pytorch-fid, 2048 features, pictures as RGB at 299 px, bilinear"),
    }  # fmt: skip
    wanted = ALONE if options.no_reference else tuple(name for name in every if name != "sharpness")
    return {name: metric for name, metric in every.items() if name in wanted}


def compare(
    restored: NDArray[np.uint8], true: NDArray[np.uint8], judges: Judges, options: EvalOptions
) -> dict[str, float]:
    """The metrics of one pair of (H, W, 3) BGR pictures of equal size; NaN for one that this pair has not.

    Raises:
        InputError: nothing is left of the pictures when their edges are cut off.
    """
    is_y = options.channel == "y"
    inner, true_inner = (without_edges(picture, options.crop) for picture in (restored, true))
    values = {"psnr": psnr(inner, true_inner, is_y=is_y), "ssim": ssim(inner, true_inner, is_y=is_y),
              "niqe": niqe(inner)}  # fmt: skip
    one, other = to_tensor([restored]), to_tensor([true])
    with torch.inference_mode():
        if judges.lpips:
            values["lpips"] = float(judges.lpips(one, other))
        if judges.arcface is not None:
            values["deg"] = angle_between(*(judges.arcface(gray_for_identity(face))[0] for face in (one, other)))
    if judges.faces:
        values |= judges.faces(restored, true)
    return values


def measured_alone(restored: NDArray[np.uint8], options: EvalOptions) -> dict[str, float]:
    """The metrics of one (H, W, 3) BGR picture that need no reference. Raises InputError as `compare`."""
    inner = without_edges(restored, options.crop)
    return {"niqe": niqe(inner), "sharpness": float(np.var(cv2.Laplacian(luma(inner), cv2.CV_32F), dtype=np.float64))}


def without_edges(picture: NDArray[np.uint8], crop: int) -> NDArray[np.uint8]:
    """The (H, W, 3) picture without `crop` px at each edge. Raises InputError where nothing is left."""
    height, width = picture.shape[:2]
    if min(height, width) <= 2 * crop:
        raise InputError(f"--crop {crop}: nothing is left of {width}x{height}")
    return picture[crop : height - crop, crop : width - crop]


def angle_between(one: Tensor, other: Tensor) -> float:
    """Degrees between two identity features."""
    cosine = torch.cosine_similarity(one.double(), other.double(), dim=0).clamp(-1, 1)
    return math.degrees(math.acos(float(cosine)))


@torch.inference_mode()
def feature_of(net: Callable[[Tensor], list[Tensor]], picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Inception features (N_INCEPTION,) of an (H, W, 3) BGR picture."""
    return np.asarray(net(to_tensor([picture]))[0].flatten().double().numpy(), np.float64)


def fid_of(features: Features, true: FeatureStatistics | None = None) -> float:
    """Frechet distance to the true pictures, or to their statistics; NaN with fewer than two pictures."""
    if len(features.restored) < MIN_FID or true is None and len(features.true) < MIN_FID:
        return math.nan
    return frechet_distance(statistics_of(features.restored), true or statistics_of(features.true))


def cached_judges(warn: Callable[[str], None], options: EvalOptions) -> Judges:
    """The networks whose weights are in the cache; `warn` is told what the others need.

    Raises:
        WeightsError: a file in the cache is not what it should be, or `--fid-stats` is given without FID's network.
    """
    files = {metric: ready(name) for metric, name in NEEDED_WEIGHTS.items() if metric in metrics_of(options)}
    if options.fid_stats and files["fid"] is None:
        raise WeightsError(f"--fid-stats: the network of FID is not here; gfp models pull {NEEDED_WEIGHTS['fid']}")
    for metric, path in files.items():
        if path is None and not (options.no_reference and not options.fid_stats):
            warn(f"{metric}: left out, its weights are not here; gfp models pull {NEEDED_WEIGHTS[metric]}")
    vgg, arcface, fid = (files.get(metric) for metric in ("lpips", "deg", "fid"))
    return Judges(
        lpips_metric(read_state(vgg), source=str(vgg)) if vgg else None,
        load_arcface(arcface) if arcface else None,
        inception(fid) if fid else None,
        None if options.no_reference else load_face_judge(),
    )


def picture_of(path: Path) -> NDArray[np.uint8]:
    """A file as (H, W, 3) BGR, upright, 8 bits. Raises InputError."""
    return to_8_bit(read_frame(path, 0).image)


def measure_files(
    restored: Path, true: Path | None, judges: Judges, options: EvalOptions, features: Features
) -> dict[str, float]:
    """The metrics of two files, or of one; FID's features are added to `features`.

    Raises:
        InputError: unreadable, or of different sizes; names the file.
    """
    one = picture_of(restored)
    other = None if true is None else picture_of(true)
    if other is not None and one.shape != other.shape:
        sizes = " and ".join(f"{picture.shape[1]}x{picture.shape[0]}" for picture in (one, other))
        raise InputError(f"{restored}: not the size of {true} ({sizes})")
    try:
        values = measured_alone(one, options) if other is None else compare(one, other, judges, options)
    except InputError as error:
        raise InputError(f"{restored}: {error}") from error
    if judges.inception:
        features.restored.append(feature_of(judges.inception, one))
        if other is not None and not options.fid_stats:
            features.true.append(feature_of(judges.inception, other))
    return values


def statistics_of_files(paths: Sequence[Path], net: Callable[[Tensor], list[Tensor]]) -> FeatureStatistics:
    """FID's statistics of reference pictures. Raises InputError: one cannot be read, or fewer than two."""
    if len(paths) < MIN_FID:
        raise InputError(f"--fid-stats: FID needs at least {MIN_FID} reference pictures")
    return statistics_of([feature_of(net, picture_of(path)) for path in paths])
