"""Small files of every kind that is read, for a fuzzer to begin with. `python -m tests.fuzz.seeds KIND FOLDER`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image as Pillow
from PIL import PngImagePlugin
from safetensors.torch import save

from gfpcli.model.compact import CompactUNet
from gfpcli.photo.carried import Carried, PngText
from gfpcli.photo.embed import encoder_arguments, with_carried
from gfpcli.photo.heif import encode_heif
from gfpcli.photo.jxl import encode_jxl
from tests.photo.made import made_exif, made_iptc, made_xmp

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB")
KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>caption</x:xmpmeta>"


def images() -> Iterator[tuple[str, bytes]]:
    """(name, file) in every format and mode that Pillow writes, some with metadata, some with several pictures."""
    rng = np.random.default_rng(1)
    picture = Pillow.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    exif = picture.getexif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "caption", 72.0
    for kind in KINDS:
        for mode in MODES:
            for name, extra in (("", {}), ("_facts", {"exif": exif, "icc_profile": b"profile" * 9, "dpi": (300, 300)})):
                out = io.BytesIO()
                try:
                    picture.convert(mode).save(out, kind, **extra)
                except (OSError, ValueError, TypeError, KeyError):
                    continue  # a mode that this format does not hold
                yield f"{kind}_{mode.replace(';', '')}{name}".lower(), out.getvalue()
    for kind in ("GIF", "TIFF", "PNG", "WEBP", "MPO"):
        out = io.BytesIO()
        picture.save(out, kind, save_all=True, append_images=[picture.rotate(180), picture])
        yield f"{kind}_pages".lower(), out.getvalue()
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        out = io.BytesIO()
        picture.convert("1" if compression == "group4" else "RGB").save(out, "TIFF", compression=compression)
        yield f"tiff_{compression}", out.getvalue()
    words = PngImagePlugin.PngInfo()
    words.add_itxt("XML:com.adobe.xmp", XMP.decode())
    words.add_text("comment", "x" * 99, zip=True)
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=words)
    yield "png_text", out.getvalue()
    deep = rng.integers(0, 1 << 16, (9, 13, 3)).astype(np.uint16)
    for name, pixels in (("rgb", deep), ("gray", deep[..., 0]), ("rgba", np.dstack([deep, deep[..., 0]]))):
        yield f"png16_{name}", cv2.imencode(".png", pixels)[1].tobytes()
        out = io.BytesIO()
        tifffile.imwrite(out, pixels)
        yield f"tiff16_{name}", out.getvalue()
    yield from tiffs()
    yield from metadata()


def tiffs() -> Iterator[tuple[str, bytes]]:
    """(name, file) of TIFFs that only tifffile writes: planes, tiles, sub-directories, BigTIFF, odd channels."""
    rng = np.random.default_rng(2)
    plain = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    planes = np.ascontiguousarray(np.moveaxis(plain, -1, 0))
    four = rng.integers(0, 1 << 16, (20, 24, 4)).astype(np.uint16)
    ways: dict[str, tuple[np.ndarray, dict[str, object]]] = {
        "planar": (planes, {"photometric": "rgb", "planarconfig": "separate", "compression": "lzw"}),
        "tiles": (plain, {"tile": (16, 16), "compression": "zlib", "predictor": True}),
        "white_is_zero": (plain[..., 0], {"photometric": "miniswhite"}),
        "infrared": (four, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
        "premultiplied": (four, {"photometric": "rgb", "extrasamples": ["assocalpha"], "byteorder": ">"}),
        "big": (plain, {"bigtiff": True}), "lab": (plain, {"photometric": "cielab"}),
        "inks": (four, {"photometric": "separated"}), "float": (plain.astype(np.float32), {}),
        "thumbnail_first": (plain, {"subfiletype": 1}), "zstd": (plain, {"compression": "zstd"}),
    }  # fmt: skip
    for name, (pixels, options) in ways.items():
        out = io.BytesIO()
        tifffile.imwrite(out, pixels, **options)
        yield f"tiff_{name}", out.getvalue()


def metadata() -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of files full of metadata, and of XMP packets and EXIF blocks without a file around them."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    region = (
        "<mwg-rs:Regions rdf:parseType='Resource'><mwg-rs:AppliedToDimensions stDim:w='16' stDim:h='16'/>"
        "<mwg-rs:RegionList><rdf:Bag><rdf:li><rdf:Description mwg-rs:Name='A'><mwg-rs:Area stArea:x='0.5' "
        "stArea:y='0.2' stArea:w='0.1' stArea:h='0.1'/></rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList>"
        "</mwg-rs:Regions>"
    )
    xmp = made_xmp(region, "tiff:Orientation='6' GPano:FullPanoWidthPixels='99' hdrgm:Version='1.0'")
    carried = Carried(
        exif=made_exif(), xmp=xmp, iptc=made_iptc(), comments=(b"by hand",), dpi=(300, 300),
        texts=(PngText(b"tEXt", b"Title\0x"),), png_chunks=((b"gAMA", bytes(4)), (b"cICP", b"\x0c\r\0\1")),
    )  # fmt: skip
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        out = io.BytesIO()
        Pillow.fromarray(image).save(out, kind)
        yield f"full_{kind}".lower(), with_carried(out.getvalue(), kind, carried)[0]
    for kind in ("HEIF", "AVIF"):
        words = encoder_arguments(carried, kind)
        for dtype in (np.uint8, np.uint16):
            made = encode_heif(
                image.astype(dtype), None, kind=kind, quality=50, exif=words.get("exif"),  # type: ignore[arg-type]
                xmp=words.get("xmp"),
            )  # fmt: skip
            yield f"full_{kind}_{dtype.__name__}".lower(), with_carried(made, kind, carried)[0]
    yield "full_jxl", with_carried(encode_jxl(image, None, quality=50), "JXL", carried)[0]
    for order in ("little", "big"):
        yield f"exif_{order}", made_exif(order)
    yield "xmp", xmp
    yield "xmp_utf16", xmp.decode().encode("utf-16")
    yield "xmp_attributes", xmp.replace(b"<mwg-rs:Area ", b"<mwg-rs:Area rdf:parseType='Resource' ")


def weights() -> Iterator[tuple[str, bytes]]:
    """(name, file) in every container a checkpoint comes in, and what a container may hold besides weights."""
    state = {key: value[:1].contiguous() for key, value in list(CompactUNet((8, 16)).state_dict().items())[:4]}
    contents = {
        "state": state, "params": {"params_ema": state, "params": {}}, "half": {k: v.half() for k, v in state.items()},
        "module": {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        "numbers": {"a": 1, "b": [1.5, "x", None, (1, 2)], "c": {"d": torch.arange(3)}}, "list": [torch.ones(2)],
        "view": {"a": torch.arange(12.0).reshape(3, 4).t()}, "nan": {"a": torch.tensor([float("nan")])},
    }  # fmt: skip
    for name, content in contents.items():
        for is_zip in (True, False):
            out = io.BytesIO()
            torch.save(content, out, _use_new_zipfile_serialization=is_zip)
            yield f"{name}_{'zip' if is_zip else 'old'}", out.getvalue()
    yield "safetensors", save(state, {"arch": "compact-unet"})
    yield "safetensors_bf16", save({key: value.bfloat16() for key, value in state.items()})


def main(kind: str, folder: Path) -> None:
    """Writes the seeds of a kind into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in {"images": images, "metadata": metadata, "weights": weights}[kind]():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
