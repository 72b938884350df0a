"""The six metrics of the paper between restored and true pictures (GFP-GAN, section 4.2)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gfpcli.adapters.basicsr import inception, niqe, psnr, ssim
from gfpcli.adapters.lpips import lpips_metric
from gfpcli.errors import InputError
from gfpcli.model.arcface import gray_for_identity
from gfpcli.model.checkpoint import read_state
from gfpcli.photo.codec import read_frame
from gfpcli.photo.inputs import find_images
from gfpcli.pipeline.align import to_8_bit
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.train.build import load_arcface
from gfpcli.weights.cache import ready

MIN_FID = 2  # pictures: a covariance needs two
NEEDED_WEIGHTS = {"lpips": "vgg16", "deg": "arcface-r18", "fid": "inception-fid"}  # by metric


@dataclass(frozen=True, slots=True)
class Judges:
    """The networks of the metrics that need one; None where the weights are not in the cache."""

    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    arcface: nn.Module | None = None
    inception: Callable[[Tensor], list[Tensor]] | None = None


@dataclass(slots=True)
class Features:
    """Inception features of the pictures seen so far, (2048,) each."""

    restored: list[NDArray[np.float64]] = field(default_factory=list)
    true: list[NDArray[np.float64]] = field(default_factory=list)


@torch.inference_mode()
def compare(
    restored: NDArray[np.uint8], true: NDArray[np.uint8], judges: Judges, features: Features
) -> dict[str, float]:
    """The metrics of one pair of (H, W, 3) BGR pictures of equal size; FID's features are added to `features`."""
    values = {"psnr": psnr(restored, true), "ssim": ssim(restored, true), "niqe": niqe(restored)}
    one, other = to_tensor([restored]), to_tensor([true])
    if judges.lpips:
        values["lpips"] = float(judges.lpips(one, other))
    if judges.arcface is not None:
        values["deg"] = angle_between(*(judges.arcface(gray_for_identity(face))[0] for face in (one, other)))
    if judges.inception:
        for seen, face in ((features.restored, one), (features.true, other)):
            seen.append(judges.inception(face)[0].flatten().double().numpy())
    return values


def angle_between(one: Tensor, other: Tensor) -> float:
    """Degrees between two identity features."""
    cosine = torch.cosine_similarity(one.double(), other.double(), dim=0).clamp(-1, 1)
    return math.degrees(math.acos(float(cosine)))


def fid_of(features: Features) -> float:
    """Frechet distance between the two sets of features; NaN with fewer than two pictures.

    With centred features A and B (divided by the root of their count less one) the covariances are A'A and B'B, and the
    trace of the root of their product is the sum of the singular values of AB': no matrix root is needed.
    """
    if len(features.true) < MIN_FID:
        return math.nan
    sets = [np.stack(features.restored), np.stack(features.true)]
    means = [each.mean(axis=0) for each in sets]
    roots = [_root_of(each - mean) for each, mean in zip(sets, means, strict=True)]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spreads = sum(np.square(root).sum() for root in roots)
    return float(np.square(means[0] - means[1]).sum() + spreads - 2 * shared)


def _root_of(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """R with R'R the covariance: as many rows as pictures or dimensions, whichever are fewer."""
    factor: NDArray[np.float64] = np.linalg.qr(centred / math.sqrt(len(centred) - 1), mode="r")  # type: ignore[assignment]
    return factor


@dataclass(frozen=True, slots=True)
class Pairing:
    """Restored pictures with their references."""

    pairs: list[tuple[Path, Path]]
    notes: list[str] = field(default_factory=list)  # a line for each pair that agrees in its stem only
    lonely: list[str] = field(default_factory=list)  # a line for each restored picture with no reference, or several


def pairs_of(restored: Path, reference: Path) -> Pairing:
    """Two files, or the files of the same name in two folders; where there is none, of the same stem.

    Raises:
        InputError: a path does not exist or holds no images.
    """
    if restored.is_file() and reference.is_file():
        return Pairing([(restored, reference)])
    if restored.is_file() or reference.is_file():
        raise InputError(f"{restored} and {reference}: give two pictures or two folders")
    by_name, by_stem = {}, defaultdict(list)
    for path, relative in find_images([str(reference)], None):
        by_name[relative] = path
        by_stem[relative.with_suffix("")].append(path)
    found = Pairing([])
    for path, relative in find_images([str(restored)], None):
        others = [by_name[relative]] if relative in by_name else by_stem[relative.with_suffix("")]
        if not others:
            found.lonely.append(f"{path}: no picture of that name in {reference}")
        elif len(others) > 1:
            names = ", ".join(other.name for other in others)
            found.lonely.append(f"{path}: several pictures of that name in {reference}: {names}")
        else:
            found.pairs.append((path, others[0]))
            if relative not in by_name:
                found.notes.append(f"{path}: compared with {others[0]}, which has another suffix")
    return found


def cached_judges(warn: Callable[[str], None]) -> Judges:
    """The networks whose weights are in the cache; `warn` is told what the others need.

    Raises:
        WeightsError: a file in the cache is not what it should be.
    """
    files = {metric: ready(name) for metric, name in NEEDED_WEIGHTS.items()}
    for metric, path in files.items():
        if path is None:
            warn(f"{metric}: left out, its weights are not here; gfp models pull {NEEDED_WEIGHTS[metric]}")
    vgg, arcface, fid = files["lpips"], files["deg"], files["fid"]
    return Judges(
        lpips_metric(read_state(vgg), source=str(vgg)) if vgg else None,
        load_arcface(arcface) if arcface else None,
        inception(fid) if fid else None,
    )


def compare_files(one: Path, other: Path, judges: Judges, features: Features) -> dict[str, float]:
    """The metrics of two files. Raises InputError: unreadable, or of different sizes."""
    pictures = [to_8_bit(read_frame(path, 0).image) for path in (one, other)]
    if pictures[0].shape != pictures[1].shape:
        sizes = " and ".join(f"{picture.shape[1]}x{picture.shape[0]}" for picture in pictures)
        raise InputError(f"{one}: not the size of {other} ({sizes})")
    return compare(pictures[0], pictures[1], judges, features)


def means_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Over the pairs that have a finite value: equal pictures have no PSNR, small ones no NIQE."""
    means = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        kept = values[np.isfinite(values)]
        means[name] = float(kept.mean()) if len(kept) else float(values[0])
    return means
