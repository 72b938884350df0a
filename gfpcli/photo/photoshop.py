"""Photoshop image resources, in which JPEG (APP13) and TIFF (tag 34377) carry IPTC and Photoshop's own facts.

Each is "8BIM", a 16-bit number, a name, a 32-bit length and data, padded to even lengths (Adobe Photoshop File
Formats, "Image Resources Section"). All numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

IPTC_ID = 0x0404
RESOLUTION_ID = 0x03ED
# Thumbnails, and copies of ICC, EXIF and XMP, which are carried by themselves and would contradict the new ones.
STALE = frozenset((0x0409, 0x040C, 0x040F, 0x0422, 0x0423, 0x0424))


@dataclass(frozen=True)
class Resource:
    """One resource: `head` are the bytes before its length (signature, number, padded name)."""

    number: int
    head: bytes
    data: bytes

    def to_bytes(self) -> bytes:
        return self.head + len(self.data).to_bytes(4, "big") + self.data + bytes(len(self.data) % 2)


def read_resources(block: bytes) -> tuple[tuple[Resource, ...], bool]:
    """The resources of a block and whether all of it could be read; what follows damage is left out."""
    found: list[Resource] = []
    at = 0
    while at + 12 <= len(block) and block[at : at + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"):
        name_bytes = block[at + 6] + 1
        length_at = at + 6 + name_bytes + name_bytes % 2
        start = length_at + 4
        length = int.from_bytes(block[length_at:start], "big")
        if start + length > len(block):
            break
        number = int.from_bytes(block[at + 4 : at + 6], "big")
        found.append(Resource(number, block[at:length_at], block[start : start + length]))
        at = start + length + length % 2
    return tuple(found), not block[at:].strip(b"\0")


def split_iptc(block: bytes) -> tuple[bytes | None, bytes | None, bool]:
    """(IPTC, the other resources that stay true, whether all could be read); None for what is not there."""
    resources, is_whole = read_resources(block)
    iptc = next((each.data for each in resources if each.number == IPTC_ID), None)
    others = (each for each in resources if each.number != IPTC_ID and each.number not in STALE)
    return iptc, _joined(others) or None, is_whole


def join_iptc(iptc: bytes | None, others: bytes | None) -> bytes:
    """One block of resources with IPTC first; empty where there is neither."""
    own = Resource(IPTC_ID, b"8BIM" + IPTC_ID.to_bytes(2, "big") + b"\0\0", iptc).to_bytes() if iptc else b""
    return own + (others or b"")


def scale_resolution(block: bytes, scale: tuple[float, float]) -> bytes:
    """The resources with ResolutionInfo multiplied; `scale` is (vertical, horizontal)."""
    resources, _ = read_resources(block)
    return _joined(_scaled_fixed(each, scale) if each.number == RESOLUTION_ID else each for each in resources)


def _joined(resources: Iterable[Resource]) -> bytes:
    return b"".join(each.to_bytes() for each in resources)


def _scaled_fixed(resource: Resource, scale: tuple[float, float]) -> Resource:
    """16.16 fixed-point pixels per inch stand at 0 (horizontal) and 8 (vertical)."""
    if len(resource.data) < 16:
        return resource
    horizontal, vertical = (
        min(round(int.from_bytes(resource.data[at : at + 4], "big") * by), 2**32 - 1).to_bytes(4, "big")
        for at, by in ((0, scale[1]), (8, scale[0]))
    )
    data = horizontal + resource.data[4:8] + vertical + resource.data[12:]
    return Resource(resource.number, resource.head, data)
