"""Image files to frames, and restored images to files, with orientation, EXIF, ICC, alpha and gray kept."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, PngImagePlugin

from gfpcli.errors import InputError, OutputError
from gfpcli.inputs import SUFFIX_FORMATS
from gfpcli.types import Frame, Image, Metadata

MAX_PIXELS = 400_000_000
ORIENTATION = 0x0112
STRUCTURE = (*range(254, 260), 262, 273, *range(277, 280), 284, *range(317, 326), 338, 339, 700, 34675)


def read_frame(path: Path, index: int) -> Frame:
    """The upright first picture of a file.

    Raises:
        InputError: not an image, cut short, corrupt, too large, or of a kind that is not supported.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    return decode_frame(data, str(path), index)


def decode_frame(data: bytes, name: str, index: int) -> Frame:
    """The upright first picture in a file's bytes; `name` is for messages. Raises InputError as `read_frame`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF and large pictures are told by our own errors
            picture = Pillow.open(io.BytesIO(data))
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"{name}: {picture.width}x{picture.height} pixels are more than {MAX_PIXELS}")
            if picture.mode == "F":
                raise InputError(f"{name}: floating-point images are not supported")
            picture.load()
            return _frame_of(picture, data, name, index)
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds on broken bytes
        reason = " ".join(str(error).split()) if "BytesIO" not in str(error) else "not an image"
        raise InputError(f"{name}: {reason or type(error).__name__}") from error


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of the upright first picture of a file, from its header. Raises InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(path) as picture:
                width, height = picture.size
                return (width, height) if picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8) else (height, width)
    except Exception as error:  # as in `decode_frame`
        raise InputError(f"{path}: not an image") from error


def _frame_of(picture: Pillow.Image, data: bytes, name: str, index: int) -> Frame:
    orientation = picture.getexif().get(ORIENTATION, 1)
    pixels: Image
    deep = _decode_16_bit(picture, data, name)
    is_gray = picture.mode in ("1", "L", "LA", "I;16", "I;16B", "I")
    if deep is not None:
        pixels = _turn(deep, orientation)
    else:
        has_alpha = "A" in picture.mode or "transparency" in picture.info
        upright = ImageOps.exif_transpose(picture).convert("RGBA" if has_alpha else "RGB")
        order = cv2.COLOR_RGBA2BGRA if has_alpha else cv2.COLOR_RGB2BGR
        pixels = np.asarray(cv2.cvtColor(np.asarray(upright), order), np.uint8)
    alpha = cast(Image, np.ascontiguousarray(pixels[..., 3])) if pixels.shape[2] == 4 else None
    return Frame(
        index=index,
        image=cast(Image, np.ascontiguousarray(pixels[..., :3])),
        name=name,
        alpha=alpha,
        is_gray=is_gray,
        format=picture.format or "PNG",
        metadata=_metadata_of(picture),
        note="only the first picture of this file is restored" if getattr(picture, "n_frames", 1) > 1 else None,
    )


def _decode_16_bit(picture: Pillow.Image, data: bytes, name: str) -> Image | None:
    """(H, W, 3 or 4) uint16 where the file's header says 16 bit, else None (Pillow would keep the high byte only)."""
    is_deep = data[:4] == b"\x89PNG" and data[24] == 16 or picture.mode.startswith("I")
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        is_deep = 16 in (bits if isinstance(bits, tuple) else (bits,))
    if not is_deep:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise InputError(f"{name}: its 16-bit data cannot be decoded")
    deep = np.asarray(pixels, np.uint16)
    return deep if deep.ndim == 3 else np.repeat(deep[..., None], 3, axis=2)


def _turn(pixels: Image, orientation: int) -> Image:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return cast(Image, np.ascontiguousarray(pixels))


def _metadata_of(picture: Pillow.Image) -> Metadata:
    exif = picture.getexif()
    if ORIENTATION in exif:
        exif[ORIENTATION] = 1
    for tag in STRUCTURE:  # a TIFF's layout is not EXIF of the output
        exif.pop(tag, None)
    try:
        raw = exif.tobytes() if len(exif) else None
    except Exception:
        raw = None  # corrupt EXIF never refuses a picture
    xmp = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    icc = picture.info.get("icc_profile") if picture.mode != "CMYK" else None
    dpi = picture.info.get("dpi")
    both = (float(dpi[0]), float(dpi[1])) if dpi else None
    return Metadata(raw, icc, xmp.encode() if isinstance(xmp, str) else xmp, both)


def write_image(path: Path, image: Image, frame: Frame, *, alpha: Image | None, quality: int, strip: bool) -> None:
    """Encode by the path's suffix; the file appears under its name only when whole.

    Raises:
        OutputError: the folder or file cannot be written.
    """
    write_bytes(path, encode_image(image, frame, alpha, SUFFIX_FORMATS[path.suffix.lower()], quality, strip))


def write_bytes(path: Path, data: bytes) -> None:
    """A temporary file beside `path`, then a rename. Raises OutputError."""
    write_chunks(path, [data])


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """As `write_bytes`, piece by piece. Raises OutputError."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".gfp-", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _umask() -> int:
    """Read once: the only way to read it is to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def encode_image(image: Image, frame: Frame, alpha: Image | None, kind: str, quality: int, strip: bool) -> bytes:
    """The file's bytes: gray as one channel, alpha and 16 bit (PNG, TIFF) kept, metadata kept unless `strip`.

    Raises:
        OutputError: the format cannot hold the picture (WebP ends at 16383 px), or memory is too small to write it.
    """
    facts = Metadata() if strip else frame.metadata
    try:
        if image.dtype == np.uint16 and kind in ("PNG", "TIFF"):
            pixels = np.asarray(image if alpha is None else np.dstack([image, alpha]), np.uint16)
            if frame.is_gray and alpha is None:
                pixels = pixels[..., 0]
            return _tiff_of(pixels, facts) if kind == "TIFF" else _with_chunks(_png_of(pixels), facts)
        return _encode_8_bit(image, frame.is_gray, alpha, kind, quality, facts)
    except MemoryError as error:
        raise OutputError(f"{frame.name}: not enough memory to write it as {kind}; try a smaller --scale") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{frame.name}: cannot be written as {kind}: {' '.join(str(error).split())}") from error


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
        options["compression"] = "tiff_lzw"
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
