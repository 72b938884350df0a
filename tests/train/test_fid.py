"""FID and its statistics in a file."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from basicsr.metrics.fid import calculate_fid
from scipy.linalg import sqrtm

from gfpcli.errors import InputError
from gfpcli.train.evaluate import Features, fid_of
from gfpcli.train.fid import frechet_distance, read_statistics, save_statistics, statistics_of


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


@pytest.mark.parametrize("n_pictures", [50, 5])
def test_statistics_come_back_as_they_were_written(rng: np.random.Generator, tmp_path: Path, n_pictures: int) -> None:
    one, other = list(rng.normal(size=(n_pictures, 16))), list(rng.normal(1, 2, size=(50, 16)))
    path = tmp_path / "one.npz"
    save_statistics(path, statistics_of(one))
    with np.load(path, allow_pickle=False) as read:  # as pytorch-fid lays them out
        assert np.allclose(read["sigma"], np.cov(np.array(one), rowvar=False)) and read["mu"].shape == (16,)
    read_back = read_statistics(path, 16)
    assert read_back.n_pictures == n_pictures
    expected = frechet_distance(statistics_of(other), statistics_of(one))
    assert fid_of(Features(other), read_back) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(InputError, match="16 features, the network of FID has 2048"):
        read_statistics(path, 2048)


@pytest.mark.parametrize("kind", ["text", "cut short", "other arrays", "pickle", "not finite"])
def test_what_holds_no_statistics_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.npz"
    if kind == "text":
        path.write_text("no arrays")
    elif kind == "other arrays":
        np.savez(path, a=np.zeros(3))
    elif kind == "pickle":
        np.savez(path, mu=np.array([{1}], dtype=object), sigma=np.zeros((1, 1)))
    elif kind == "not finite":
        np.savez(path, mu=np.full(2, np.nan), sigma=np.eye(2))
    else:
        np.savez(path, mu=np.zeros(99), sigma=np.zeros((99, 99)))
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="a.npz: holds n"):
        read_statistics(path, 2)
