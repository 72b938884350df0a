"""Coverage-guided fuzzing of the image readers and of what is written of their pictures (atheris; see `make fuzz`).

Any file must give a frame, which can then be written in every format, or an InputError; within 10 s and 2 GB.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["PIL", "gfpcli", "tifffile"]):
    from gfpcli.errors import InputError, OutputError
    from gfpcli.photo import pixels
    from gfpcli.photo.codec import decode_photo
    from gfpcli.photo.encode import encode_photo

pixels.MAX_PIXELS = 1_000_000  # small pictures find as much, and faster
KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "HEIF", "AVIF", "JXL")


def read_one(data: bytes) -> None:
    """Decodes a file's bytes, then encodes the picture."""
    try:
        photo = decode_photo(data, "fuzz", 0)
    except InputError as error:
        assert "\n" not in str(error)
        return
    frame = photo.frame
    height, width = frame.image.shape[:2]
    assert frame.image.ndim == 3 and frame.image.shape[2] == 3 and height and width
    assert frame.alpha is None or frame.alpha.shape == (height, width)
    if height * width > 65536:
        return
    kind = KINDS[len(data) % len(KINDS)]
    try:
        encode_photo(photo, frame.image, frame.alpha, kind)
    except OutputError as error:
        assert kind in ("JPEG", "WEBP") and max(height, width) > 16383, error  # the formats' own limits


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_one)
    atheris.Fuzz()
