"""Metadata in a JPEG file's segments (ITU-T T.81, annex B).

Sources: JFIF 1.02; EXIF 2.32, 4.7; XMP specification part 3, 1.1.3; ICC.1, annex B.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gfpcli.photo.carried import Carried, valid_dpi
from gfpcli.photo.exif import PREFIX, fit_exif, read_exif
from gfpcli.photo.photoshop import join_iptc, split_iptc
from gfpcli.photo.xmp import join_extended, split_extended

APP0, APP1, APP2, APP11, APP12, APP13, APP14, COM = 0xE0, 0xE1, 0xE2, 0xEB, 0xEC, 0xED, 0xEE, 0xFE
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
MAX_PAYLOAD = 65533
MAX_DENSITY = 65535
JFIF, XMP_START, XMP_PART = b"JFIF\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
ICC_MARK, BLOCKS = b"ICC_PROFILE\0", b"Photoshop 3.0\0"
CARRIERS = ((APP1, PREFIX), (APP1, XMP_START), (APP1, XMP_PART), (APP2, ICC_MARK), (APP13, BLOCKS), (COM, b""))
# Segments that belong to the old bytes: resolution and thumbnail, Adobe's colour transform, Photoshop's quality.
STRUCTURE_SEGMENTS = ((APP0, JFIF), (APP0, b"JFXX\0"), (APP14, b"Adobe"), (APP12, b"Ducky"))
SEGMENT_NAMES = (
    (APP2, b"MPF\0", "directory of further pictures (MPF)"),
    (APP2, b"FPXR\0", "FlashPix data"),
    (APP11, b"JP", "content credentials (JUMBF)"),
)


@dataclass(frozen=True)
class Segment:
    """A marker segment before the first scan: its payload, and its place in the file with marker and length."""

    marker: int
    payload: bytes
    start: int
    end: int

    def is_one_of(self, kinds: tuple[tuple[int, bytes], ...]) -> bool:
        """Whether its marker and the start of its payload are among these."""
        return any(self.marker == marker and self.payload.startswith(start) for marker, start in kinds)


def carried_in_jpeg(data: bytes) -> Carried:
    """What a JPEG file carries; damaged parts are named in `unread`."""
    found = list(segments(data))
    pieces = [each.payload[len(ICC_MARK) :] for each in found if each.is_one_of(((APP2, ICC_MARK),))]
    icc, is_icc_whole = _joined_icc(pieces)
    block = b"".join(each.payload[len(BLOCKS) :] for each in found if each.is_one_of(((APP13, BLOCKS),)))
    iptc, others, is_whole = split_iptc(block)
    xmp, damage = _joined_xmp(found)
    exif = _first_segment(found, APP1, PREFIX)
    unread = [name for each in found if (name := _unread_segment(each))]
    unread += [] if is_icc_whole else ["ICC profile (incomplete)"]
    unread += [] if is_whole else ["Photoshop resources (damaged)"]
    return Carried(
        exif=exif,
        icc=icc,
        xmp=xmp,
        iptc=iptc,
        photoshop=others,
        comments=tuple(each.payload for each in found if each.marker == COM),
        dpi=_jfif_dpi(found) or (read_exif(exif).dpi if exif else None),
        unread=tuple(dict.fromkeys([*unread, *([damage] if damage else [])])),
    )


def write_jpeg(data: bytes, carried: Carried) -> tuple[bytes, tuple[str, ...]]:
    """A JPEG file with exactly this metadata, and the names of what it cannot carry."""
    found = list(segments(data))
    own, lost = _own_segments(carried)
    kept = [each for each in found if not each.is_one_of(CARRIERS)]
    leading = [each for each in kept if each.marker == APP0]
    rest = [each for each in kept if each.marker != APP0]
    end = found[-1].end if found else 2
    parts = [data[:2], *_with_density(data, leading, rest, carried.dpi), *own]
    is_dense = carried.dpi is None or max(carried.dpi) <= MAX_DENSITY
    lost += () if is_dense else ("resolution",)
    return b"".join([*parts, *(data[each.start : each.end] for each in rest), data[end:]]), lost


def segments(data: bytes) -> Iterator[Segment]:
    """The segments before the first scan; ends without an error where the bytes are damaged."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (START_OF_SCAN, END_OF_IMAGE) or length < 2 or at + 2 + length > len(data):
            return
        yield Segment(marker, data[at + 4 : at + 2 + length], at, at + 2 + length)
        at += 2 + length


def _first_segment(found: list[Segment], marker: int, start: bytes) -> bytes | None:
    """The payload behind its start of the first segment of a kind."""
    return next((each.payload[len(start) :] for each in found if each.is_one_of(((marker, start),))), None)


def _joined_xmp(found: list[Segment]) -> tuple[bytes | None, str | None]:
    main = _first_segment(found, APP1, XMP_START)
    parts = [each.payload[len(XMP_PART) :] for each in found if each.is_one_of(((APP1, XMP_PART),))]
    if main is None:
        return None, "extended XMP without a main packet" if parts else None
    return join_extended(main, parts)


def _joined_icc(parts: list[bytes]) -> tuple[bytes | None, bool]:
    """The profile from its parts (number, count, data), and whether none is missing."""
    by_number = {part[0]: part[2:] for part in parts if len(part) > 2}
    count = parts[0][1] if parts and len(parts[0]) > 1 else 0
    if not parts:
        return None, True
    is_whole = sorted(by_number) == list(range(1, count + 1))
    return (b"".join(by_number[number] for number in sorted(by_number)), True) if is_whole else (None, False)


def _jfif_dpi(found: list[Segment]) -> tuple[float, float] | None:
    density = (_first_segment(found, APP0, JFIF) or b"")[2:7]
    per_inch = {1: 1.0, 2: 2.54}.get(density[0]) if len(density) == 5 else None
    x, y = int.from_bytes(density[1:3], "big"), int.from_bytes(density[3:5], "big")
    return valid_dpi(x * per_inch, y * per_inch) if per_inch else None


def _unread_segment(segment: Segment) -> str | None:
    """What a segment is that is neither carried nor part of how the picture is stored."""
    is_application = APP0 <= segment.marker <= APP0 + 15
    if not is_application or segment.is_one_of(CARRIERS) or segment.is_one_of(STRUCTURE_SEGMENTS):
        return None
    known = (name for marker, start, name in SEGMENT_NAMES if segment.is_one_of(((marker, start),)))
    words = "".join(chr(each) for each in segment.payload[:24].split(b"\0")[0] if 32 <= each < 127)
    return next(known, f"segment APP{segment.marker - APP0} {words}".rstrip())


def _own_segments(carried: Carried) -> tuple[list[bytes], tuple[str, ...]]:
    """The segments that carry the metadata in their usual order, and what does not fit in."""
    exif, lost = fit_exif(carried.exif, MAX_PAYLOAD - len(PREFIX)) if carried.exif else (None, ())
    main, parts = split_extended(carried.xmp) if carried.xmp else (None, ())
    lost += ("XMP",) if carried.xmp and main is None else ()
    icc = _icc_payloads(carried.icc) if carried.icc else []
    lost += ("ICC profile",) if carried.icc and not icc else ()
    comments = [comment for comment in carried.comments if len(comment) <= MAX_PAYLOAD]
    lost += ("comment",) if len(comments) < len(carried.comments) else ()
    resources = join_iptc(carried.iptc, carried.photoshop)
    payloads = [
        *([(APP1, PREFIX + exif)] if exif else []),
        *([(APP1, XMP_START + main)] if main else []),
        *((APP1, XMP_PART + part) for part in parts),
        *((APP2, payload) for payload in icc),
        *((APP13, BLOCKS + part) for part in _cut(resources, MAX_PAYLOAD - len(BLOCKS))),
        *((COM, comment) for comment in comments),
    ]
    return [_segment(marker, payload) for marker, payload in payloads], lost


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


def _cut(value: bytes, n_bytes: int) -> list[bytes]:
    return [value[at : at + n_bytes] for at in range(0, len(value), n_bytes)]


def _icc_payloads(icc: bytes) -> list[bytes]:
    """Numbered parts; none where there would be more than 255."""
    parts = _cut(icc, MAX_PAYLOAD - len(ICC_MARK) - 2)
    if len(parts) > 255:
        return []
    return [ICC_MARK + bytes((number, len(parts))) + part for number, part in enumerate(parts, 1)]


def _with_density(
    data: bytes, leading: list[Segment], rest: list[Segment], dpi: tuple[float, float] | None
) -> list[bytes]:
    """The encoder's APP0 segments with this resolution; one is added where there is none and it contradicts nothing."""
    if dpi is None:
        return [data[each.start : each.end] for each in leading]
    density = b"\1" + b"".join(min(max(round(each), 1), MAX_DENSITY).to_bytes(2, "big") for each in dpi)
    if not any(each.payload.startswith(JFIF) for each in leading):
        is_free = not any(each.marker == APP14 for each in rest)  # JFIF says YCbCr, Adobe's segment may not
        own = [_segment(APP0, JFIF + b"\1\2" + density + b"\0\0")] if is_free else []
        return [*own, *(data[each.start : each.end] for each in leading)]
    return [
        _segment(APP0, each.payload[:7] + density + each.payload[12:])
        if each.payload.startswith(JFIF)
        else data[each.start : each.end]
        for each in leading
    ]
