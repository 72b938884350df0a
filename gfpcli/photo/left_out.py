"""What a file holds besides its main picture, which is all that is restored: gain maps, motion videos, more pictures.

Told to the user, one line each, and none of it reaches an output.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from gfpcli.photo.heif_boxes import Items, boxes_in, read_items

GAIN_MAP = "its HDR gain map is left out"
MOTION = "its motion video is left out"
DEPTH = "its depth map is left out"
STEREO = "the other pictures of a stereo, panorama or burst shot are left out"
ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
PROMISE_LINES = (  # what an XMP packet says, and the line for it
    (rb"Semantic[=>\"']+GainMap", GAIN_MAP),
    (rb"(GCamera|Camera):(MotionPhoto|MicroVideo)[=>\"']+1|Semantic[=>\"']+MotionPhoto", MOTION),
    (rb"GDepth:|Semantic[=>\"']+Depth", DEPTH),
)
AUXILIARIES = (  # parts of the type (URN) of an auxiliary picture of HEIF, and the line for it
    ("hdrgainmap", GAIN_MAP),
    ("depth", DEPTH),
    ("auxid:2", DEPTH),
    ("matte", "its mattes (cut-outs of people, hair, skin, sky) are left out"),
)
LARGE_THUMBNAILS = {0x010001, 0x010002}  # MP types (CIPA DC-007, table 4): previews of the same picture
SERIES = {0x020001, 0x020002, 0x020003}  # panorama, disparity, multi-angle
# an MP4 whose first box begins right behind the picture's end, or behind Samsung's name for it
VIDEO_BEHIND = re.compile(
    rb"(\xff\xd9|MotionPhoto_Data)[\s\S]{0,64}?\0\0\0[\x10-\x60]ftyp(mp4|iso|avc|qt  |MSN|3gp|M4V)"
)


def parts_left_out(data: bytes, format: str) -> tuple[str, ...]:
    """One line for each kind of thing that a file holds besides its main picture.

    Args:
        data: all bytes of the file.
        format: of its kind: "JPEG" ("MPO" too), "HEIF", "AVIF"; others have none.
    """
    if format in ("JPEG", "MPO"):
        return _jpeg_parts(data)
    return heif_parts(data, read_items(data)) if format in ("HEIF", "AVIF") else ()


def heif_parts(data: bytes, items: Items) -> tuple[str, ...]:
    """As `parts_left_out`, for a HEIC, HEIF or AVIF file whose items are read already."""
    types = [each.lower() for item in items.kinds for each in items.auxiliary(item)]
    found = [line for word, line in AUXILIARIES if any(word in each for each in types)]
    if b"tmap" in items.kinds.values():
        found.append(GAIN_MAP)
    if n_more := len(_further_pictures(items)):
        found.append(f"{n_more} more {'picture is' if n_more == 1 else 'pictures are'} left out")
    kinds = {box.kind for box in boxes_in(data, 0, len(data))}
    if b"moov" in kinds:
        is_sequence = data[8:12] in (b"avis", b"hevc", b"hevx", b"msf1")
        found.append("only the first picture of the sequence is restored" if is_sequence else MOTION)
    elif b"mpvd" in kinds:
        found.append(MOTION)
    return tuple(dict.fromkeys(found))


def jpeg_segments(data: bytes, start: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """(marker, offset of its content, content) of the segments before a JPEG's pixels (ITU-T T.81, B.1.1)."""
    at = start + 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xD9, 0xDA):
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        if data[at + 1] == 0x01 or 0xD0 <= data[at + 1] <= 0xD8:  # markers without length
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return
        yield data[at + 1], at + 4, data[at + 4 : at + 2 + length]
        at += 2 + length


def _further_pictures(items: Items) -> list[int]:
    """Pictures that a viewer would show beside the primary one: no thumbnails, auxiliaries, tiles or hidden ones."""
    below = {source for kind, source, _ in items.references if kind in (b"thmb", b"auxl")}
    below |= {to for kind, _, targets in items.references if kind in (b"dimg", b"base") for to in targets}
    kinds = (b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"jpeg", b"avc1", b"unci")
    return [
        item
        for item, kind in items.kinds.items()
        if kind in kinds and item != items.primary and item not in below and item not in items.hidden
    ]


def _jpeg_parts(data: bytes) -> tuple[str, ...]:
    found: list[str] = []
    for marker, at, content in jpeg_segments(data):
        if marker == 0xE1 and content.startswith((XMP_HEADER, EXTENDED_XMP)):
            found += [line for pattern, line in PROMISE_LINES if re.search(pattern, content)]
        elif marker == 0xE2 and content.startswith(ISO_GAIN_MAP):
            found.append(GAIN_MAP)
        elif marker == 0xE2 and content.startswith(b"MPF\0"):
            found += _mpf_parts(data, at + 4, content[4:])
    if VIDEO_BEHIND.search(data):
        found.append(MOTION)
    return tuple(dict.fromkeys(found))


def _mpf_parts(data: bytes, origin: int, block: bytes) -> list[str]:
    """Lines for the further pictures that a Multi-Picture Format segment lists (CIPA DC-007, 5.2.3)."""
    found = []
    for kind, offset, length in _mpf_entries(block)[1:]:
        other = data[origin + offset : origin + offset + length]
        if kind in LARGE_THUMBNAILS or not other.startswith(b"\xff\xd8"):
            continue
        if kind in SERIES:
            found.append(STEREO)
        else:
            found.append(_meaning_of(other))
    return found


def _meaning_of(other: bytes) -> str:
    """What a further JPEG inside a file is, by its own XMP."""
    for marker, _, content in jpeg_segments(other):
        if marker == 0xE1 and content.startswith(XMP_HEADER):
            for pattern, line in ((rb"hdrgainmap|HDRGainMap|hdrgm:", GAIN_MAP), (rb"depthmap|:depth|Depth", DEPTH)):
                if re.search(pattern, content):
                    return line
        if marker == 0xE2 and content.startswith(ISO_GAIN_MAP):
            return GAIN_MAP
    return "only the first picture of this file is restored"


def _mpf_entries(block: bytes) -> list[tuple[int, int, int]]:
    """(type, offset, length) of each picture; empty where the segment is damaged."""
    order = "<" if block[:2] == b"II" else ">"
    try:
        start = struct.unpack_from(order + "I", block, 4)[0]
        for i in range(min(struct.unpack_from(order + "H", block, start)[0], 64)):
            tag, _, count, value = struct.unpack_from(order + "HHII", block, start + 2 + 12 * i)
            if tag == 0xB002:  # MP entries of 16 bytes
                places = range(value, value + 16 * min(count // 16, 256), 16)
                entries = [struct.unpack_from(order + "III", block, place) for place in places]
                return [(flags & 0xFFFFFF, offset, length) for flags, length, offset in entries]
    except struct.error:
        return []
    return []
