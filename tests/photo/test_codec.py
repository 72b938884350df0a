"""Reading and writing photos: pixels, depth, alpha, colour and what is carried, and what is told of the rest."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import write_bytes
from gfpcli.files.formats import SUFFIX_FORMATS
from gfpcli.photo import encode
from gfpcli.photo.carried import Carried
from gfpcli.photo.codec import Photo, decode_photo, read_frame, read_photo, size_of
from gfpcli.photo.encode import EncodedPhoto, encode_photo
from gfpcli.photo.heif import encode_heif
from gfpcli.photo.jpeg_quality import is_lossless_webp, jpeg_quality
from gfpcli.photo.pixels import Nclx
from gfpcli.types import Frame
from tests.photo.made import made_exif, made_xmp, pixels, profile

KINDS = ("jpg", "png", "webp", "tif", "heic", "avif", "jxl")


def made_photo(image: np.ndarray, alpha: np.ndarray | None = None, *, is_gray: bool = False, **facts: object) -> Photo:
    return Photo(Frame(0, image, "made", alpha=alpha, is_gray=is_gray), "PNG", Carried(), **facts)  # type: ignore[arg-type]


def encoded(photo: Photo, kind: str, **options: object) -> EncodedPhoto:
    return encode_photo(photo, photo.frame.image, photo.frame.alpha, kind, **options)  # type: ignore[arg-type]


def write_photo(
    path: Path, photo: Photo, image: np.ndarray, alpha: np.ndarray | None, *, strip: bool = False
) -> object:
    made = encode_photo(photo, image, alpha, SUFFIX_FORMATS[path.suffix], strip=strip)  # type: ignore[arg-type]
    write_bytes(path, made.data)
    return made.notes


def saved(kind: str, picture: Pillow.Image | None = None, **options: object) -> bytes:
    out = io.BytesIO()
    (picture or Pillow.fromarray(pixels())).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_all_come_out_upright(shared_data: Path, orientation: int) -> None:
    odd = shared_data / "photos" / "odd"
    upright = read_frame(odd / "exif_orientation_1.jpg", 0).image.astype(float)
    path = odd / f"exif_orientation_{orientation}.jpg"
    image = read_frame(path, 0).image
    assert image.shape == upright.shape and size_of(path) == upright.shape[:2]
    assert np.abs(image - upright).mean() < 6


@pytest.mark.parametrize(
    ("name", "dtype", "has_alpha", "is_gray"),
    [
        ("rgb16.png", np.uint16, False, False),
        ("rgba16.png", np.uint16, True, False),
        ("gray16.png", np.uint16, False, True),
        ("gray8.jpg", np.uint8, False, True),
        ("gray_alpha8.png", np.uint8, True, True),
    ],
)
def test_depth_alpha_and_gray_survive_a_round_trip(
    shared_data: Path, tmp_path: Path, name: str, dtype: type, has_alpha: bool, is_gray: bool
) -> None:
    photo = read_photo(shared_data / "photos" / "odd" / name, 0)
    write_photo(tmp_path / name, photo, photo.frame.image, photo.frame.alpha)
    again = read_frame(tmp_path / name, 0)
    for each in (photo.frame, again):
        assert (each.image.dtype, each.alpha is not None, each.is_gray) == (dtype, has_alpha, is_gray)
    if name.endswith("png"):
        assert (again.image == photo.frame.image).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JXL", "AVIF"])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("is_gray", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_shape_of_picture_comes_back(kind: str, has_alpha: bool, is_gray: bool, dtype: type) -> None:
    if kind == "JXL":
        pytest.importorskip("pillow_jxl")
    image = pixels((24, 32, 3), dtype)
    image = np.repeat(image[..., :1], 3, axis=2) if is_gray else image
    alpha = pixels((24, 32), dtype) if has_alpha else None
    top = np.iinfo(dtype).max
    again = decode_photo(encoded(made_photo(image, alpha, is_gray=is_gray), kind).data, "again", 0).frame
    assert (again.image.dtype, again.is_gray, again.alpha is None) == (dtype, is_gray, alpha is None)
    limit = 0 if kind in ("PNG", "TIFF") else 0.02 * top
    assert np.abs(again.image.astype(float) - image).mean() <= limit
    if alpha is not None and again.alpha is not None:
        assert np.abs(again.alpha.astype(float) - alpha).mean() <= limit


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_survives_and_strip_drops_it(tmp_path: Path, kind: str) -> None:
    words = PngImagePlugin.PngInfo()
    words.add_itxt("XML:com.adobe.xmp", made_xmp().decode())
    srgb = profile()  # with the time at which it was made
    data = saved("PNG", exif=b"Exif\0\0" + made_exif(), icc_profile=srgb, pnginfo=words, dpi=(300, 300))
    photo = decode_photo(data, "photo", 0)
    assert photo.frame.image.shape == (64, 48, 3), "orientation 6"
    assert write_photo(tmp_path / f"out.{kind}", photo, photo.frame.image, None) == ()
    if kind == "jxl":
        pytest.importorskip("pillow_jxl")
    again = read_photo(tmp_path / f"out.{kind}", 0)
    assert again.orientation == 1 and again.frame.image.shape == (64, 48, 3)
    assert again.carried.exif and b"Grandma Smith" in again.carried.exif
    assert again.carried.xmp and b"family" in again.carried.xmp
    assert again.carried.icc == srgb or kind == "jxl"
    write_photo(tmp_path / f"bare.{kind}", photo, photo.frame.image, None, strip=True)
    bare = read_photo(tmp_path / f"bare.{kind}", 0).carried
    assert (bare.exif, bare.xmp, bare.dpi) == (None, None, None) and (bare.icc is None or kind == "jxl")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_the_size_in_print_stays(kind: str) -> None:
    photo = decode_photo(saved("JPEG", dpi=(300, 300)), "photo", 0)
    twice = np.repeat(np.repeat(photo.frame.image, 2, 0), 2, 1)
    again = decode_photo(encode_photo(photo, twice, None, kind).data, "again", 0).carried.dpi
    assert again and [round(each) for each in again] == [600, 600]


def test_a_profile_goes_only_with_its_colour_model() -> None:
    gray = imagecodecs.cms_profile("gray", gamma=2.2)
    photo = decode_photo(saved("PNG", Pillow.new("L", (9, 7)), icc_profile=gray), "gray", 0)
    assert encoded(photo, "JPEG").notes == ()
    assert any("gray profile does not fit RGB" in note for note in encoded(photo, "WEBP").notes)
    assert decode_photo(encoded(photo, "WEBP").data, "again", 0).carried.icc is None


def test_quality_auto_is_the_source_s_and_a_number_is_that_number() -> None:
    source = saved("JPEG", quality=83, subsampling="4:2:2")
    photo = decode_photo(source, "photo", 0)
    for quality, wanted in (("auto", (83, "4:2:2")), ("60", (60, "4:2:0")), ("95", (95, "4:4:4"))):
        found = jpeg_quality(encoded(photo, "JPEG", quality=quality).data)
        assert found and (found.quality, found.subsampling) == wanted
    assert len(encoded(photo, "JPEG").data) <= 1.05 * len(source)


def test_lossless_webp_stays_so_unless_a_quality_is_asked_for() -> None:
    photo = decode_photo(saved("WEBP", lossless=True), "photo", 0)
    kept = encoded(photo, "WEBP").data
    assert is_lossless_webp(kept) and (decode_photo(kept, "again", 0).frame.image == photo.frame.image).all()
    assert not is_lossless_webp(encoded(photo, "WEBP", quality="95").data)


def test_what_a_format_cannot_hold_is_told() -> None:
    deep = made_photo(pixels((24, 32, 3), np.uint16), pixels((24, 32), np.uint16), bits=16)
    assert encoded(deep, "PNG").notes == encoded(deep, "TIFF").notes == ()
    assert encoded(deep, "JPEG").notes == (
        "its 16 bit a channel became 8 in JPEG", "its transparency cannot be kept in JPEG",
    )  # fmt: skip
    assert encoded(deep, "HEIF").notes == ("its 16 bit a channel became 10 in HEIC",)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "x")
    titled = decode_photo(saved("PNG", pnginfo=texts), "photo", 0)
    assert encoded(titled, "JPEG").notes == ("cannot be kept in JPEG: PNG text Title",)


def test_what_does_not_come_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = decode_photo(saved("PNG", icc_profile=profile()), "photo", 0)
    monkeypatch.setattr(encode, "read_carried", lambda data, kind: Carried())
    assert encoded(photo, "PNG").notes == ("cannot be kept in PNG: ICC profile",)


def test_a_file_of_another_size_than_its_picture_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_encode_plain", lambda *_: saved("PNG"))
    with pytest.raises(OutputError, match="made: cannot be written as PNG: became 64x48"):
        encoded(made_photo(pixels((9, 9, 3))), "PNG")


def test_colour_code_points_are_passed_on_or_told() -> None:
    p3 = Nclx(12, 13, 6, True)
    source = encode_heif(pixels((24, 32, 3)), None, kind="AVIF", quality=90, nclx=p3)
    photo = decode_photo(source, "photo", 0)
    for kind in ("AVIF", "HEIF", "PNG"):
        made = encoded(photo, kind)
        again = decode_photo(made.data, "again", 0).nclx
        assert made.notes == () and again and again[:2] == (12, 13)
    assert encoded(photo, "JPEG").notes == ("its colour space (code points 12/13) cannot be named in JPEG",)


def test_ten_bit_stay_ten_bit() -> None:
    source = encode_heif(pixels((24, 32, 3), np.uint16), None, kind="HEIF", quality=95)
    photo = decode_photo(source, "photo", 0)
    assert (photo.frame.image.dtype, photo.bits) == (np.uint16, 10)
    for kind in ("HEIF", "AVIF"):
        made = encoded(photo, kind)
        assert made.notes == () and decode_photo(made.data, "again", 0).bits == 10


def test_inks_become_srgb_by_their_profile() -> None:
    photo = decode_photo(saved("JPEG", Pillow.new("CMYK", (16, 8), (0, 255, 255, 0))), "inks", 0)
    assert photo.notes == ("converted from CMYK to sRGB, without a profile",)
    assert photo.frame.image[4, 8, 2] > 200 > 50 > photo.frame.image[4, 8, 1]


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_jpeg_2000_and_netpbm_are_read_at_their_depth(bits: int) -> None:
    top = (1 << bits) - 1
    deep = np.round(pixels((24, 32, 3), np.uint16) / 65535 * top).astype(np.uint16)
    netpbm = f"P6 32 24 {top}\n".encode() + deep.astype(">u2").tobytes()
    for data in (imagecodecs.jpeg2k_encode(deep, level=0, reversible=True, bitspersample=bits), netpbm):
        frame = decode_photo(bytes(data), "deep", 0).frame
        assert frame.image.dtype == np.uint16
        assert np.abs(frame.image[..., ::-1].astype(float) - deep * (65535 / top)).max() <= 1


def test_palettes_with_transparency_keep_it() -> None:
    picture = Pillow.fromarray(pixels()).quantize(8)
    photo = decode_photo(saved("PNG", picture, transparency=3), "palette", 0)
    assert photo.frame.alpha is not None and set(np.unique(photo.frame.alpha)) == {0, 255}


@pytest.mark.parametrize("data", [b"", b"some text", b"\xff\xd8\xff\xe0 cut", b"8BPS\0\x01" + bytes(99)])
def test_what_is_no_image_gets_one_line_with_its_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    for read in (lambda: read_frame(path, 0), lambda: size_of(path)):
        with pytest.raises(InputError, match="bad.jpg: ") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = decode_photo(saved("PNG"), "photo", 0)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="No space"):
        write_photo(tmp_path / "out" / "x.png", photo, photo.frame.image, None)
    assert not list((tmp_path / "out").iterdir())


def test_the_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    picture = Pillow.new("RGB", (20, 10))
    for orientation in range(1, 9):
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(tmp_path / "turned.jpg", exif=exif.tobytes())
        assert size_of(tmp_path / "turned.jpg") == ((10, 20) if orientation < 5 else (20, 10))
        assert size_of(tmp_path / "turned.jpg") == read_frame(tmp_path / "turned.jpg", 0).image.shape[:2]
    picture.save(tmp_path / "plain.png")
    assert size_of(tmp_path / "plain.png") == (10, 20)
    (tmp_path / "bad.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match=r"bad\.jpg"):
        size_of(tmp_path / "bad.jpg")


def test_the_same_photo_gives_the_same_bytes() -> None:
    photo = decode_photo(saved("JPEG", exif=b"Exif\0\0" + made_exif(), icc_profile=profile()), "photo", 0)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF", "JXL"):
        assert encoded(photo, kind).data == encoded(photo, kind).data, kind


def test_profiles_named_srgb_are_known() -> None:
    assert encode.is_srgb(profile())
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert not encode.is_srgb(lab) and not encode.is_srgb(b"junk")
