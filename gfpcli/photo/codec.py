"""Image files to frames, and restored images to files, with orientation, EXIF, ICC, alpha and gray kept."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import PngImagePlugin

from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import os_errors_as, write_bytes
from gfpcli.files.formats import READ_FORMATS, SUFFIX_FORMATS
from gfpcli.files.storage import store_of
from gfpcli.memory import is_out_of_memory, lacking
from gfpcli.photo.metadata import ORIENTATION, exif_of, has_folders, metadata_of
from gfpcli.types import Frame, Image, Metadata

MAX_PIXELS = 250_000_000  # the largest phones' 200 megapixels and room
MAX_BYTES = 4 << 30  # of a file
NEEDED = 16  # bytes of memory that decoding takes for each pixel
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our errors tell what is damaged
Pillow.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses twice that: ours comes first, with its own words


def read_frame(path: Path, index: int) -> Frame:
    """The upright first picture of a file.

    Raises:
        InputError: not an image, cut short, corrupt, too large, or of a kind that is not supported.
    """
    return decode_frame(read_file(path), str(path), index)


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises InputError where it is none, cannot be read, or is larger than any picture."""
    store = store_of(path)
    with os_errors_as(InputError, path):
        if (size := store.size(path)) > MAX_BYTES:
            raise InputError(f"{path}: {size / 1e9:.1f} GB is larger than any picture")
        return store.read(path)


def decode_frame(data: bytes, name: str, index: int) -> Frame:
    """The upright first picture in a file's bytes; `name` is for messages. Raises InputError as `read_frame`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF and large pictures are told by our own errors
            picture = Pillow.open(io.BytesIO(data), formats=READ_FORMATS)
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"{name}: {picture.width}x{picture.height} is more than {MAX_PIXELS} pixels")
            if lack := lacking(picture.width * picture.height * NEEDED):
                raise InputError(f"{name}: not enough memory for {picture.width}x{picture.height} pixels: {lack}")
            if picture.mode == "F":
                raise InputError(f"{name}: floating-point images are not supported")
            picture.load()
            return _frame_of(picture, data, name, index)
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds on broken bytes
        reason = " ".join(str(error).split()) if "BytesIO" not in str(error) else "not an image"
        reason = "not enough memory to decode it" if is_out_of_memory(error) else reason
        raise InputError(f"{name}: {reason or type(error).__name__}") from error


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of the upright first picture of a file, from its header. Raises InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(path, formats=READ_FORMATS) as picture:
                width, height = picture.size
                exif = exif_of(picture)
                is_turned = exif is not None and exif.get(ORIENTATION, 1) in (5, 6, 7, 8)
                return (width, height) if is_turned else (height, width)
    except Exception as error:  # as in `decode_frame`
        raise InputError(f"{path}: not an image") from error


def _frame_of(picture: Pillow.Image, data: bytes, name: str, index: int) -> Frame:
    exif = exif_of(picture)
    orientation = exif.get(ORIENTATION, 1) if exif is not None else 1
    pixels: Image
    deep = _decode_16_bit(picture, data, name)
    is_gray = picture.mode in ("1", "L", "LA", "I;16", "I;16B", "I")
    if deep is not None:
        pixels = _turn(deep, orientation)
    else:
        has_alpha = "A" in picture.mode or "transparency" in picture.info
        plain = picture.convert("RGBA" if has_alpha else "RGB")
        order = cv2.COLOR_RGBA2BGRA if has_alpha else cv2.COLOR_RGB2BGR
        pixels = _turn(np.asarray(cv2.cvtColor(np.asarray(plain), order), np.uint8), orientation)
    notes = ["only the first picture of this file is restored"] if getattr(picture, "n_frames", 1) > 1 else []
    notes += ["its EXIF is damaged and left out"] if exif is None else []
    alpha = cast(Image, np.ascontiguousarray(pixels[..., 3])) if pixels.shape[2] == 4 else None
    return Frame(
        index=index,
        image=cast(Image, np.ascontiguousarray(pixels[..., :3])),
        name=name,
        alpha=alpha,
        is_gray=is_gray,
        format=picture.format or "PNG",
        metadata=metadata_of(picture, exif),
        note="; ".join(notes) or None,
    )


def _decode_16_bit(picture: Pillow.Image, data: bytes, name: str) -> Image | None:
    """(H, W, 3 or 4) uint16 where the file's header says 16 bit, else None (Pillow would keep the high byte only)."""
    is_deep = data[:4] == b"\x89PNG" and data[24] == 16 or picture.mode.startswith("I")
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        is_deep = 16 in (bits if isinstance(bits, tuple) else (bits,))
    if not is_deep:
        return None
    if picture.format == "PNG":
        _check_chunks(data, name)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise InputError(f"{name}: its 16-bit data cannot be decoded")
    deep = np.asarray(pixels, np.uint16)
    return deep if deep.ndim == 3 else np.repeat(deep[..., None], 3, axis=2)


def _check_chunks(data: bytes, name: str) -> None:
    """Raises InputError where a PNG's chunk says that it is longer than the file: OpenCV takes that much memory."""
    at = 8
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND":
            return
        if at > len(data):
            raise InputError(f"{name}: cut short, or damaged")


def _turn(pixels: Image, orientation: int) -> Image:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return cast(Image, np.ascontiguousarray(pixels))


def write_image(path: Path, image: Image, frame: Frame, *, alpha: Image | None, quality: int, strip: bool) -> None:
    """Encode by the path's suffix; the file appears under its name only when whole.

    Raises:
        OutputError: the folder or file cannot be written.
    """
    write_bytes(path, encode_image(image, frame, alpha, SUFFIX_FORMATS[path.suffix.lower()], quality, strip))


def writable(frame: Frame, kind: str) -> Frame:
    """The frame with the metadata that a file of this kind takes; its note tells what is damaged or too much for it."""
    dot = np.zeros((1, 1, 3), frame.image.dtype)
    facts, lost = frame.metadata, []
    for name in ("exif", "icc", "xmp", "dpi"):
        alone = replace(Metadata(), **{name: getattr(facts, name)})
        try:
            encode_image(dot, replace(frame, image=dot, alpha=None, metadata=alone), None, kind, 90, False)
        except OutputError:
            facts = replace(facts, **{name: None})
            lost.append(name.upper())
    if not lost:
        return frame
    note = f"its {', '.join(lost)} cannot be kept in {kind}"
    return replace(frame, metadata=facts, note=f"{frame.note}; {note}" if frame.note else note)


def encode_image(image: Image, frame: Frame, alpha: Image | None, kind: str, quality: int, strip: bool) -> bytes:
    """The file's bytes: gray as one channel, alpha and 16 bit (PNG, TIFF) kept, metadata kept unless `strip`.

    Raises:
        OutputError: the format cannot hold the picture (WebP ends at 16383 px) or its metadata.
    """
    facts = Metadata() if strip else frame.metadata
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _encode(image, frame.is_gray, alpha, kind, quality, facts)
    except Exception as error:  # writers raise many kinds on odd metadata
        reason = "not enough memory" if is_out_of_memory(error) else " ".join(str(error).split())
        raise OutputError(f"{frame.name}: cannot be written as {kind}: {reason or type(error).__name__}") from error


def _encode(image: Image, is_gray: bool, alpha: Image | None, kind: str, quality: int, facts: Metadata) -> bytes:
    if image.dtype == np.uint16 and kind in ("PNG", "TIFF"):
        pixels = np.asarray(image if alpha is None else np.dstack([image, alpha]), np.uint16)
        if is_gray and alpha is None:
            pixels = pixels[..., 0]
        return _tiff_of(pixels, facts) if kind == "TIFF" else _with_chunks(_png_of(pixels), facts)
    return _encode_8_bit(image, is_gray, alpha, kind, quality, facts)


def _png_of(pixels: NDArray[np.uint16]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def _tiff_of(pixels: NDArray[np.uint16], facts: Metadata) -> bytes:
    """16-bit TIFF with profile, XMP and resolution (not EXIF: tifffile writes no sub-directories)."""
    ordered = pixels if pixels.ndim == 2 else np.concatenate([pixels[..., 2::-1], pixels[..., 3:]], axis=2)
    tags = [(700, 1, len(facts.xmp), facts.xmp, True)] if facts.xmp else []
    out = io.BytesIO()
    tifffile.imwrite(
        out,
        ordered,
        photometric="minisblack" if pixels.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if pixels.ndim == 3 and pixels.shape[2] == 4 else None,
        resolution=facts.dpi,
        resolutionunit="inch" if facts.dpi else None,
        iccprofile=facts.icc,
        extratags=tags,
        metadata=None,
        compression="zlib",
    )
    return out.getvalue()


def _encode_8_bit(image: Image, is_gray: bool, alpha: Image | None, kind: str, quality: int, facts: Metadata) -> bytes:
    planes = [image] if alpha is None or kind in ("JPEG", "BMP") else [image, alpha]
    planes = [np.round(plane / 257).astype(np.uint8) if plane.dtype == np.uint16 else plane for plane in planes]
    picture = Pillow.fromarray(np.ascontiguousarray(planes[0][..., ::-1])).convert("L" if is_gray else "RGB")
    if len(planes) == 2:
        picture.putalpha(Pillow.fromarray(planes[1]))
    known = {"exif": facts.exif, "icc_profile": facts.icc, "dpi": facts.dpi}
    options: dict[str, object] = {key: value for key, value in known.items() if value}
    if facts.xmp and kind in ("JPEG", "WEBP"):
        options["xmp"] = facts.xmp
    if facts.xmp and kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", facts.xmp.decode("utf-8", "replace"))
        options["pnginfo"] = text
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
    if kind == "JPEG" and quality >= 90:
        options["subsampling"] = 0
    if kind == "TIFF":
        options["compression"] = "raw" if facts.exif and has_folders(facts.exif) else "tiff_lzw"
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _with_chunks(png: bytes, facts: Metadata) -> bytes:
    """A 16-bit PNG with profile, EXIF and resolution: the chunks of a 1x1 picture by Pillow are moved over."""
    known = {"exif": facts.exif, "icc_profile": facts.icc, "dpi": facts.dpi}
    small = io.BytesIO()
    Pillow.new("L", (1, 1)).save(small, "PNG", **{key: value for key, value in known.items() if value})
    header = 8 + 25  # signature and IHDR
    donor = small.getvalue()
    extra = b""
    at = header
    while at < len(donor):
        end = at + 12 + int.from_bytes(donor[at : at + 4], "big")
        if donor[at + 4 : at + 8] in (b"iCCP", b"eXIf", b"pHYs"):
            extra += donor[at:end]
        at = end
    return png[:header] + extra + png[header:]
