"""Image files to frames, and restored images to files, with orientation, EXIF, ICC, alpha and gray kept."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, PngImagePlugin

from gfpcli.errors import InputError, OutputError
from gfpcli.types import Frame, Image, Metadata

MAX_PIXELS = 400_000_000
SUFFIX_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
ORIENTATION = 0x0112
STRUCTURE = (*range(254, 260), 262, 273, *range(277, 280), 284, *range(317, 326), 338, 339, 700, 34675)


def find_images(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """(file, path relative to its input) of every image; folders are searched whole, but not `output` inside them.

    Raises:
        InputError: an input does not exist, or nothing was found.
    """
    found: list[tuple[Path, Path]] = []
    for entry in inputs:
        if entry.is_dir():
            for folder, _, names in os.walk(entry):
                if output.resolve() in (Path(folder).resolve(), *Path(folder).resolve().parents):
                    continue
                files = [Path(folder, name) for name in names]
                found += [(file, file.relative_to(entry)) for file in files if _looks_like_image(file)]
        elif entry.is_file():
            found.append((entry, Path(entry.name)))
        else:
            raise InputError(f"{entry}: no such file or folder")
    if not found:
        raise InputError(f"no images in {', '.join(map(str, inputs))}")
    return sorted(set(found))


def _looks_like_image(path: Path) -> bool:
    if path.suffix.lower() in (*SUFFIX_FORMATS, ".gif"):
        return True
    try:
        with warnings.catch_warnings(), Pillow.open(path):
            return True
    except Exception:
        return False  # a note, a ledger, a sidecar: not an input


def read_frame(path: Path, index: int) -> Frame:
    """The upright first picture of a file.

    Raises:
        InputError: not an image, cut short, corrupt, too large, or of a kind that is not supported.
    """
    try:
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Pillow.open(io.BytesIO(data))
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"{path}: {picture.width}x{picture.height} pixels are more than {MAX_PIXELS}")
            if picture.mode == "F":
                raise InputError(f"{path}: floating-point images are not supported")
            picture.load()
            return _frame_of(picture, data, path, index)
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds on broken bytes
        reason = " ".join(str(error).split()) if "BytesIO" not in str(error) else "not an image"
        raise InputError(f"{path}: {reason or type(error).__name__}") from error


def _frame_of(picture: Pillow.Image, data: bytes, path: Path, index: int) -> Frame:
    orientation = picture.getexif().get(ORIENTATION, 1)
    deep = _decode_16_bit(picture, data)
    is_gray = picture.mode in ("1", "L", "LA", "I;16", "I;16B", "I")
    if deep is not None:
        pixels = _turn(deep, orientation)
    else:
        has_alpha = "A" in picture.mode or "transparency" in picture.info
        upright = ImageOps.exif_transpose(picture).convert("RGBA" if has_alpha else "RGB")
        pixels = cv2.cvtColor(np.asarray(upright), cv2.COLOR_RGBA2BGRA if has_alpha else cv2.COLOR_RGB2BGR)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return Frame(
        index=index,
        image=np.ascontiguousarray(pixels[..., :3]),
        name=str(path),
        path=path,
        alpha=alpha,
        is_gray=is_gray,
        format=picture.format or "PNG",
        metadata=_metadata_of(picture),
        note="only the first picture of this file is restored" if getattr(picture, "n_frames", 1) > 1 else None,
    )


def _decode_16_bit(picture: Pillow.Image, data: bytes) -> Image | None:
    """(H, W, 3 or 4) uint16 where the file's header says 16 bit, else None (Pillow would keep the high byte only)."""
    is_deep = data[:4] == b"\x89PNG" and data[24] == 16 or picture.mode.startswith("I")
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        is_deep = 16 in (bits if isinstance(bits, tuple) else (bits,))
    if not is_deep:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise InputError("16-bit data cannot be decoded")
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)


def _turn(pixels: Image, orientation: int) -> Image:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


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
    return Metadata(raw, icc, xmp.encode() if isinstance(xmp, str) else xmp, tuple(map(float, dpi)) if dpi else None)


def write_image(path: Path, image: Image, frame: Frame, *, alpha: Image | None, quality: int, strip: bool) -> None:
    """Encode by the path's suffix; the file appears under its name only when whole.

    Raises:
        OutputError: the folder or file cannot be written.
    """
    temporary = None
    try:
        data = encode_image(image, frame, alpha, SUFFIX_FORMATS[path.suffix.lower()], quality, strip)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".gfp-", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except (OSError, ValueError) as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OutputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def encode_image(image: Image, frame: Frame, alpha: Image | None, kind: str, quality: int, strip: bool) -> bytes:
    """The file's bytes: gray as one channel, alpha and 16 bit (PNG, TIFF) kept, metadata kept unless `strip`."""
    facts = Metadata() if strip else frame.metadata
    if image.dtype == np.uint16 and kind in ("PNG", "TIFF"):
        pixels = image if alpha is None else np.dstack([image, alpha])
        if frame.is_gray and alpha is None:
            pixels = image[..., 0]
        data = cv2.imencode(".png" if kind == "PNG" else ".tif", pixels)[1].tobytes()
        return _with_chunks(data, facts) if kind == "PNG" else data
    return _encode_8_bit(image, frame.is_gray, alpha, kind, quality, facts)


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
