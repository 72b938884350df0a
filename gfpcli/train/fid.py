"""FID: the Frechet distance between the Inception features of two sets of pictures, and statistics kept in a file."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import os_errors_as, write_bytes

MIN_FID = 2  # pictures: a covariance needs two
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureStatistics:
    """Mean and covariance of the features of a set of pictures."""

    mean: Floats  # (D,)
    root: Floats  # (K, D): root' root is the covariance
    n_pictures: int

    @property
    def covariance(self) -> Floats:
        """(D, D)"""
        return np.asarray(self.root.T @ self.root, np.float64)


def statistics_of(features: Sequence[Floats]) -> FeatureStatistics:
    """Of features (D,) of at least MIN_FID pictures. The root has as many rows as there are fewer of both."""
    stacked = np.stack(features)
    mean = stacked.mean(axis=0)
    root = np.linalg.qr((stacked - mean) / math.sqrt(len(stacked) - 1), mode="r")
    return FeatureStatistics(mean, np.asarray(root, np.float64), len(stacked))


def frechet_distance(one: FeatureStatistics, other: FeatureStatistics) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    With C1 = A'A and C2 = B'B the trace of the root is the sum of the singular values of AB': no matrix root is needed.
    """
    shared = np.linalg.svd(one.root @ other.root.T, compute_uv=False).sum()
    spreads = np.square(one.root).sum() + np.square(other.root).sum()
    return float(np.square(one.mean - other.mean).sum() + spreads - 2 * shared)


def save_statistics(path: Path, statistics: FeatureStatistics) -> None:
    """Writes an .npz with `mu` and `sigma`, as pytorch-fid does, and `n_pictures`; it is read again and compared.

    Raises:
        OutputError: it cannot be written, or is not what was written.
    """
    data = io.BytesIO()
    covariance = statistics.covariance
    np.savez(data, mu=statistics.mean, sigma=covariance, n_pictures=np.array(statistics.n_pictures))
    write_bytes(path, data.getvalue())
    with np.load(path, allow_pickle=False) as read:
        if not (np.array_equal(read["mu"], statistics.mean) and np.array_equal(read["sigma"], covariance)):
            raise OutputError(f"{path}: what was read back is not what was written")


def read_statistics(path: Path, n_dimensions: int) -> FeatureStatistics:
    """Reads what `save_statistics` or pytorch-fid wrote, without pickle.

    Raises:
        InputError: not such a file, or features of another length.
    """
    try:
        with os_errors_as(InputError, path), path.open("rb") as file, np.load(file, allow_pickle=False) as read:
            mean, covariance = (np.asarray(read[name], np.float64) for name in ("mu", "sigma"))
            n_pictures = int(read["n_pictures"]) if "n_pictures" in read else 0
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: holds no statistics of FID (an .npz with mu and sigma)") from error
    if mean.shape != (n_dimensions,) or covariance.shape != (n_dimensions, n_dimensions):
        raise InputError(f"{path}: statistics of {mean.size} features, the network of FID has {n_dimensions}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise InputError(f"{path}: holds numbers that are not finite")
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return FeatureStatistics(mean, np.asarray(root, np.float64), n_pictures)
