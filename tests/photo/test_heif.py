"""HEIC, HEIF and AVIF, in and out."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

from gfpcli.errors import InputError, OutputError
from gfpcli.photo import pixels
from gfpcli.photo.heif import encode_heif, read_heif
from gfpcli.photo.heif_boxes import boxes_in, read_items
from gfpcli.photo.left_out import heif_parts, parts_left_out
from gfpcli.photo.pixels import Nclx, scale_from_16, scale_to_16
from tests.photo.made_bytes import box

SmoothImage = Callable[[int, int], NDArray[np.uint8]]
HeifKind = Literal["HEIF", "AVIF"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIF = b"II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\x04\0\0\0cap\0\0\0\0\0"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>caption</x:xmpmeta>"
KINDS: tuple[HeifKind, ...] = ("HEIF", "AVIF")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_lossless_is_exact_at_every_depth(
    rng: np.random.Generator, kind: HeifKind, has_alpha: bool, bits: Literal[8, 10, 12]
) -> None:
    stored = rng.integers(0, 2**bits, (64, 80, 4))
    values = stored.astype(np.uint8) if bits == 8 else scale_to_16(stored.astype(np.uint16), bits)
    image, alpha = np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 3])
    data = encode_heif(image, alpha if has_alpha else None, kind=kind, quality=80, is_lossless=True, bits=bits)
    found = read_heif(data, "a")
    assert found.bits == bits and found.image.dtype == image.dtype and not found.is_gray and found.orientation == 1
    assert (found.image == image).all()
    assert (found.alpha is None) != has_alpha and (found.alpha is None or (found.alpha == alpha).all())


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 16])
def test_depths_scale_to_the_whole_range_and_back(bits: int) -> None:
    values = np.arange(2**bits, dtype=np.uint16)
    wide = scale_to_16(values, bits)
    assert wide[0] == 0 and wide[-1] == 65535 and (scale_from_16(wide, bits) == values).all()
    assert np.abs(wide - values * (65535 / (2**bits - 1))).max() <= 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deep", [False, True])
def test_lossy_gray_and_colour_stay_close(smooth_image: SmoothImage, kind: HeifKind, deep: bool) -> None:
    image = smooth_image(96, 128)
    gray = np.repeat(image[..., :1], 3, axis=2)
    for source, is_gray in ((image, False), (gray, True)):
        wide = source.astype(np.uint16) * 257 if deep else source
        found = read_heif(encode_heif(wide, None, kind=kind, quality=90, is_gray=is_gray, subsampling="4:4:4"), "a")
        assert found.is_gray == is_gray and found.image.dtype == wide.dtype and found.bits == (10 if deep else 8)
        assert np.abs(found.image / (257 if deep else 1) - source).mean() < 4


@pytest.mark.parametrize(("subsampling", "flags"), [("4:4:4", 0x00), ("4:2:2", 0x08), ("4:2:0", 0x0C)])
def test_chroma_is_as_coarse_as_was_asked(smooth_image: SmoothImage, subsampling: str, flags: int) -> None:
    items = read_items(encode_heif(smooth_image(64, 64), None, kind="AVIF", quality=80, subsampling=subsampling))
    config = dict(items.of(items.primary))[b"av1C"]
    assert config[2] & 0x0C == flags  # AV1 in ISOBMFF, 2.3.3: subsampled across, down
    heic = encode_heif(smooth_image(64, 64), None, kind="HEIF", quality=80, subsampling=subsampling)
    assert pillow_heif.open_heif(io.BytesIO(heic)).info["chroma"] == int(subsampling.replace(":", ""))


def test_gray_avif_keeps_its_alpha(smooth_image: SmoothImage) -> None:
    gray = np.repeat(smooth_image(64, 64)[..., :1], 3, axis=2)
    alpha = np.ascontiguousarray(smooth_image(64, 64)[..., 0])
    data = encode_heif(gray, alpha, kind="AVIF", quality=80, is_lossless=True, is_gray=True)
    found = read_heif(data, "a")
    assert found.is_gray and found.alpha is not None
    assert (found.alpha == alpha).all() and np.abs(found.image.astype(int) - gray).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_metadata_and_profile_are_where_others_find_them(
    smooth_image: SmoothImage, kind: HeifKind, deep: bool, has_alpha: bool
) -> None:
    image = smooth_image(64, 64)
    values = image.astype(np.uint16) * 257 if deep else image
    alpha = np.ascontiguousarray(values[..., 0]) if has_alpha else None
    data = encode_heif(values, alpha, kind=kind, quality=80, exif=b"Exif\0\0" + EXIF, xmp=XMP, icc=SRGB)
    assert read_heif(data, "a").icc == SRGB
    if kind == "AVIF":
        with Pillow.open(io.BytesIO(data)) as picture:
            picture.load()
            info = picture.info
            assert picture.getexif()[0x010E] == "cap"
    else:
        info = pillow_heif.open_heif(io.BytesIO(data)).info
        assert info["exif"].endswith(EXIF)
    assert info["icc_profile"] == SRGB and info["xmp"] == XMP


def test_exiftool_reads_what_is_added(tmp_path: Path, smooth_image: SmoothImage) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed (Debian package libimage-exiftool-perl)")
    path = tmp_path / "a.avif"
    path.write_bytes(encode_heif(smooth_image(64, 64), None, kind="AVIF", quality=80, exif=EXIF, xmp=XMP, icc=SRGB))
    done = subprocess.run(["exiftool", "-a", "-G1", "-s", path], capture_output=True, text=True, check=True)
    assert "Warning" not in done.stdout and "ImageDescription" in done.stdout and "[ICC-header]" in done.stdout


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_avif_comes_out_upright(orientation: int) -> None:
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :48] = 255  # the corner that turns are seen by
    out = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    turned = Pillow.fromarray(upright)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposes that store a picture for each orientation
    if orientation > 1:
        turned = turned.transpose(Pillow.Transpose(undo[orientation]))
    turned.save(out, "AVIF", exif=exif.tobytes(), quality=95)
    found = read_heif(out.getvalue(), "a")
    assert found.image.shape == upright.shape and found.orientation == 1
    assert np.abs(found.image.astype(int) - upright).mean() < 3


def test_a_turned_heic_is_turned_once(smooth_image: SmoothImage) -> None:
    image = smooth_image(64, 96)
    out = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = 6
    pillow_heif.encode("RGB", (96, 64), image.tobytes(), out, format="HEIF", quality=95, exif=exif.tobytes())
    found = read_heif(out.getvalue(), "a")
    assert found.image.shape == (96, 64, 3) and found.orientation == 1
    assert np.abs(found.image[..., ::-1].astype(int) - np.rot90(image, -1)).mean() < 8


def with_transfer(data: bytes, transfer: int) -> bytes:
    at = data.index(b"nclx") + 6
    return data[:at] + struct.pack(">H", transfer) + data[at + 2 :]


@pytest.mark.parametrize("kind", KINDS)
def test_hdr_is_refused_and_other_colour_is_told(smooth_image: SmoothImage, kind: HeifKind) -> None:
    p3 = Nclx(12, 13, 6, True)
    data = encode_heif(smooth_image(64, 64), None, kind=kind, quality=80, nclx=p3)
    assert read_heif(data, "a").nclx == p3
    for transfer, word in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(InputError, match=rf"a: HDR \({word}\) is not supported"):
            read_heif(with_transfer(data, transfer), "a")


def test_further_pictures_depth_and_videos_are_told(smooth_image: SmoothImage) -> None:
    file = pillow_heif.from_bytes("RGB", (64, 64), smooth_image(64, 64).tobytes())
    file.add_frombytes("RGB", (48, 48), smooth_image(48, 48).tobytes())
    file.add_frombytes("RGB", (32, 32), smooth_image(32, 32).tobytes())
    out = io.BytesIO()
    file.save(out, format="HEIF", primary_index=1, quality=80)
    found = read_heif(out.getvalue(), "a")
    assert found.image.shape == (48, 48, 3) and found.notes == ("2 more pictures are left out",)
    video = box(b"mpvd", box(b"ftyp", b"mp42\0\0\0\0"))
    assert "its motion video is left out" in parts_left_out(out.getvalue() + video, "HEIF")


@pytest.mark.parametrize(
    ("urn", "line"),
    [
        ("urn:com:apple:photo:2020:aux:hdrgainmap", "gain map"),
        ("urn:mpeg:hevc:2015:auxid:2", "depth map"),
        ("urn:com:apple:photo:2018:aux:portraiteffectsmatte", "mattes"),
    ],
)
def test_auxiliary_pictures_are_told_and_alpha_is_not(smooth_image: SmoothImage, urn: str, line: str) -> None:
    alpha = np.ascontiguousarray(smooth_image(64, 64)[..., 0])
    data = encode_heif(smooth_image(64, 64), alpha, kind="AVIF", quality=80)
    assert read_heif(data, "a").notes == ()
    items = read_items(data)
    properties = [
        (kind, b"\0\0\0\0" + urn.encode() + b"\0" if kind == b"auxC" else body) for kind, body in items.properties
    ]
    (found,) = heif_parts(data, replace(items, properties=properties))
    assert line in found


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_and_hostile_files_give_one_line(
    monkeypatch: pytest.MonkeyPatch, smooth_image: SmoothImage, kind: HeifKind
) -> None:
    whole = encode_heif(smooth_image(64, 64), None, kind=kind, quality=80)
    for cut in (0, 10, 40, 150, len(whole) // 2):
        with pytest.raises(InputError) as told:
            read_heif(whole[:cut], "a")
        assert "\n" not in str(told.value)
    at = whole.index(b"ispe") + 8
    with pytest.raises(InputError, match="100000x100000 is more than"):
        read_heif(whole[:at] + struct.pack(">II", 100_000, 100_000) + whole[at + 8 :], "a")
    monkeypatch.setattr(pixels, "lacking", lambda n: "it needs about 9 GB, 1 GB are free")
    with pytest.raises(InputError, match="not enough memory for 64x64"):
        read_heif(whole, "a")


def test_what_a_codec_cannot_hold_is_one_line() -> None:
    with pytest.raises(OutputError, match="a.heic: cannot be written as HEIF"):
        encode_heif(np.zeros((0, 8, 3), np.uint8), None, kind="HEIF", quality=80, name="a.heic")


def test_boxes_end_where_they_cannot_be() -> None:
    assert [each.kind for each in boxes_in(box(b"aaaa", b"x") + b"\xff" * 20, 0, 29)] == [b"aaaa"]
    assert list(boxes_in(b"\0\0\0\1", 0, 4)) == []


def test_the_reported_files(shared_data: Path) -> None:
    reports = shared_data / "reports"
    if not reports.is_dir():
        pytest.skip("reports not present")
    found = read_heif((reports / "IMG_0001.HEIC").read_bytes(), "IMG_0001.HEIC")
    assert found.image.shape == (256, 256, 3) and found.icc and found.notes == ()
    with pytest.raises(InputError, match=r"HDR \(PQ\)"):
        read_heif((reports / "hdr_pq.avif").read_bytes(), "hdr_pq.avif")
