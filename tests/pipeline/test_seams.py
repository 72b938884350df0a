"""The detail of a pasted face fades in from the mask's edge, and no faster than its strength demands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.options import RestoreOptions
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.pipeline.arrays import to_batch
from gfpcli.pipeline.guard import Guard
from gfpcli.pipeline.paste import soft_mask, soft_masker
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.seams import fade_in, faded_in
from gfpcli.types import Crop, Face, Frame, PictureBatch

Picture = NDArray[np.uint8]


def textured(size: int, levels: float, seed: int = 1) -> Picture:
    """Gray with noise of that many grey levels, as fine as of a 256 px picture."""
    noise = np.random.default_rng(seed).normal(0, levels, (256, 256, 1))
    noise = cv2.resize(np.repeat(noise, 3, axis=2), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.round(120 + noise), 0, 255).astype(np.uint8)


def rings(face: Picture, mask: NDArray[np.float32]) -> NDArray[np.float64]:
    """RMS of the detail in rings of 3 % of the edge, from two outside of the mask's border to seven inside."""
    inside = (mask > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    ring = np.floor(depth / (0.03 * len(mask)))
    gray = face[..., 0].astype(np.float64)
    detail = gray - cv2.GaussianBlur(gray, (0, 0), 1.5 / 256 * len(mask))
    return np.array([np.sqrt(np.square(detail[ring == i]).mean()) for i in range(-2, 8)])


def pasted(face: Picture, photo: Picture, mask: NDArray[np.float32]) -> Picture:
    return np.asarray(np.round(photo + mask[..., None] * (face.astype(np.float32) - photo)), np.uint8)


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("levels", [(3, 15), (15, 3)], ids=["sharper", "smoother"])
def test_detail_changes_by_less_than_half_from_ring_to_ring(size: int, levels: tuple[float, float]) -> None:
    photo, face, mask = textured(size, levels[0]), textured(size, levels[1], 2), soft_mask(size)
    bare, faded = (rings(pasted(each, photo, mask), mask) for each in (face, faded_in(face, photo, mask)))
    assert np.exp(np.abs(np.diff(np.log(bare))).max()) > 1.6
    assert np.exp(np.abs(np.diff(np.log(faded))).max()) < 1.5
    assert faded[0] == pytest.approx(levels[0], rel=0.35) and faded[-1] == pytest.approx(bare[-1], rel=0.1)


def test_the_middle_is_as_the_network_made_it_and_the_coarse_change_is_everywhere() -> None:
    photo, mask = textured(256, 6), soft_mask(256)
    face = np.clip(textured(256, 15, 2).astype(int) + 40, 0, 255).astype(np.uint8)
    faded = faded_in(face, photo, mask).astype(int)
    middle = slice(110, 170), slice(110, 146)
    assert np.abs(faded[middle] - face[middle]).max() <= 1
    assert (faded - photo)[mask > 0.1].mean() == pytest.approx(40, abs=1)
    for part in (faded[60:70, 100:156], faded[130:160, 56:64]):  # at the mask's border
        assert part.mean() == pytest.approx(160, abs=4)


def test_a_face_as_sharp_as_its_photo_or_not_pasted_stays_as_it_is() -> None:
    photo, mask = textured(256, 8), soft_mask(256)
    assert faded_in(photo, photo, mask) is photo
    brighter = photo + np.uint8(20)
    assert faded_in(brighter, photo, mask) is brighter
    crop = Crop(Face(np.zeros(4), np.zeros((5, 2)), 1.0), photo, np.eye(2, 3))
    face = textured(256, 30, 2)
    assert fade_in([face], [crop], [mask], [0.0])[0] is face
    half, whole = (fade_in([face], [crop], [mask], [strength])[0] for strength in (0.5, 1.0))
    assert rings(half, mask)[3] > rings(whole, mask)[3] * 1.1, "of a face that is pasted by half more may stay"


class Texture:
    """A face network that makes texture of everything."""

    size = 256

    def __call__(self, faces: PictureBatch, /) -> PictureBatch:
        return to_batch([textured(256, 15, 2)] * len(faces))


def test_a_restorer_at_scale_4_shows_no_border() -> None:
    photo = cv2.GaussianBlur(textured(400, 12), (0, 0), 2)
    face = Face(np.array([80, 80, 320, 340.0]), TEMPLATE_512 * 0.6 + 40, 1.0)
    options = RestoreOptions(scale=4, strength="1")
    restorer = Restorer(lambda images: [(face,)] * len(images), Texture(), soft_masker, options, guard=Guard(1.0))
    restored = restorer.restore(Frame(0, photo, "photo"))
    place = np.concatenate([restored.crops[0].frame_to_crop[:, :2] / 4, restored.crops[0].frame_to_crop[:, 2:]], axis=1)
    at_256 = cv2.warpAffine(restored.image, place, (256, 256), flags=cv2.INTER_AREA)
    bare = pasted(restored.faces[0], restored.crops[0].image, soft_mask(256))
    steps, bare_steps = (np.abs(np.diff(np.log(rings(each, soft_mask(256))))).max() for each in (at_256, bare))
    assert np.exp(bare_steps) > 1.6 and np.exp(steps) < 1.45
