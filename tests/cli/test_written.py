"""The pixels that `gfp restore` writes: quality, chroma, depth, alpha and the order of channels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import JpegImagePlugin

from tests.cli.test_restore import restore

Make = Callable[[int, int], NDArray[np.uint8]]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def written(folder: Path, pixels: Pixels, kind: str, *words: object) -> Path:
    """A PNG of `pixels` (BGR, or BGRA), in which there is no face, through `gfp restore` as a file of `kind`."""
    folder.mkdir()
    assert cv2.imwrite(str(folder / "in.png"), pixels)
    done = restore(folder / "in.png", "-o", folder / f"out.{kind}", "--scale", 1, *words)
    assert done.exit_code == 0, done.stderr
    return folder / f"out.{kind}"


def rgb_of(path: Path) -> NDArray[np.float64]:
    with Pillow.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float64)


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_the_quality_asked_for_is_obeyed(smooth_image: Make, tmp_path: Path, kind: str) -> None:
    image = smooth_image(96, 128)
    paths = [written(tmp_path / str(quality), image, kind, "--quality", quality) for quality in (20, 95)]
    (small, large), (rough, fine) = (
        [path.stat().st_size for path in paths], [np.abs(rgb_of(path) - image[..., ::-1]).mean() for path in paths],
    )  # fmt: skip
    assert large > 2 * small and rough > 2 * fine


def test_a_fine_jpeg_keeps_the_colour_of_every_pixel(smooth_image: Make, tmp_path: Path) -> None:
    samplings = {}
    for quality in (89, 90):
        path = written(tmp_path / str(quality), smooth_image(32, 32), "jpg", "--quality", quality)
        with Pillow.open(path) as picture:
            samplings[quality] = JpegImagePlugin.get_sampling(picture)
    assert samplings == {89: 2, 90: 0}  # 4:2:0 and 4:4:4


@pytest.mark.parametrize("kind", ["bmp", "jpg"])
def test_16_bit_becomes_8_bit_by_the_whole_range(tmp_path: Path, kind: str) -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint16), 8)[None, :, None].repeat(8, 0).repeat(3, 2)
    rgb = rgb_of(written(tmp_path / "deep", levels * np.uint16(257), kind, "--quality", 100))
    assert np.abs(rgb - levels).max() <= (0 if kind == "bmp" else 2)


@pytest.mark.parametrize("unit", [1, 257], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_channels_keep_their_places(tmp_path: Path, kind: str, unit: int) -> None:
    dtype = np.uint8 if unit == 1 else np.uint16
    given = np.full((12, 12, 4), (10, 20, 30, 40), dtype) * dtype(unit)
    path = written(tmp_path / "one", given, kind)
    out = tifffile.imread(path) if kind == "tif" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert out is not None and out.dtype == dtype
    assert (out == (given[..., [2, 1, 0, 3]] if kind == "tif" else given)).all()


def test_nothing_is_told_of_plain_pictures(tmp_path: Path) -> None:
    for name in ("one.png", "one.bmp", "one.jpg"):
        Pillow.new("RGB", (24, 24), "red").save(tmp_path / name)
    done = restore(tmp_path, "-o", tmp_path / "out", "--scale", 1, "--suffix", "_r", "--json", "-")
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if "input" in row]
    assert [row.get("note") for row in rows] == [None] * 3


def test_a_damaged_picture_is_not_called_a_lack_of_memory(smooth_image: Make, tmp_path: Path) -> None:
    Pillow.fromarray(smooth_image(64, 64)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    done = restore(tmp_path / "cut.jpg", "-o", tmp_path / "out")
    assert done.exit_code == 1 and "cut.jpg" in done.stderr and "memory" not in done.stderr
