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
    for name, data in {"images": images, "weights": weights}[kind]():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
