"""Latents averaged over consecutive frames, with narrow networks of random weights."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gfpcli.clip.codes import average_codes
from gfpcli.errors import FaceError
from gfpcli.model.gfpgan import GFPGANClean, Halves
from gfpcli.model.paper import GFPGANPaper
from gfpcli.pipeline.faults import decode_codes, encode_crops, restore_crops
from gfpcli.pipeline.steps import AlignedFaces, EncodedFaces
from gfpcli.types import Crop, FaceCode, Failed, Frame
from gfpcli.weights.face_model import FaceNet, NetCoder
from tests.clip.test_track import BLANK, face_at
from tests.clips import talking
from tests.nets import narrow_face_net

KINDS = pytest.mark.parametrize("kind", [GFPGANClean, GFPGANPaper])


def noisy_crops(n: int) -> list[Crop]:
    """The same face in each frame, with fresh noise."""
    photo = cv2.resize(talking(1)[0], (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    rng = np.random.default_rng(0)
    images = [np.clip(photo + rng.normal(0, 12, photo.shape), 0, 255).astype(np.uint8) for _ in range(n)]
    return [Crop(face_at(20), image, np.eye(2, 3)) for image in images]


def encoded(net: FaceNet, crops: list[Crop]) -> list[EncodedFaces | Failed]:
    assert net.coder
    return [
        EncodedFaces(AlignedFaces(Frame(i, BLANK, ""), (crop.face,), (), (crop,)), (code,))
        for i, (crop, code) in enumerate(zip(crops, encode_crops(net.coder, crops, 1), strict=True))
    ]


def averaged(given: list[EncodedFaces | Failed], cuts: set[int], smooth: float = 0.5) -> list[FaceCode | FaceError]:
    out = average_codes(iter(given), cuts, smooth=smooth)
    return [code for each in out if isinstance(each, EncodedFaces) for code in each.codes]


def latents(codes: list[FaceCode | FaceError]) -> NDArray[np.float32]:
    return np.stack([code.latent for code in codes if isinstance(code, FaceCode)])


@KINDS
def test_a_still_clip_with_noise_varies_less(kind: type[GFPGANClean | GFPGANPaper]) -> None:
    net, crops = narrow_face_net(kind), noisy_crops(9)
    assert net.coder
    alone = restore_crops(net, crops, 1)
    codes = averaged(encoded(net, crops), set())
    steady = decode_codes(net.coder, crops, codes, 1)
    spreads = [np.stack(faces).astype(np.float32).std(axis=0).mean() for faces in (alone, steady)]  # type: ignore[arg-type]
    assert spreads[1] < 0.7 * spreads[0]
    one = [code for each in encoded(net, crops) if isinstance(each, EncodedFaces) for code in each.codes]
    assert latents(codes).std(axis=0).mean() < 0.5 * latents(one).std(axis=0).mean()


@KINDS
def test_spatial_features_stay_those_of_the_frame(kind: type[GFPGANClean | GFPGANPaper]) -> None:
    net, crops = narrow_face_net(kind), noisy_crops(3)
    given = encoded(net, crops)
    out = averaged(given, set())
    for each, code in zip(given, out, strict=True):
        assert isinstance(each, EncodedFaces) and isinstance(code, FaceCode)
        own = each.codes[0]
        assert isinstance(own, FaceCode) and code.features is own.features and code.latent is not own.latent


def test_nothing_crosses_a_cut_or_a_frame_that_failed() -> None:
    net, crops = narrow_face_net(GFPGANClean), noisy_crops(6)
    given = encoded(net, crops)
    own = latents([code for each in given if isinstance(each, EncodedFaces) for code in each.codes])
    parted = latents(averaged(given, {3}))
    apart = latents([*averaged(given[:3], set()), *averaged(given[3:], set())])
    assert np.array_equal(parted, apart) and not np.array_equal(parted, latents(averaged(given, set())))
    assert np.array_equal(latents(averaged(given, {1, 2, 3, 4, 5})), own)
    broken = [*given[:2], Failed(Frame(2, BLANK, ""), None), *given[3:]]  # type: ignore[arg-type]
    out = list(average_codes(iter(broken), set(), smooth=0.5))
    assert out[2] is broken[2] and len(out) == 6


def test_halves_give_what_the_whole_network_gives_in_any_batch() -> None:
    net, crops = narrow_face_net(GFPGANClean), noisy_crops(4)
    assert net.coder
    whole = restore_crops(net, crops, 1)
    for batch in (1, 3):
        codes = encode_crops(net.coder, crops, batch)
        faces = decode_codes(net.coder, crops, codes, batch)
        assert max(np.abs(np.int16(a) - b).max() for a, b in zip(whole, faces, strict=True)) <= (batch > 1)  # type: ignore[arg-type]
    bare = [replace(code, features=None) for code in encode_crops(net.coder, crops, 1) if isinstance(code, FaceCode)]
    again = decode_codes(net.coder, crops, bare, 1)  # a crowd's features are made again
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))


def test_a_face_without_a_finite_latent_spoils_no_other() -> None:
    net, crops = narrow_face_net(GFPGANClean), noisy_crops(3)
    assert isinstance(net.net, GFPGANClean)
    halves = Halves(net.net.encode, net.net.decode)

    def broken(faces: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        latent, levels = halves.encode(faces)
        is_second = bool((faces == net.placed(second)).all())
        return (latent * float("nan") if is_second else latent), levels

    second = (np.float32(crops[1].image[..., ::-1].transpose(2, 0, 1)[None]) / np.float32(127.5)) - 1
    coder = NetCoder(net, Halves(broken, halves.decode))
    codes = encode_crops(coder, crops, 1)
    assert [isinstance(code, FaceError) for code in codes] == [False, True, False]
    frames = [replace(each, codes=(code,)) for each, code in zip(encoded(net, crops), codes, strict=True)]  # type: ignore[type-var]
    faces = decode_codes(coder, crops, averaged(list(frames), set()), 2)
    assert [isinstance(face, FaceError) for face in faces] == [False, True, False]
