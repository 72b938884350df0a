"""Aligned crops to unit vectors, and their products to scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.identity import UNSCALED, IdentityScale, NetIdentifier, built_in_view, whole_view
from gfpcli.types import PictureBatch


def test_vectors_are_unit_and_do_not_depend_on_the_company(rng: np.random.Generator) -> None:
    seen: list[tuple[int, ...]] = []

    def net(batch: PictureBatch) -> NDArray[np.float32]:
        seen.append(batch.shape)
        return batch.mean(axis=(2, 3)) + 2

    crops = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for size in (256, 512, 256)]
    identify = NetIdentifier(net, built_in_view, 2)
    found = identify(crops)
    assert found.shape == (3, 3) and found.dtype == np.float32 and np.allclose(np.linalg.norm(found, axis=1), 1)
    assert (identify(crops[1:2])[0] == found[1]).all() and set(seen) == {(2, 3, 96, 96)}
    assert len(identify([])) == 0
    assert whole_view(crops[0]) is crops[0]


def test_the_built_in_network_sees_the_face_at_any_size() -> None:
    """The same part of the face, from the forehead to the chin, whatever the crop's size."""
    for size in (256, 512):
        crop = np.zeros((size, size, 3), np.uint8)
        unit = size // 256
        crop[56 * unit : 224 * unit, 44 * unit : 212 * unit] = 200
        view = built_in_view(crop)
        assert view.shape == (96, 96, 3) and view[2:-2, 2:-2].min() > 190


def test_a_score_is_a_percentile_of_both_kinds_of_pairs() -> None:
    scale = IdentityScale(same=(0.6, 0.8, 1.0), different=(-0.2, 0.0, 0.4))
    assert scale(-1) == 0 and scale(1) == 1 and scale(0.5) == 0.5, "between both kinds lies the middle"
    assert scale(0.8) == 0.75 and scale(0.0) == 0.25
    values = [scale(product) for product in np.linspace(-1, 1, 50)]
    assert values == sorted(values)
    assert UNSCALED(0.3) == 0.3 and UNSCALED(-0.5) == 0
