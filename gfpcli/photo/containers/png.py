"""Metadata in a PNG file's chunks (PNG specification, third edition; raw profiles as ImageMagick writes them)."""

from __future__ import annotations

import zlib
from binascii import Error as HexError
from binascii import hexlify, unhexlify
from collections.abc import Iterator

from gfpcli.photo.carried import Carried, PngText, valid_dpi
from gfpcli.photo.exif import bare, read_exif
from gfpcli.photo.photoshop import join_iptc, split_iptc

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
KEPT_CHUNKS = (b"cICP", b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"cLLI", b"tIME")
STRUCTURE_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sBIT", b"bKGD", b"hIST", b"iDOT", b"sPLT")
CARRYING_CHUNKS = (b"eXIf", b"iCCP", b"pHYs", *TEXTS, *KEPT_CHUNKS)
XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_PROFILE = b"Raw profile type "
MAX_UNPACKED = 32 << 20
PROFILES = ("exif", "app1", "xmp", "iptc", "8bim", "icc", "icm")  # names of raw profiles that are read
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"  # before XMP in a raw profile `app1`
PHOTOSHOP_SEGMENT = b"Photoshop 3.0\0"  # before the resources where a program copied JPEG's segment
INCH_M = 0.0254

PngChunk = tuple[bytes, bytes]  # type, payload


def carried_in_png(data: bytes) -> Carried:
    """What a PNG file carries; damaged parts are named in `unread`."""
    found = [chunk for chunk in _png_chunks(data) if chunk[0] not in STRUCTURE_CHUNKS]
    raw = _raw_profiles(found)
    segment = raw.get("app1", b"")
    is_xmp = segment.startswith(XMP_SEGMENT)
    exif = _first_chunk(found, b"eXIf") or raw.get("exif") or (None if is_xmp else segment)
    icc_name, icc = _icc(_first_chunk(found, b"iCCP"))
    iptc, others, is_whole = _iptc(raw.get("8bim") or raw.get("iptc") or b"")
    texts = [PngText(*chunk) for chunk in found if chunk[0] in TEXTS and not _is_carried_apart(chunk, raw)]
    dpi = _dpi(_first_chunk(found, b"pHYs")) or (read_exif(exif).dpi if exif else None)
    return Carried(
        exif=bare(exif) if exif else None,
        icc=icc or raw.get("icc") or raw.get("icm"),
        icc_name=icc_name or Carried.icc_name,
        xmp=_xmp(found) or raw.get("xmp") or (segment[len(XMP_SEGMENT) :] if is_xmp else None),
        iptc=iptc,
        photoshop=others,
        texts=tuple(texts),
        png_chunks=tuple(chunk for chunk in found if chunk[0] in KEPT_CHUNKS),
        dpi=dpi,
        unread=_unread_chunk(found, icc) + (() if is_whole else ("Photoshop resources (damaged)",)),
    )


def write_png(data: bytes, carried: Carried) -> tuple[bytes, tuple[str, ...]]:
    """A PNG file of 8 or 16 bit with exactly this metadata, and the names of what it cannot carry."""
    own = list(carried.png_chunks)
    if carried.icc:
        own.append((b"iCCP", carried.icc_name + b"\0\0" + zlib.compress(carried.icc)))
    if carried.dpi:
        own.append((b"pHYs", b"".join(round(each / INCH_M).to_bytes(4, "big") for each in carried.dpi) + b"\1"))
    if carried.exif:
        own.append((b"eXIf", carried.exif))
    if carried.xmp:
        own.append((b"iTXt", XMP_KEYWORD + bytes(5) + carried.xmp))
    if resources := join_iptc(carried.iptc, carried.photoshop):
        own.append(_profile_chunk(b"iptc", resources))
    own += [(text.kind, text.payload) for text in carried.texts]
    kept = [raw for kind, raw in _raw_chunks(data) if kind not in CARRYING_CHUNKS]
    whole = [PNG_SIGNATURE, *kept[:1], *(_png_chunk(*chunk) for chunk in own), *kept[1:]]
    return b"".join(whole), ("comment",) if carried.comments else ()


def _positions(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the chunks with their lengths and sums; ends where the bytes are damaged."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        yield data[at + 4 : at + 8], at, end
        at = end


def _png_chunks(data: bytes) -> Iterator[PngChunk]:
    for kind, start, end in _positions(data):
        yield kind, b"" if kind == b"IDAT" else data[start + 8 : end - 4]


def _raw_chunks(data: bytes) -> Iterator[PngChunk]:
    for kind, start, end in _positions(data):
        yield kind, data[start:end]


def _png_chunk(kind: bytes, payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + kind + payload + zlib.crc32(kind + payload).to_bytes(4, "big")


def _first_chunk(found: list[PngChunk], kind: bytes) -> bytes | None:
    return next((payload for each, payload in found if each == kind), None)


def _unpack(packed: bytes) -> bytes | None:
    """zlib data, None where it is damaged, cut short or unpacks to more than 64 MB."""
    unpacker = zlib.decompressobj()
    try:
        value = unpacker.decompress(packed, MAX_UNPACKED)
    except zlib.error:
        return None
    return value if unpacker.eof else None


def _icc(payload: bytes | None) -> tuple[bytes | None, bytes | None]:
    """(name, profile) of an iCCP chunk."""
    name, _, rest = (payload or b"").partition(b"\0")
    return (name[:79], _unpack(rest[1:])) if rest else (None, None)


def _dpi(payload: bytes | None) -> tuple[float, float] | None:
    if payload is None or len(payload) != 9 or payload[8] != 1:
        return None
    x, y = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")
    return valid_dpi(x * INCH_M, y * INCH_M)


def _unpacked_text(chunk: PngChunk) -> bytes | None:
    """The bytes of a text chunk's text, unpacked; None where it is damaged."""
    kind, payload = chunk
    _, _, rest = payload.partition(b"\0")
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _unpack(rest[1:])
    is_packed, parts = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
    if len(parts) < 3:
        return None
    return _unpack(parts[2]) if is_packed else parts[2]


def _xmp(found: list[PngChunk]) -> bytes | None:
    own = (chunk for chunk in found if chunk[0] == b"iTXt" and chunk[1].startswith(XMP_KEYWORD + b"\0"))
    first = next(own, None)
    return _unpacked_text(first) or None if first else None


def _iptc(profile: bytes) -> tuple[bytes | None, bytes | None, bool]:
    """(IPTC, Photoshop's other resources, whether all could be read) of a raw profile, which may be mere IPTC."""
    if profile.startswith(b"\x1c"):
        return profile, None, True
    return split_iptc(profile.removeprefix(PHOTOSHOP_SEGMENT))


def _raw_profiles(found: list[PngChunk]) -> dict[str, bytes]:
    """Name to content of the raw profiles that are read; of equal names only the first is unpacked."""
    first: dict[str, PngChunk] = {}
    for chunk in found:
        if name := _profile_name(chunk):
            first.setdefault(name, chunk)
    return {name: value for name in PROFILES if name in first and (value := _raw_profile(first[name]))}


def _profile_name(chunk: PngChunk) -> str | None:
    """The kind of a raw profile ("exif", "iptc"), None for another chunk."""
    if chunk[0] not in TEXTS or not chunk[1].startswith(RAW_PROFILE):
        return None
    return PngText(*chunk).keyword[len(RAW_PROFILE) :].lower()


def _raw_profile(chunk: PngChunk) -> bytes | None:
    """A profile from its text: a name, a length and hexadecimal digits, in lines."""
    words = (_unpacked_text(chunk) or b"").split(None, 2)
    try:
        return unhexlify(b"".join(words[2].split())) if len(words) == 3 else None
    except HexError:
        return None


def _profile_chunk(name: bytes, value: bytes) -> PngChunk:
    digits = hexlify(value)
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = b"\n" + name + b"\n" + str(len(value)).rjust(8).encode() + b"\n" + lines + b"\n"
    return b"zTXt", RAW_PROFILE + name + b"\0\0" + zlib.compress(text)


def _is_carried_apart(chunk: PngChunk, raw: dict[str, bytes]) -> bool:
    """Whether a text chunk holds XMP or a raw profile that another attribute carries."""
    return _profile_name(chunk) in raw or chunk[1].startswith(XMP_KEYWORD + b"\0")


def _unread_chunk(found: list[PngChunk], icc: bytes | None) -> tuple[str, ...]:
    names = [f"PNG chunk {kind.decode('latin-1')}" for kind, _ in found if kind not in CARRYING_CHUNKS]
    names = [name if name.isprintable() else "PNG chunk without a name" for name in names]
    has_profile = any(kind == b"iCCP" for kind, _ in found)
    return tuple(dict.fromkeys(names + (["ICC profile (damaged)"] if has_profile and icc is None else [])))
