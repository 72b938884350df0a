"""Images of all kinds through an enlarging network, whole and in tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gfpcli.adapters.realesrgan import RRDBNet, SRVGGNetCompact, load_enlarging_net
from gfpcli.errors import BackgroundError
from gfpcli.pipeline import upsample
from gfpcli.pipeline.tensors import ArrayNet, EnlargingNet
from gfpcli.pipeline.upsample import NetUpsampler, Tiling, fit
from gfpcli.types import PictureBatch

Make = Callable[[int, int], NDArray[np.uint8]]
CPU = torch.device("cpu")


def srvgg(scale: int = 2) -> EnlargingNet:
    torch.manual_seed(1)
    return load_enlarging_net(SRVGGNetCompact(num_feat=8, num_conv=3, upscale=scale).state_dict(), source="x")


def rrdb(scale: int, *, n_blocks: int, gain: float = 1.0) -> EnlargingNet:
    torch.manual_seed(1)
    net = RRDBNet(3, 3, scale=scale, num_feat=8, num_block=n_blocks, num_grow_ch=4)
    with torch.inference_mode():
        for value in net.parameters():
            value *= gain
        out = net(torch.rand(1, 3, 32, 32))  # random weights draw almost nothing: made a picture of mean 0.5, sigma 0.2
        net.conv_last.weight *= 0.2 / out.std()
        net.conv_last.bias.fill_(0.5 - 0.2 * float(out.mean() / out.std()))
    return load_enlarging_net(net.state_dict(), source="x")


def upsampler_of(enlarging: EnlargingNet, **asked: Any) -> NetUpsampler:
    return NetUpsampler(ArrayNet(enlarging.net, CPU), enlarging.tiling, **asked)


def nearest(look: Callable[[PictureBatch], None] = lambda batch: None, **asked: Any) -> NetUpsampler:
    """Twice as large; `look` sees each batch first, and may raise."""

    def run(batch: PictureBatch) -> PictureBatch:
        look(batch)
        return batch.repeat(2, axis=2).repeat(2, axis=3)

    return NetUpsampler(run, Tiling(2, 1, reach=1, halo=1, pixel_bytes=1), **asked)


@pytest.mark.parametrize(
    "enlarging", [srvgg(2), srvgg(4), rrdb(2, n_blocks=1), rrdb(4, n_blocks=1)], ids=["s2", "s4", "r2", "r4"]
)
def test_tiles_give_what_the_whole_image_gives(enlarging: EnlargingNet, smooth_image: Make) -> None:
    image = smooth_image(75, 117)
    whole = upsampler_of(enlarging, tile=1000).enlarge(image)
    tiled = upsampler_of(enlarging, tile=32).enlarge(image)
    assert whole.std() > 5
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_a_net_that_reaches_further_than_tiles_see_shows_no_seams(smooth_image: Make) -> None:
    enlarging = rrdb(2, n_blocks=6, gain=2.0)
    assert enlarging.tiling.halo < enlarging.tiling.reach
    image = smooth_image(128, 160)
    whole = upsampler_of(enlarging, tile=1000).enlarge(image)
    tiled = upsampler_of(enlarging, tile=64).enlarge(image)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_sixteen_bits_stay(smooth_image: Make) -> None:
    image = smooth_image(40, 50).astype(np.uint16) * 3 + 7
    out = nearest()(image, (80, 100))
    assert out.dtype == np.uint16 and (out == image.repeat(2, axis=0).repeat(2, axis=1)).all()


def test_gray_stays_gray_and_colour_is_not_swapped(smooth_image: Make) -> None:
    gray = np.repeat(smooth_image(40, 50)[..., :1], 3, axis=2)
    assert upsampler_of(srvgg()).enlarge(smooth_image(40, 50)).std(axis=2).max() > 5
    assert upsampler_of(srvgg()).enlarge(gray).std(axis=2).max() == 0
    seen: list[PictureBatch] = []
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255
    out = nearest(seen.append).enlarge(red)
    assert seen[0][0, :, 0, 0].tolist() == [1, 0, 0] and (out[0, 0] == (0, 0, 255)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (31, 5)])
@pytest.mark.parametrize("size", [(1, 1), (17, 23), (62, 80), (100, 9)])
def test_any_size_to_any_size(shape: tuple[int, int], size: tuple[int, int], smooth_image: Make) -> None:
    out = upsampler_of(rrdb(2, n_blocks=1))(smooth_image(*shape), size)
    assert out.shape == (*size, 3) and out.dtype == np.uint8


def test_smaller_is_the_mean_of_what_was_enlarged(smooth_image: Make) -> None:
    image = smooth_image(40, 50)
    assert (nearest()(image, (40, 50)) == image).all()
    assert fit(image, (40, 50)) is image


def test_a_tile_that_does_not_fit_is_halved_and_all_begins_anew(smooth_image: Make) -> None:
    image = smooth_image(100, 200)
    sizes: list[int] = []

    def small_memory(batch: PictureBatch) -> None:
        sizes.append(max(batch.shape[2:]))
        if batch.shape[3] > 60:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
            )

    heard: list[tuple[int, int]] = []
    upsampler = nearest(small_memory, tile=1000, watch=lambda n_done, n_all: heard.append((n_done, n_all)))
    assert (upsampler.enlarge(image) == image.repeat(2, axis=0).repeat(2, axis=1)).all()
    assert sizes[:3] == [200, 101, 51] and [n_all for n_done, n_all in heard if n_done == 0] == [1, 2, 8]


def test_memory_too_small_for_any_tile_and_other_failures_are_told(smooth_image: Make) -> None:
    def never(batch: PictureBatch) -> None:
        raise torch.OutOfMemoryError

    def broken(batch: PictureBatch) -> None:
        raise RuntimeError("the third\nis wrong")

    def late(batch: PictureBatch) -> None:
        batch[batch > 0.5] = float("nan")

    for watch, told in ((never, "32 px does not fit"), (broken, "failed on a tile: the third$"), (late, "not finite")):
        with pytest.raises(BackgroundError, match=told):
            nearest(watch, tile=64).enlarge(smooth_image(100, 100))


@pytest.mark.parametrize(("free", "tile"), [(1 << 40, 512), (400 << 20, 256), (90 << 20, 128), (1, 32)])
def test_the_tile_follows_free_memory(free: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upsample, "free_memory", lambda: free)
    upsampler = NetUpsampler(lambda batch: batch, Tiling(2, 1, reach=14, halo=14, pixel_bytes=1200))
    assert upsampler.choose_tile() == tile
    assert upsampler.choose_tile(reserved=free) == 32
    there = replace(upsampler, device_room=lambda: free, largest=1024)
    assert there.choose_tile(reserved=free) == (1024 if free == 1 << 40 else tile)


def test_16_bit_pictures_do_not_take_the_faster_network(smooth_image: Make) -> None:
    seen: list[str] = []
    exact, fast = nearest(lambda batch: seen.append("exact")), nearest(lambda batch: seen.append("fast"))
    upsampler = replace(exact, fast=fast.net)
    for image in (smooth_image(9, 9), smooth_image(9, 9).astype(np.uint16)):
        upsampler.enlarge(image)
    assert seen == ["fast", "exact"], "16 bit would be lost"
