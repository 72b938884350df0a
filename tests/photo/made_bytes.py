"""Files made byte by byte, for kinds that no library writes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SHORT, LONG, UNDEFINED, ASCII, BYTE = 3, 4, 7, 2, 1
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, CHANNELS, ROWS, COUNTS = (
    256, 257, 258, 259, 262, 273, 277, 278, 279,
)  # fmt: skip
Tags = Mapping[int, tuple[int, Sequence[int] | bytes]]
"""Number to (field type, values)."""


def directory(tags: Tags, at: int, following: int = 0) -> bytes:
    """A little-endian TIFF directory that lies at `at`, with its longer values behind it."""
    head, tail = struct.pack("<H", len(tags)), b""
    behind = at + 2 + 12 * len(tags) + 4
    for tag, (field, values) in sorted(tags.items()):
        form = {SHORT: "H", LONG: "I"}.get(field)
        value = bytes(values) if form is None else struct.pack(f"<{len(values)}{form}", *values)
        count = len(values)
        if len(value) > 4:
            head += struct.pack("<HHII", tag, field, count, behind + len(tail))
            tail += value + b"\0" * (len(value) % 2)
        else:
            head += struct.pack("<HHI", tag, field, count) + value.ljust(4, b"\0")
    return head + struct.pack("<I", following) + tail


def tiff(tags: Tags, pixels: bytes = b"", following: int = 0) -> bytes:
    """A TIFF of one directory, its only strip right behind the header."""
    whole = {OFFSETS: (LONG, [8]), COUNTS: (LONG, [len(pixels)]), **tags}
    at = 8 + len(pixels) + len(pixels) % 2
    return struct.pack("<2sHI", b"II", 42, at) + pixels.ljust(at - 8, b"\0") + directory(whole, at, following)


def layout(array: NDArray[np.uint8] | NDArray[np.uint16], photometric: int) -> dict[int, tuple[int, Sequence[int]]]:
    """The tags that every uncompressed picture has; `array` is (H, W) or (H, W, C)."""
    channels = array.shape[2] if array.ndim == 3 else 1
    return {
        WIDTH: (LONG, [array.shape[1]]),
        HEIGHT: (LONG, [array.shape[0]]),
        BITS: (SHORT, [array.dtype.itemsize * 8] * channels),
        COMPRESSION: (SHORT, [1]),
        PHOTOMETRIC: (SHORT, [photometric]),
        CHANNELS: (SHORT, [channels]),
        ROWS: (LONG, [array.shape[0]]),
    }


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with (marker, content) segments right behind its start."""
    added = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    return data[:2] + added + data[2:]


def box(kind: bytes, content: bytes) -> bytes:
    """A box of the ISO base media file format."""
    return struct.pack(">I4s", len(content) + 8, kind) + content
