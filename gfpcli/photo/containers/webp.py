"""Metadata in a WebP file's RIFF chunks (RFC 9649, section 2.7)."""

from __future__ import annotations

from collections.abc import Iterator

from gfpcli.photo.carried import Carried
from gfpcli.photo.exif import bare, read_exif

ICC_FLAG, ALPHA_FLAG, EXIF_FLAG, XMP_FLAG = 0x20, 0x10, 0x08, 0x04
CARRYING = (b"ICCP", b"EXIF", b"XMP ")
PICTURE_CHUNKS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")

RiffChunk = tuple[bytes, bytes]  # type, payload


def carried_in_webp(data: bytes) -> Carried:
    """What a WebP file carries."""
    found = dict(reversed(list(riff_chunks(data))))  # of equal ones the first
    exif = bare(found[b"EXIF"]) if found.get(b"EXIF") else None
    unread = [f"WebP chunk {ascii(kind.decode('latin-1'))}" for kind in found if kind not in CARRYING + PICTURE_CHUNKS]
    return Carried(
        exif=exif,
        icc=found.get(b"ICCP") or None,
        xmp=found.get(b"XMP ") or None,
        dpi=read_exif(exif).dpi if exif else None,
        unread=tuple(unread),
    )


def write_webp(data: bytes, carried: Carried) -> bytes:
    """A WebP file with exactly this EXIF, ICC and XMP; it can carry nothing else."""
    picture = [chunk for chunk in riff_chunks(data) if chunk[0] not in CARRYING + (b"VP8X",)]
    header = next((payload for kind, payload in riff_chunks(data) if kind == b"VP8X"), None)
    own = {b"ICCP": carried.icc, b"EXIF": carried.exif, b"XMP ": carried.xmp}
    flags = [flag for flag, value in zip((ICC_FLAG, EXIF_FLAG, XMP_FLAG), own.values(), strict=True) if value]
    if not flags and header is None:
        return data
    extended = _extended_header(header or _canvas(picture), sum(flags))
    before, behind = _present(own, (b"ICCP",)), _present(own, (b"EXIF", b"XMP "))
    body = b"WEBP" + b"".join(riff_chunk(*each) for each in [(b"VP8X", extended), *before, *picture, *behind])
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def riff_chunks(data: bytes) -> Iterator[RiffChunk]:
    """The file's chunks; ends where the bytes are damaged."""
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            return
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def riff_chunk(kind: bytes, payload: bytes) -> bytes:
    """A chunk with its length, padded to an even one."""
    return kind + len(payload).to_bytes(4, "little") + payload + bytes(len(payload) % 2)


def _present(own: dict[bytes, bytes | None], kinds: tuple[bytes, ...]) -> list[RiffChunk]:
    return [(kind, value) for kind in kinds if (value := own[kind])]


def _extended_header(header: bytes, flags: int) -> bytes:
    """A VP8X payload with the flags of what is carried; alpha and animation stay as they are."""
    others = header[0] & ~(ICC_FLAG | EXIF_FLAG | XMP_FLAG)
    return bytes((others | flags,)) + header[1:]


def _canvas(picture: list[RiffChunk]) -> bytes:
    """The VP8X payload of a file that has none: its size and whether it has alpha, from the bitstream's header."""
    kind, payload = picture[0] if picture else (b"", b"")
    if kind == b"VP8L":
        bits = int.from_bytes(payload[1:5], "little")
        width, height, has_alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bits >> 28 & 1
    else:
        width, height = (int.from_bytes(payload[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        has_alpha = 0
    size = b"".join((max(side, 1) - 1).to_bytes(3, "little") for side in (width, height))
    return bytes((ALPHA_FLAG if has_alpha else 0, 0, 0, 0)) + size
