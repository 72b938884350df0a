"""Restored pictures to files, with what the photo's own file carried; each file is looked at again before it counts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import imagecodecs
import numpy as np
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms

from gfpcli.errors import OutputError
from gfpcli.files.formats import LABELS
from gfpcli.photo.carried import Carried, adjust, differences
from gfpcli.photo.codec import Photo
from gfpcli.photo.containers.tiff import byte_order
from gfpcli.photo.embed import CAPACITY, encoder_arguments, fit_carried, read_carried, with_carried
from gfpcli.photo.headers import stored_header
from gfpcli.photo.heif import encode_heif
from gfpcli.photo.jpeg_quality import JpegQuality
from gfpcli.photo.jxl import encode_jxl
from gfpcli.photo.label import Label, labelled
from gfpcli.photo.pixels import Nclx, Plane, Samples, encoder_errors, samples_of
from gfpcli.types import Image

DEEP_FORMATS = ("PNG", "TIFF", "HEIF", "AVIF", "JXL")  # that hold more than 8 bit
NO_ALPHA = ("JPEG", "BMP")
CODE_POINTS = ("HEIF", "AVIF", "PNG")  # formats that can say their colour by ITU-T H.273's numbers
LIKE_SRGB = {1, 2, 6, 13, 14, 15}  # transfer characteristics that are shown as sRGB's
SRGB_NAMES = ("RGB_D65_SRG_Rel_SRG", "RGB_D65_SRG_Per_SRG", "Gra_D65_Rel_SRG")
BT709_PRIMARIES, UNSPECIFIED = 1, 2  # primaries
LAST_CODE = 255  # H.273 knows none behind


@dataclass(frozen=True, slots=True)
class EncodedPhoto:
    """An output's bytes, and one line for each thing of the input that is not in it."""

    data: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What goes into an encoder."""

    image: Image  # (H, W, 3) BGR, uint8 where the format holds no more
    alpha: Plane | None  # (H, W), same depth; None where the format holds none
    is_gray: bool  # stored with one colour channel
    bits: int  # of a channel in the file
    name: str

    @property
    def samples(self) -> Samples:
        """As `samples_of`."""
        return samples_of(self.image, self.alpha, is_gray=self.is_gray)


def encode_photo(
    photo: Photo, image: Image, alpha: Plane | None, kind: str, *, quality: str = "auto", strip: bool = False,
    label: Label | None = None,
) -> EncodedPhoto:  # fmt: skip
    """The file's bytes: gray as one channel, depth, alpha and metadata kept as far as the format can hold them.

    Args:
        image: the upright result, (H, W, 3) BGR.
        alpha: (H, W) of the same depth.
        kind: Pillow's name of the output's format, or HEIF, JXL.
        quality: of lossy formats, 1 to 100, or `auto`: the source's.
        strip: leave out all metadata of the photo.
        label: what the file shall say of itself, None for nothing; with `strip` too.

    Raises:
        OutputError: the format cannot hold the picture (WebP ends at 16383 px), or the encoder made something else.
    """
    with encoder_errors(photo.frame.name, LABELS[kind]):
        picture = _picture_for(photo, image, alpha, kind)
        carried, notes = (Carried(), ()) if strip else _carried_for(photo, picture, kind)
        if label and "xmp" in CAPACITY[kind]:
            carried = replace(carried, xmp=labelled(carried.xmp, label, has_creator=bool(carried.exif)))
        fitted, _ = fit_carried(carried, kind)
        coding, is_lossless = _coding(photo, kind, quality)
        coded = _encode(picture, kind, coding, is_lossless, carried, _nclx_for(photo))
        data, lost = with_carried(coded, kind, carried)
        missing = differences(fitted, read_carried(data, kind))
        _check_header(data, picture, kind)
    told = [*photo.notes, *notes, *_pixel_notes(photo, picture, alpha, kind)]
    told += _loss_notes((*lost, *missing), kind)
    told += [f"it has no label: {LABELS[kind]} holds no XMP"] if label and "xmp" not in CAPACITY[kind] else []
    return EncodedPhoto(data, tuple(dict.fromkeys(told)))


def _picture_for(photo: Photo, image: Image, alpha: Plane | None, kind: str) -> Picture:
    is_deep = image.dtype == np.uint16 and kind in DEEP_FORMATS
    alpha = None if kind in NO_ALPHA else alpha
    if image.dtype == np.uint16 and not is_deep:
        image, alpha = _in_8_bit(image), None if alpha is None else _in_8_bit(alpha)
    holds_gray = kind != "WEBP" and not (kind == "HEIF" and alpha is not None)  # those become RGB
    is_of_few_bits = kind in ("HEIF", "AVIF") and is_deep
    bits = (12 if photo.bits == 12 else 10) if is_of_few_bits else 16 if is_deep else 8
    return Picture(image, alpha, photo.frame.is_gray and holds_gray, bits, photo.frame.name)


def _in_8_bit(samples: Any) -> Any:
    return np.round(samples / 257).astype(np.uint8)


def _carried_for(photo: Photo, picture: Picture, kind: str) -> tuple[Carried, tuple[str, ...]]:
    """What the output is to carry, and notes."""
    height, width = picture.image.shape[:2]
    model = "gray" if picture.is_gray else "RGB"
    carried, notes = adjust(photo.carried, photo.placement((height, width)), colour_model=model)
    if kind == "JXL" and carried.icc:
        carried = replace(carried, icc=None if is_srgb(carried.icc) else carried.icc)
        notes += ("its colours are converted to sRGB",) if carried.icc else ()
    if photo.nclx and kind in ("HEIF", "AVIF"):  # they say it in their own way
        carried = replace(carried, png_chunks=tuple(each for each in carried.png_chunks if each[0] != b"cICP"))
    elif _is_wide(photo) and not carried.icc and kind == "PNG" and photo.format != "PNG":
        chunk = bytes((photo.nclx.primaries, photo.nclx.transfer, 0, 1)) if photo.nclx else b""
        carried = replace(carried, png_chunks=(*carried.png_chunks, (b"cICP", chunk)))
    return carried, notes


def is_srgb(icc: bytes) -> bool:
    """Whether a profile says by its name that it is sRGB, or gray with that curve (libjxl's names among them)."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    except (OSError, ImageCms.PyCMSError):
        return False
    return "sRGB" in name or name.strip() in SRGB_NAMES


def _is_wide(photo: Photo) -> bool:
    """Whether code points say a colour space that viewers must not take for sRGB."""
    colour = photo.nclx
    if colour is None or max(colour.primaries, colour.transfer) > LAST_CODE:
        return False
    return colour.primaries not in (BT709_PRIMARIES, UNSPECIFIED) or colour.transfer not in LIKE_SRGB


def _nclx_for(photo: Photo) -> Nclx | None:
    """For HEIC and AVIF: the source's primaries and curve where it names them."""
    if photo.nclx is None or UNSPECIFIED in photo.nclx[:2]:
        return None
    return Nclx(photo.nclx.primaries, photo.nclx.transfer, 6, True)


def _coding(photo: Photo, kind: str, quality: str) -> tuple[JpegQuality, bool]:
    """How a lossy format is coded, and whether it is to lose nothing."""
    if quality != "auto":
        number = int(quality)
        return JpegQuality(number, "4:4:4" if number >= 90 else "4:2:0"), False
    return photo.coding, photo.is_lossless and kind == "WEBP"


def _encode(
    picture: Picture, kind: str, coding: JpegQuality, is_lossless: bool, carried: Carried, nclx: Nclx | None
) -> bytes:
    if kind in ("HEIF", "AVIF"):
        return _encode_heif(picture, cast(Literal["HEIF", "AVIF"], kind), coding, carried, nclx)
    if kind == "JXL":
        return encode_jxl(
            picture.image, picture.alpha, quality=coding.quality, is_gray=picture.is_gray, icc=carried.icc,
            name=picture.name,
        )  # fmt: skip
    if kind == "TIFF":
        return _encode_tiff(picture, byte_order(carried))
    if kind == "JPEG":
        return _encode_jpeg(picture, coding)
    if kind == "PNG" and picture.bits == 16:
        return bytes(imagecodecs.png_encode(picture.samples))
    return _encode_plain(picture, kind, coding.quality, is_lossless, carried)


def _encode_heif(
    picture: Picture, kind: Literal["HEIF", "AVIF"], coding: JpegQuality, carried: Carried, nclx: Nclx | None
) -> bytes:
    arguments = encoder_arguments(carried, kind)
    return encode_heif(
        picture.image, picture.alpha, kind=kind, quality=coding.quality, is_gray=picture.is_gray,
        bits=cast(Literal[8, 10, 12], picture.bits), subsampling=coding.subsampling, exif=arguments.get("exif"),
        xmp=arguments.get("xmp"), icc=arguments.get("icc_profile"), nclx=nclx, name=picture.name,
    )  # fmt: skip


def _encode_tiff(picture: Picture, order: Literal["little", "big"]) -> bytes:
    out = io.BytesIO()
    sign: Literal["<", ">"] = "<" if order == "little" else ">"
    samples = picture.samples
    tifffile.imwrite(
        out,
        samples.astype(samples.dtype.newbyteorder(sign), copy=False),
        byteorder=sign,
        photometric="minisblack" if picture.is_gray else "rgb",
        planarconfig=None if samples.ndim == 2 else "contig",
        extrasamples=None if picture.alpha is None else ["unassalpha"],
        metadata=None,
        software=False,
        compression="zlib",
        predictor=True,
    )
    return out.getvalue()


def _encode_jpeg(picture: Picture, coding: JpegQuality) -> bytes:
    """By libjpeg-turbo without Pillow around it: the same bytes, without a copy with four bytes for each pixel."""
    subsampling = "444" if picture.is_gray else coding.subsampling.replace(":", "")
    coded = imagecodecs.jpeg8_encode(picture.samples, level=coding.quality, subsampling=subsampling, optimize=True)
    return bytes(coded)


def _encode_plain(picture: Picture, kind: str, quality: int, is_lossless: bool, carried: Carried) -> bytes:
    """By Pillow, which writes 8 bit."""
    options: dict[str, Any] = {}
    if kind == "WEBP":
        options = {"lossless": True, "exact": True} if is_lossless else {"quality": quality}
    elif kind == "BMP" and carried.dpi:
        options = {"dpi": carried.dpi}
    out = io.BytesIO()
    Pillow.fromarray(picture.samples).save(out, kind, **options)
    return out.getvalue()


def _check_header(data: bytes, picture: Picture, kind: str) -> None:
    """Raises OutputError where the file is not of the picture's size and depth."""
    found = stored_header(data, kind)
    height, width = picture.image.shape[:2]
    if (found.height, found.width, found.bits) != (height, width, picture.bits):
        raise OutputError(f"became {found.width}x{found.height} of {found.bits} bit")


def _pixel_notes(photo: Photo, picture: Picture, alpha: Plane | None, kind: str) -> Iterator[str]:
    if photo.bits > picture.bits:
        yield f"its {photo.bits} bit a channel became {picture.bits} in {LABELS[kind]}"
    if alpha is not None and picture.alpha is None:
        yield f"its transparency cannot be kept in {LABELS[kind]}"
    is_named = photo.carried.icc is None and photo.format != "PNG"  # of a PNG the lost chunk is named
    if photo.nclx and is_named and _is_wide(photo) and kind not in CODE_POINTS:
        points = f"{photo.nclx.primaries}/{photo.nclx.transfer}"
        yield f"its colour space (code points {points}) cannot be named in {LABELS[kind]}"


def _loss_notes(names: tuple[str, ...], kind: str) -> list[str]:
    return [f"cannot be kept in {LABELS[kind]}: {', '.join(dict.fromkeys(names))}"] if names else []
