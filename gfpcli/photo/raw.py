"""Camera raw files, developed as they were shot (LibRaw by the extra `raw`)."""

from __future__ import annotations

import io

import numpy as np

from gfpcli.errors import InputError
from gfpcli.photo.pixels import Pixels, as_bgr, check_size, decoder_errors

DEVELOPING = 40  # bytes of memory for each pixel: the sensor's values, four channels of 16 bit twice, the result


def read_raw(data: bytes, name: str, kind: str = "camera raw") -> Pixels:
    """The sensor's picture of a camera raw file's bytes, developed to 16-bit sRGB and turned upright.

    White balance and exposure are the camera's own: nothing is brightened by what is in the picture. The previews
    inside are never taken.

    Args:
        kind: for people, for instance "camera raw (NEF)".

    Raises:
        InputError: rawpy is not installed, the file is damaged, or of a camera that LibRaw does not know.
    """
    try:
        import rawpy  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(f"{name}: {kind}: pip install 'gfpcli[raw]'") from error
    with decoder_errors(name, kind):
        try:
            with rawpy.imread(io.BytesIO(data)) as raw:
                check_size(raw.sizes.raw_width, raw.sizes.raw_height, name, bytes_per_pixel=DEVELOPING)
                rgb = raw.postprocess(
                    use_camera_wb=True, no_auto_bright=True, output_bps=16, output_color=rawpy.ColorSpace.sRGB
                )
        except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawNotImplementedError) as error:
            raise InputError(f"{name}: {kind}, damaged or of a camera that LibRaw does not know") from error
    return Pixels(as_bgr(np.asarray(rgb, np.uint16)), bits=16)


def raw_size(data: bytes) -> tuple[int, int]:
    """(height, width) of the developed, upright picture. Raises ImportError without rawpy, else what that raises."""
    import rawpy

    with rawpy.imread(io.BytesIO(data)) as raw:
        sizes = raw.sizes
        return (sizes.width, sizes.height) if sizes.flip & 4 else (sizes.height, sizes.width)
