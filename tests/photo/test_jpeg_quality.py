"""The quality of a JPEG, and what is written with it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from gfpcli.photo.jpeg_quality import (
    DEFAULT_QUALITY,
    LEAST_QUALITY,
    JpegQuality,
    is_lossless_webp,
    jpeg_quality,
    quality_for,
)
from tests.photo.made_bytes import jpeg_with

SmoothImage = Callable[[int, int], NDArray[np.uint8]]


def saved(rgb: NDArray[np.uint8], format: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(rgb).save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_libjpeg_s_own_quality_is_found_exactly(smooth_image: SmoothImage, subsampling: str) -> None:
    rgb = smooth_image(16, 16)
    for quality in range(25, 100):
        data = saved(rgb, quality=quality, subsampling=subsampling, progressive=quality % 2 == 0)
        assert jpeg_quality(data) == JpegQuality(quality, subsampling)
    assert jpeg_quality(saved(rgb, quality=100, subsampling=0)) == JpegQuality(100, "4:4:4")


def test_gray_and_segments_before_the_tables(smooth_image: SmoothImage) -> None:
    data = jpeg_with(saved(smooth_image(16, 16)[..., 0], quality=83), (0xE1, b"Exif\0\0" + b"\xff\xdb" * 99))
    assert jpeg_quality(data) == JpegQuality(83, "4:4:4")


def test_tables_behind_the_frame_count(smooth_image: SmoothImage) -> None:
    data = saved(smooth_image(16, 16), quality=83, subsampling=2)
    start, end = data.index(b"\xff\xdb"), data.index(b"\xff\xc0")
    scan = data.index(b"\xff\xda")
    moved = data[:start] + data[end:scan] + data[start:end] + data[scan:]
    assert jpeg_quality(moved) == JpegQuality(83, "4:2:0")


def test_other_tables_are_never_undercut(smooth_image: SmoothImage, rng: np.random.Generator) -> None:
    for _ in range(20):
        tables = [np.sort(rng.integers(1, 60, 64)).tolist() for _ in range(2)]
        found = jpeg_quality(saved(smooth_image(16, 16), qtables=tables, subsampling=0))
        assert found is not None
        again = Pillow.open(io.BytesIO(saved(smooth_image(16, 16), quality=found.quality, subsampling=0)))
        ours = again.quantization  # type: ignore[attr-defined]
        assert sum(ours[0]) + 2 * sum(ours[1]) <= sum(tables[0]) + 2 * sum(tables[1])


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((0x22, 0x11), "4:2:0"),
        ((0x21, 0x11), "4:2:2"),
        ((0x12, 0x11), "4:4:4"),
        ((0x41, 0x11), "4:2:2"),
        ((0x11, 0x11), "4:4:4"),
        ((0x22, 0x21), "4:4:4"),
        ((0x42, 0x11), "4:2:0"),
    ],
)
def test_odd_subsampling_becomes_the_next_finer(
    smooth_image: SmoothImage, factors: tuple[int, int], expected: str
) -> None:
    data = bytearray(saved(smooth_image(16, 16), quality=80))
    at = data.index(b"\xff\xc0") + 10
    data[at + 1], data[at + 4], data[at + 7] = factors[0], factors[1], factors[1]
    found = jpeg_quality(bytes(data))
    assert found is not None and found.subsampling == expected


def test_what_auto_writes(smooth_image: SmoothImage) -> None:
    rgb = smooth_image(16, 16)
    assert quality_for(saved(rgb, quality=88, subsampling=2), "JPEG") == JpegQuality(88, "4:2:0")
    assert quality_for(saved(rgb, quality=20, subsampling=2), "JPEG") == JpegQuality(LEAST_QUALITY, "4:2:0")
    assert quality_for(saved(rgb, "PNG"), "PNG") == JpegQuality(DEFAULT_QUALITY, "4:4:4")
    assert quality_for(b"\xff\xd8\xff", "JPEG") == JpegQuality(DEFAULT_QUALITY, "4:4:4")


def test_a_photo_saved_again_does_not_grow(smooth_image: SmoothImage, rng: np.random.Generator) -> None:
    rgb = np.clip(smooth_image(1200, 1600) + rng.normal(0, 9, (1200, 1600, 3)), 0, 255).astype(np.uint8)
    source = saved(rgb, quality=85, subsampling=2)
    found = quality_for(source, "JPEG")
    decoded = np.asarray(Pillow.open(io.BytesIO(source)))
    again = saved(decoded, quality=found.quality, subsampling=found.subsampling)
    before = saved(decoded, quality=95, subsampling=0)
    assert len(again) < 1.05 * len(source) < len(before) / 1.5


def test_lossless_webp_is_known(smooth_image: SmoothImage) -> None:
    rgb = smooth_image(16, 16)
    exif = Pillow.Exif()
    exif[0x010E] = "caption"  # which makes the file an extended one
    for options in ({}, {"exif": exif.tobytes()}):
        assert is_lossless_webp(saved(rgb, "WEBP", lossless=True, **options))
        assert not is_lossless_webp(saved(rgb, "WEBP", quality=90, **options))
    pages = [Pillow.fromarray(rgb), Pillow.fromarray(rgb[::-1])]
    for lossless in (True, False):
        out = io.BytesIO()
        pages[0].save(out, "WEBP", save_all=True, append_images=pages[1:], lossless=lossless)
        assert is_lossless_webp(out.getvalue()) == lossless
    assert not is_lossless_webp(b"RIFF") and not is_lossless_webp(saved(rgb))


def test_the_reported_file(shared_data: Path) -> None:
    path = shared_data / "reports" / "lossless.webp"
    if not path.is_file():
        pytest.skip("reports not present")
    assert is_lossless_webp(path.read_bytes())
