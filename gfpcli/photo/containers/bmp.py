"""The resolution in a BMP file's header (BITMAPINFOHEADER), all that it carries besides pixels."""

from __future__ import annotations

from gfpcli.photo.carried import Carried, valid_dpi

METRES_PER_INCH = 0.0254


def carried_in_bmp(data: bytes) -> Carried:
    """Its resolution, stored as pixels per metre."""
    if int.from_bytes(data[14:18], "little") < 40:  # older headers have none
        return Carried()
    x, y = (int.from_bytes(data[at : at + 4], "little", signed=True) * METRES_PER_INCH for at in (38, 42))
    return Carried(dpi=valid_dpi(x, y))
