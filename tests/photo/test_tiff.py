"""TIFF pictures of every layout come out as they are shown, or are refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

from gfpcli.errors import InputError
from gfpcli.photo import pixels
from gfpcli.photo.tiff import read_tiff
from tests.photo.made_bytes import BITS, COUNTS, LONG, OFFSETS, PHOTOMETRIC, SHORT, WIDTH, directory, layout, tiff

SmoothImage = Callable[[int, int], NDArray[np.uint8]]
Array = NDArray[np.uint8] | NDArray[np.uint16]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
GRAY = imagecodecs.cms_profile("gray", gamma=2.2)


def written(array: Array, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, metadata=None, **options)  # type: ignore[arg-type]
    return out.getvalue()


def rgb_of(data: bytes) -> Array:
    return read_tiff(data, "a.tif").image[..., ::-1]


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("depth", [8, 16])
def test_every_layout_is_exact(
    smooth_image: SmoothImage, compression: str, planar: str, tile: tuple[int, int] | None, byteorder: str, depth: int
) -> None:
    rgb: Array = smooth_image(70, 90)
    rgb = rgb if depth == 8 else rgb.astype(np.uint16) * 251 + 7
    data = written(
        rgb if planar == "contig" else np.moveaxis(rgb, -1, 0),
        photometric="rgb",
        compression=compression,
        planarconfig=planar,
        tile=tile,
        byteorder=byteorder,
        rowsperstrip=None if tile else 16,
    )
    found = read_tiff(data, "a.tif")
    assert found.image.dtype == rgb.dtype and not found.is_gray and found.alpha is None and found.notes == ()
    assert (found.image[..., ::-1] == rgb).all()


@pytest.mark.parametrize(
    "options",
    [
        {"bigtiff": True},
        {"compression": "lzw", "predictor": True},
        {"compression": "png"},
        {"compression": "webp"},
        {"compression": "jpegxl"},
        {"compression": "jpeg2000"},
    ],
)
def test_big_predicted_and_embedded_files(smooth_image: SmoothImage, options: dict[str, object]) -> None:
    rgb = smooth_image(40, 50)
    assert (rgb_of(written(rgb, photometric="rgb", **options)) == rgb).all()


@pytest.mark.parametrize("compression", ["raw", "group3", "group4", "packbits", "tiff_lzw", "tiff_ccitt"])
def test_black_and_white(smooth_image: SmoothImage, compression: str) -> None:
    bits = smooth_image(40, 50)[..., 0] > 120
    out = io.BytesIO()
    Pillow.fromarray(bits).save(out, "TIFF", compression=compression)
    found = read_tiff(out.getvalue(), "a.tif")
    assert found.is_gray and found.bits == 1 and (found.image[..., 0] == bits * np.uint8(255)).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_white_is_zero_is_inverted_and_its_alpha_is_not(rng: np.random.Generator, depth: int) -> None:
    gray = rng.integers(0, 2**depth, (20, 30, 2)).astype(np.uint8 if depth == 8 else np.uint16)
    found = read_tiff(tiff({**layout(gray, 0), 338: (SHORT, [2])}, gray.tobytes()), "a.tif")
    assert found.is_gray and (found.image == (2**depth - 1 - gray[..., :1])).all()
    assert found.alpha is not None and (found.alpha == gray[..., 1]).all()


def test_extra_channels_are_alpha_only_where_the_file_says_so(rng: np.random.Generator) -> None:
    rgbi = rng.integers(0, 65536, (20, 30, 4), dtype=np.uint16)
    for tags in ({338: (SHORT, [0])}, {}):
        found = read_tiff(tiff({**layout(rgbi, 2), **tags}, rgbi.tobytes()), "a.tif")
        assert found.alpha is None and (found.image[..., ::-1] == rgbi[..., :3]).all()
        assert len(found.notes) == 1 and "fourth channel" in found.notes[0]
    apart = read_tiff(tiff({**layout(rgbi, 2), 338: (SHORT, [2])}, rgbi.tobytes()), "a.tif")
    assert apart.alpha is not None and (apart.alpha == rgbi[..., 3]).all() and apart.notes == ()
    five = np.dstack([rgbi, rgbi[..., 0]])
    behind = read_tiff(tiff({**layout(five, 2), 338: (SHORT, [0, 2])}, five.tobytes()), "a.tif")
    assert behind.alpha is not None and (behind.alpha == five[..., 4]).all() and "fourth" in behind.notes[0]


@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_that_was_multiplied_in_is_divided_out(rng: np.random.Generator, depth: int) -> None:
    top = 2**depth - 1
    kind = np.uint8 if depth == 8 else np.uint16
    colour, alpha = rng.integers(0, top + 1, (20, 30, 3)), rng.integers(top // 2, top + 1, (20, 30, 1))
    alpha[0] = 0
    stored = np.dstack([np.rint(colour * (alpha / top)), alpha]).astype(kind)
    found = read_tiff(tiff({**layout(stored, 2), 338: (SHORT, [1])}, stored.tobytes()), "a.tif")
    assert np.abs(found.image[1:, :, ::-1].astype(int) - colour[1:]).max() <= 1
    assert (found.image[0] == 0).all() and found.alpha is not None and (found.alpha == alpha[..., 0]).all()


def test_bits_in_the_other_order(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    turned = np.packbits(np.unpackbits(rgb.ravel()).reshape(-1, 8)[:, ::-1]).tobytes()
    assert (rgb_of(tiff({**layout(rgb, 2), 266: (SHORT, [2])}, turned)) == rgb).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(smooth_image: SmoothImage, bits: int) -> None:
    picture = Pillow.fromarray(smooth_image(40, 51)).quantize(2**bits)
    out = io.BytesIO()
    picture.save(out, "TIFF")
    found = read_tiff(out.getvalue(), "a.tif")
    assert not found.is_gray and (found.image[..., ::-1] == np.asarray(picture.convert("RGB"))).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_few_grays_span_the_whole_range(rng: np.random.Generator, bits: int) -> None:
    gray = rng.integers(0, 2**bits, (6, 8), dtype=np.uint8)
    packed = np.packbits(((gray[..., None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).ravel()).tobytes()
    found = read_tiff(tiff({**layout(gray, 1), BITS: (SHORT, [bits])}, packed), "a.tif")
    assert (found.image[..., 0] == gray.astype(int) * 255 // (2**bits - 1)).all()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("photometric", [8, 9])
def test_lab_becomes_srgb_without_its_profile(smooth_image: SmoothImage, depth: int, photometric: int) -> None:
    rgb = smooth_image(40, 50)
    lab = imagecodecs.cms_transform(rgb, SRGB, LAB, colorspace="rgb", outcolorspace="lab", outdtype="float64")
    top, unit = (255, 1) if depth == 8 else (65535 if photometric == 8 else 65280, 256)
    light, chroma = np.rint(lab[..., :1] * top / 100), np.rint((lab[..., 1:] + (128 if photometric == 9 else 0)) * unit)
    kind = np.dtype(np.uint8 if depth == 8 else np.uint16)
    stored = np.concatenate([light, chroma % 2**depth], axis=2).astype(kind)
    icc = struct.unpack(f"<{len(LAB)}B", LAB)
    found = read_tiff(tiff({**layout(stored, photometric), 34675: (7, bytes(icc))}, stored.tobytes()), "a.tif")
    assert found.image.dtype == kind and found.icc is None and not found.is_gray
    assert "Lab" in found.notes[0]
    error = np.abs(found.image[..., ::-1] / (2**depth - 1) * 255 - rgb)
    assert error.mean() < (1.5 if depth == 8 else 0.05) and error.max() < (16 if depth == 8 else 1)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_cmyk_and_ycbcr_become_rgb(smooth_image: SmoothImage, compression: str) -> None:
    rgb = Pillow.fromarray(cv2.GaussianBlur(smooth_image(64, 80), (0, 0), 3))
    for mode, allowed in (("CMYK", 0), ("YCbCr", 3)):
        out = io.BytesIO()
        rgb.convert(mode).save(
            out, "TIFF", compression=compression, **({"quality": 100} if compression == "jpeg" else {})
        )
        found = read_tiff(out.getvalue(), "a.tif")
        assert not found.is_gray and found.alpha is None and found.icc is None
        expected = np.asarray(Pillow.open(io.BytesIO(out.getvalue())).convert("RGB"), float)
        assert np.abs(found.image[..., ::-1] - expected).max() <= allowed
        assert ("CMYK" in " ".join(found.notes)) == (mode == "CMYK")


def test_cmyk_is_converted_by_its_profile_which_is_then_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    inks = np.full((4, 4, 4), 40, np.uint8)
    icc = bytearray(SRGB)
    icc[16:20] = b"CMYK"
    used = []

    def convert(band: Array, profile: bytes, outprofile: bytes, **options: str) -> Array:
        used.append((profile, options["colorspace"], options["outcolorspace"]))
        return np.full((*band.shape[:2], 3), 99, band.dtype)

    monkeypatch.setattr(imagecodecs, "cms_transform", convert)
    found = read_tiff(tiff({**layout(inks, 5), 34675: (7, bytes(icc))}, inks.tobytes()), "a.tif")
    assert used == [(bytes(icc), "cmyk", "rgb")]
    assert (found.image == 99).all() and found.icc is None and found.notes == ("converted from CMYK to sRGB",)


def test_ycbcr_with_coarser_chroma_and_no_jpeg() -> None:
    units = np.array([[50, 60, 70, 80, 128, 128]] * 4, np.uint8)  # 2x2 luma, Cb, Cr; 4x4 pixels
    tags = {**layout(np.zeros((4, 4, 3), np.uint8), 6), 530: (SHORT, [2, 2])}
    expected = np.tile(np.array([[50, 60], [70, 80]]), (2, 2))
    for compression, packed in (
        (1, units.tobytes()),
        (5, imagecodecs.lzw_encode(units.tobytes())),
        (8, zlib.compress(units)),
    ):
        found = read_tiff(tiff({**tags, 259: (SHORT, [compression])}, packed), "a.tif")
        assert np.abs(found.image.astype(int) - expected[..., None]).max() <= 1
    with pytest.raises(InputError, match="cut short"):
        read_tiff(tiff(tags, units.tobytes()[:20]), "a.tif")


def test_old_jpeg(smooth_image: SmoothImage) -> None:
    rgb = cv2.GaussianBlur(smooth_image(48, 64), (0, 0), 3)
    out = io.BytesIO()
    Pillow.fromarray(rgb).save(out, "JPEG", quality=98, subsampling=2)
    where = {512: (SHORT, [1]), 513: (LONG, [8]), 514: (LONG, [len(out.getvalue())])}
    tags = {**layout(rgb, 6), 259: (SHORT, [6]), 530: (SHORT, [2, 2]), **where}
    assert np.abs(rgb_of(tiff(tags, out.getvalue())).astype(int) - rgb).mean() < 2


def test_profiles_stay_only_with_the_colour_model_they_belong_to(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    for array, photometric, icc, kept in (
        (rgb, 2, SRGB, True),
        (rgb, 2, GRAY, False),
        (rgb[..., 0], 1, GRAY, True),
        (rgb[..., 0], 1, SRGB, False),
        (rgb, 2, b"junk" * 40, False),
    ):
        plain = np.ascontiguousarray(array)
        found = read_tiff(tiff({**layout(plain, photometric), 34675: (7, icc)}, plain.tobytes()), "a.tif")
        assert found.icc == (icc if kept else None)
        assert bool(found.notes) != kept


def test_the_first_page_that_is_no_thumbnail_and_no_mask_is_the_picture(smooth_image: SmoothImage) -> None:
    rgb = smooth_image(40, 50)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(rgb[:8, :10], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(rgb[..., 0] > 99, photometric=4, subfiletype=4, metadata=None)
        writer.write(rgb, photometric="rgb", metadata=None)
    found = read_tiff(out.getvalue(), "a.tif")
    assert (found.image[..., ::-1] == rgb).all() and found.notes == ()
    with tifffile.TiffWriter(out := io.BytesIO()) as writer:
        for _ in range(3):
            writer.write(rgb, photometric="rgb", metadata=None)
    assert "2 more pages are left out" in read_tiff(out.getvalue(), "a.tif").notes[0]


def test_a_picture_in_a_sub_directory_behind_a_thumbnail(smooth_image: SmoothImage) -> None:
    rgb = smooth_image(40, 50)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(rgb[:8, :10], photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(rgb, photometric="rgb", metadata=None)
    assert (rgb_of(out.getvalue()) == rgb).all()


def test_the_orientation_is_returned_not_applied(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    for value, expected in ((6, 6), (1, 1), (9, 1), (0, 1)):
        found = read_tiff(tiff({**layout(rgb, 2), 274: (SHORT, [value])}, rgb.tobytes()), "a.tif")
        assert found.orientation == expected and (found.image[..., ::-1] == rgb).all()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({BITS: (SHORT, [10])}, "10 bits"),
        ({BITS: (SHORT, [12])}, "12 bits"),
        ({BITS: (SHORT, [14])}, "14 bits"),
        ({BITS: (SHORT, [32])}, "32 bits"),
        ({BITS: (SHORT, [32]), 339: (SHORT, [3])}, "32-bit floating-point"),
        ({BITS: (SHORT, [16]), 339: (SHORT, [3])}, "16-bit floating-point"),
        ({339: (SHORT, [2])}, "8-bit signed"),
        ({PHOTOMETRIC: (SHORT, [32803])}, "CFA"),
        ({PHOTOMETRIC: (SHORT, [32845])}, "LOGLUV"),
        ({259: (SHORT, [34676])}, "SGILOG"),
        ({259: (SHORT, [9999])}, "9999"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tags: dict[int, tuple[int, list[int]]], words: str) -> None:
    gray = np.zeros((8, 8), np.uint8)
    with pytest.raises(InputError, match=words) as told:
        read_tiff(tiff({**layout(gray, 1), **tags}, bytes(256)), "a.tif")
    assert str(told.value).startswith("a.tif: ") and "\n" not in str(told.value)


@pytest.mark.parametrize(
    "tags",
    [
        {WIDTH: (LONG, [100_000]), 257: (LONG, [100_000])},
        {WIDTH: (LONG, [0])},
        {277: (SHORT, [60000])},
        {32997: (LONG, [100_000])},
    ],
)
def test_hostile_sizes_are_refused_before_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch, tags: dict[int, tuple[int, list[int]]]
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", forbidden)
    with pytest.raises(InputError) as told:
        read_tiff(tiff({**layout(np.zeros((8, 8), np.uint8), 1), **tags}, bytes(64)), "a.tif")
    assert "decoded" not in str(told.value)


def test_a_picture_larger_than_free_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "lacking", lambda n: "it needs about 9 GB, 1 GB are free")
    with pytest.raises(InputError, match="not enough memory for 8x8 pixels"):
        read_tiff(written(np.zeros((8, 8), np.uint8)), "a.tif")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "jpeg"])
def test_damaged_and_cut_files_give_one_line(smooth_image: SmoothImage, compression: str) -> None:
    whole = written(smooth_image(64, 64), photometric="rgb", compression=compression, rowsperstrip=16)
    for cut in (0, 3, 8, 60, len(whole) // 2, len(whole) - 300):
        with pytest.raises(InputError) as told:
            read_tiff(whole[:cut], "a.tif")
        assert "\n" not in str(told.value)


def test_missing_strips_are_not_read_as_black() -> None:
    gray = np.zeros((8, 8), np.uint8)
    for tags in (
        {OFFSETS: (LONG, [0])},
        {COUNTS: (LONG, [0]), 259: (SHORT, [5])},
        {OFFSETS: (LONG, [8]), 278: (LONG, [4])},
    ):
        with pytest.raises(InputError, match="strips"):
            read_tiff(tiff({**layout(gray, 1), **tags}, bytes(64)), "a.tif")


def test_a_small_file_that_says_it_holds_a_large_one_is_refused(smooth_image: SmoothImage) -> None:
    inner = io.BytesIO()
    Pillow.new("L", (4000, 4000)).save(inner, "JPEG2000")
    data = tiff({**layout(np.zeros((8, 8), np.uint8), 1), 259: (SHORT, [34712])}, inner.getvalue())
    with pytest.raises(InputError, match="larger than its place"):
        read_tiff(data, "a.tif")


def test_directories_in_a_circle_end() -> None:
    gray = np.zeros((8, 8), np.uint8)
    once = tiff(layout(gray, 1), gray.tobytes(), following=8 + 64)
    assert read_tiff(once, "a.tif").image.shape == (8, 8, 3)
    data = struct.pack("<2sHI", b"II", 42, 8) + directory({330: (LONG, [8])}, 8, 8)
    with pytest.raises(InputError):
        read_tiff(data, "a.tif")


def test_the_reported_files(shared_data: Path) -> None:
    reports = shared_data / "reports"
    if not reports.is_dir():
        pytest.skip("reports not present")
    plain = read_tiff((reports / "scan8.tif").read_bytes(), "scan8.tif")
    planar, rgbi, lab, white = (
        read_tiff((reports / name).read_bytes(), name)
        for name in ("planar16.tif", "rgbi16.tif", "lab8.tif", "miniswhite16.tif")
    )
    assert (planar.image == plain.image.astype(np.uint16) * 257).all()
    assert (rgbi.image == planar.image).all() and rgbi.alpha is None and "fourth channel" in rgbi.notes[0]
    assert lab.icc is None and np.abs(lab.image.astype(int) - plain.image).mean() < 1
    stored = tifffile.imread(reports / "miniswhite16.tif")
    assert white.is_gray and (white.image[..., 0] == 65535 - stored).all()
