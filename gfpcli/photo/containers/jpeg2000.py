"""What a JPEG 2000 file holds besides pixels (ISO/IEC 15444-1, annex I): told, not carried."""

from __future__ import annotations

from gfpcli.photo.carried import Carried
from gfpcli.photo.heif_boxes import boxes_in

METADATA = (b"xml ", b"uuid", b"asoc", b"jp2i")


def carried_in_jpeg_2000(data: bytes) -> Carried:
    """Nothing; whether there are boxes of metadata is in `unread`."""
    has_metadata = any(box.kind in METADATA for box in boxes_in(data, 0, len(data)))
    return Carried(unread=("metadata boxes of JPEG 2000",) if has_metadata else ())
