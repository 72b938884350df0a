"""Metadata in a GIF file's extensions (GIF89a, 24 and 26; XMP specification part 3, 1.1.2)."""

from __future__ import annotations

from collections.abc import Iterator

from gfpcli.photo.carried import Carried

COMMENT_EXTENSION, APPLICATION = 0xFE, 0xFF
XMP_EXTENSION = b"XMP DataXMP"
XMP_TRAILER_BYTES = 257  # a ramp of bytes, for readers that take the packet for blocks


def carried_in_gif(data: bytes) -> Carried:
    """The comments and the XMP of a GIF file; ends without an error where the bytes are damaged."""
    found = list(_extensions(data))
    xmp = next((body for label, body in found if label == APPLICATION), None)
    return Carried(comments=tuple(body for label, body in found if label == COMMENT_EXTENSION), xmp=xmp)


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(label, content) of comments and XMP before the first picture and behind it."""
    at = 13 + _table_bytes(data[10:11])
    while at + 2 <= len(data):
        if data[at] == 0x2C:  # a picture: its header, colour table, code size, blocks
            at = _skip_blocks(data, at + 11 + _table_bytes(data[at + 9 : at + 10]))
            continue
        if data[at] != 0x21:
            return
        label, start = data[at + 1], at + 2
        end = _skip_blocks(data, start)
        if label == COMMENT_EXTENSION:
            yield label, _joined_blocks(data, start)
        elif label == APPLICATION and data[start + 1 : start + 12] == XMP_EXTENSION:
            end = data.find(b"\0\0", start)
            yield label, data[start + 12 : max(end - XMP_TRAILER_BYTES + 1, start + 12)]
            end = end + 2 if end >= 0 else len(data)
        at = end


def _table_bytes(flags: bytes) -> int:
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _joined_blocks(data: bytes, at: int) -> bytes:
    parts = []
    while at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(parts)
