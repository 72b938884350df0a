"""JPEG XL, in and out."""

from __future__ import annotations

import builtins
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import InputError
from gfpcli.photo.jxl import encode_jxl, jxl_header, read_jxl
from gfpcli.photo.pixels import scale_to_16

pytest.importorskip("pillow_jxl")
SmoothImage = Callable[[int, int], NDArray[np.uint8]]
EXIF = b"II*\0\x08\0\0\0\0\0\0\0\0\0"


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("is_gray", [False, True])
@pytest.mark.parametrize("has_exif", [False, True])
def test_lossless_is_exact(
    rng: np.random.Generator, depth: int, has_alpha: bool, is_gray: bool, has_exif: bool
) -> None:
    values = rng.integers(0, 2**depth, (33, 47, 4)).astype(np.uint8 if depth == 8 else np.uint16)
    image = np.repeat(values[..., :1], 3, axis=2) if is_gray else np.ascontiguousarray(values[..., :3])
    alpha = np.ascontiguousarray(values[..., 3]) if has_alpha else None
    data = encode_jxl(image, alpha, quality=90, is_lossless=True, is_gray=is_gray, exif=EXIF if has_exif else None)
    found = read_jxl(data, "a")
    assert (found.is_gray, found.bits, found.image.dtype) == (is_gray, depth, image.dtype)
    assert (found.image == image).all()
    assert (found.alpha is None) != has_alpha and (alpha is None or (found.alpha == alpha).all())
    assert (EXIF in data) == has_exif


@pytest.mark.parametrize("bits", [10, 12])
def test_other_depths_are_scaled_to_the_whole_range(rng: np.random.Generator, bits: int) -> None:
    values = rng.integers(0, 2**bits, (20, 30, 3), dtype=np.uint16)
    found = read_jxl(imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=bits), "a")
    assert found.bits == bits and (found.image[..., ::-1] == scale_to_16(values, bits)).all()


@pytest.mark.parametrize("size", [(8, 8), (40, 48), (256, 256), (257, 300), (3, 2000), (160, 256), (1000, 2000)])
def test_the_header_tells_the_size(size: tuple[int, int]) -> None:
    header = jxl_header(imagecodecs.jpegxl_encode(np.zeros((*size, 3), np.uint8), effort=1))
    assert (header.height, header.width, header.bits, header.is_animated) == (*size, 8, False)


def test_lossy_quality_counts(smooth_image: SmoothImage) -> None:
    image = smooth_image(128, 128)
    sizes = [len(encode_jxl(image, None, quality=quality)) for quality in (40, 80, 95)]
    assert sizes == sorted(sizes)
    found = read_jxl(encode_jxl(image, None, quality=95), "a").image
    assert np.abs(found.astype(int) - image).mean() < 3


def test_colours_of_a_profile_are_converted(smooth_image: SmoothImage) -> None:
    image = smooth_image(32, 32)
    wide = imagecodecs.cms_profile("adobergb")
    found = read_jxl(encode_jxl(image, None, quality=90, is_lossless=True, icc=wide), "a").image
    expected = imagecodecs.cms_transform(
        np.ascontiguousarray(image[..., ::-1]),
        wide,
        imagecodecs.cms_profile("srgb"),
        colorspace="rgb",
        outcolorspace="rgb",
    )
    assert (found[..., ::-1] == expected).all() and (found != image).any()


def test_damaged_and_hostile_files_give_one_line(smooth_image: SmoothImage) -> None:
    whole = encode_jxl(smooth_image(64, 64), None, quality=90)
    for cut in (0, 2, 5, len(whole) // 2):
        with pytest.raises(InputError) as told:
            read_jxl(whole[:cut], "a")
        assert "\n" not in str(told.value)
    number = 2 << 1 | (99_999 << 3)  # not small, 18 bits; then ratio 1:1
    hostile = b"\xff\x0a" + (number | 1 << 21).to_bytes(8, "little")
    with pytest.raises(InputError, match="100000x100000 is more than"):
        read_jxl(hostile, "a")


def test_floats_are_refused_by_name() -> None:
    data = imagecodecs.jpegxl_encode(np.zeros((16, 16, 3), np.float32))
    with pytest.raises(InputError, match="a: floating-point JPEG XL is not supported"):
        read_jxl(data, "a")


@pytest.mark.parametrize(("curve", "word"), [("PeQ", "PQ"), ("HLG", "HLG")])
def test_hdr_is_refused(tmp_path: Path, smooth_image: SmoothImage, curve: str, word: str) -> None:
    if shutil.which("cjxl") is None:
        pytest.skip("cjxl is not installed (Debian package libjxl-tools)")
    (tmp_path / "a.ppm").write_bytes(b"P6 32 32 255\n" + smooth_image(32, 32).tobytes())
    space = f"color_space=RGB_D65_202_Rel_{curve}"
    subprocess.run(["cjxl", "a.ppm", "a.jxl", "-x", space], cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(InputError, match=rf"HDR \({word}\)"):
        read_jxl((tmp_path / "a.jxl").read_bytes(), "a.jxl")


def test_without_the_extra_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "pillow_jxl":
            raise ImportError(name)
        return plain(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"a.jxl: JPEG XL: pip install 'gfpcli\[jxl\]'"):
        read_jxl(b"\xff\x0a", "a.jxl")


def test_the_reported_file(shared_data: Path) -> None:
    path = shared_data / "reports" / "photo.jxl"
    if not path.is_file():
        pytest.skip("reports not present")
    assert read_jxl(path.read_bytes(), "photo.jxl").image.shape == (256, 256, 3)
