"""Metadata in the boxes of HEIC, HEIF and AVIF (ISO/IEC 23008-12, ISO/IEC 14496-12, 8.11) and of JPEG XL (18181-2).

The items are read here and not by a decoder's library, because those rewrite EXIF to match the turned pixels and so
break maker notes. For the same reason EXIF is written in two steps: the encoder takes a placeholder of the same
length, and the block then takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gfpcli.photo.carried import Carried
from gfpcli.photo.exif import bare, read_exif

EXIF_ITEM, MIME_ITEM, XMP_TYPE = b"Exif", b"mime", b"application/rdf+xml"
MAX_ITEMS = 4096
MAX_ITEM_BYTES = 64 << 20
JXL_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
JXL_TYPE = b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
JXL_CODESTREAM = b"\xff\x0a"

BoxSpan = tuple[bytes, int, int]  # type, start and end of its content


@dataclass
class _Items:
    """What the boxes in `meta` say of the file's items; filled while they are read."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)  # item to type, for MIME the content type
    extents: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)  # item to (method, start, length)
    described: set[int] = field(default_factory=set)  # items that describe the primary one
    properties: list[bytes] = field(default_factory=list)  # type and content
    associations: dict[int, list[int]] = field(default_factory=dict)  # item to numbers of properties, from 1
    data_start: int = 0  # of the `idat` box


def carried_in_heif(data: bytes) -> Carried:
    """EXIF, XMP and ICC profile of the primary picture of a HEIC, HEIF or AVIF file."""
    meta = next((box for box in _boxes(data, 0, len(data)) if box[0] == b"meta"), None)
    if meta is None:
        return Carried()
    items = _Items()
    for box in _boxes(data, meta[1] + 4, meta[2]):
        _read_box(data, box, items)
    stored = _item(data, items, EXIF_ITEM)
    exif = _exif_of(stored) if stored else None
    return Carried(
        exif=exif,
        xmp=_item(data, items, XMP_TYPE),
        icc=_icc_of(items),
        dpi=read_exif(exif).dpi if exif else None,
        unread=tuple(dict.fromkeys(_auxiliary_names(items))),
    )


def placeholder(exif: bytes) -> bytes:
    """A block without tags, as long as `exif`: encoders store it as it is. None of ours is shorter than 14 bytes."""
    marks = bytes((index * 181 + 91) % 251 for index in range(max(len(exif) - 14, 0)))
    return b"II*\0\x08\0\0\0\0\0\0\0\0\0" + marks


def replace_placeholder(data: bytes, exif: bytes) -> tuple[bytes, bool]:
    """The encoded file with EXIF in the place of `placeholder(exif)`, and whether there was one such place."""
    mark = placeholder(exif)
    return (data.replace(mark, exif), True) if len(mark) == len(exif) and data.count(mark) == 1 else (data, False)


def carried_in_jxl(data: bytes) -> Carried:
    """EXIF and XMP of a JPEG XL file; those that are packed (`brob`) are named in `unread`."""
    if not data.startswith(JXL_SIGNATURE):
        return Carried()
    found = list(_boxes(data, 0, len(data)))
    content = {kind: data[start:end] for kind, start, end in reversed(found) if kind in (b"Exif", b"xml ", b"brob")}
    exif = _exif_of(content[b"Exif"]) if b"Exif" in content else None
    packed = ("packed metadata (brob)",) if b"brob" in content else ()
    return Carried(exif=exif, xmp=content.get(b"xml "), dpi=read_exif(exif).dpi if exif else None, unread=packed)


def write_jxl(data: bytes, carried: Carried) -> bytes:
    """A JPEG XL file with exactly this EXIF and XMP, in boxes behind the picture. The profile is the encoder's."""
    own = [(b"Exif", bytes(4) + carried.exif)] if carried.exif else []
    own += [(b"xml ", carried.xmp)] if carried.xmp else []
    if data.startswith(JXL_CODESTREAM):
        if not own:
            return data
        data = JXL_SIGNATURE + JXL_TYPE + _box_bytes(b"jxlc", data)
    picture = [_box_bytes(kind, data[start:end]) for kind, start, end in _boxes(data, 0, len(data))
               if kind not in (b"Exif", b"xml ", b"brob")]
    return b"".join([*picture, *(_box_bytes(*each) for each in own)])


def _box_bytes(kind: bytes, content: bytes) -> bytes:
    if len(content) + 8 < 2**32:
        return (len(content) + 8).to_bytes(4, "big") + kind + content
    return (1).to_bytes(4, "big") + kind + (len(content) + 16).to_bytes(8, "big") + content


def _boxes(data: bytes, at: int, end: int) -> Iterator[BoxSpan]:
    """The boxes in a range; ends where the bytes are damaged."""
    while at + 8 <= end:
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = end - at
        if size < head or at + size > end:
            return
        yield data[at + 4 : at + 8], at + head, at + size
        at += size


def _integer(data: bytes, at: int, n_bytes: int) -> int:
    return int.from_bytes(data[at : at + n_bytes], "big")


def _read_box(data: bytes, box: BoxSpan, items: _Items) -> None:
    kind, start, end = box
    if kind == b"pitm":
        items.primary = _integer(data, start + 4, 4 if _integer(data, start, 1) else 2)
    elif kind == b"idat":
        items.data_start = start
    elif kind == b"iinf":
        inner = start + (8 if _integer(data, start, 1) else 6)
        for entry in _boxes(data, inner, end):
            _read_item(data, entry, items)
    elif kind == b"iloc":
        _read_locations(data, start, end, items)
    elif kind == b"iref":
        _read_references(data, start, end, items)
    elif kind == b"iprp":
        for inner_box in _boxes(data, start, end):
            _read_properties(data, inner_box, items)


def _read_item(data: bytes, box: BoxSpan, items: _Items) -> None:
    """An `infe` box of version 2 or 3."""
    _, start, end = box
    wide = 4 if _integer(data, start, 1) == 3 else 2
    number, at = _integer(data, start + 4, wide), start + 4 + wide + 2
    kind = data[at : at + 4]
    if kind == MIME_ITEM:
        _, _, rest = data[at + 4 : end].partition(b"\0")
        kind = rest.split(b"\0")[0]
    if len(items.kinds) < MAX_ITEMS:
        items.kinds[number] = kind


def _read_locations(data: bytes, start: int, end: int, items: _Items) -> None:
    """An `iloc` box: sizes of its numbers, then for each item its extents."""
    version, sizes = _integer(data, start, 1), data[start + 4 : start + 6].ljust(2, b"\0")
    offset_bytes, length_bytes, base_bytes = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index_bytes = sizes[1] & 15 if version in (1, 2) else 0
    wide = 4 if version == 2 else 2
    n_items, at = _integer(data, start + 6, wide), start + 6 + wide
    for _ in range(min(n_items, MAX_ITEMS)):
        number, at = _integer(data, at, wide), at + wide
        method = _integer(data, at, 2) & 15 if version in (1, 2) else 0
        at += 4 if version in (1, 2) else 2  # with the data reference
        base, at = _integer(data, at, base_bytes), at + base_bytes
        n_extents, at = _integer(data, at, 2), at + 2
        step = index_bytes + offset_bytes + length_bytes
        if at + n_extents * step > end:
            return
        items.extents[number] = [
            (
                method,
                base + _integer(data, each + index_bytes, offset_bytes),
                _integer(data, each + index_bytes + offset_bytes, length_bytes),
            )
            for each in (range(at, at + n_extents * step, step) if step else ())
        ]
        at += n_extents * step


def _read_references(data: bytes, start: int, end: int, items: _Items) -> None:
    """An `iref` box; only which items describe the primary one is kept."""
    wide = 4 if _integer(data, start, 1) else 2
    for kind, at, _ in _boxes(data, start + 4, end):
        count = min(_integer(data, at + wide, 2), MAX_ITEMS)
        targets = {_integer(data, at + wide + 2 + index * wide, wide) for index in range(count)}
        if kind == b"cdsc" and items.primary in targets:
            items.described.add(_integer(data, at, wide))


def _read_properties(data: bytes, box: BoxSpan, items: _Items) -> None:
    """An `ipco` or `ipma` box."""
    kind, start, end = box
    if kind == b"ipco":
        items.properties = [each + data[at:stop] for each, at, stop in _boxes(data, start, end)][:MAX_ITEMS]
    if kind != b"ipma":
        return
    number_bytes = 4 if _integer(data, start, 1) else 2
    wide = 2 if _integer(data, start + 3, 1) & 1 else 1
    at = start + 8
    for _ in range(min(_integer(data, start + 4, 4), MAX_ITEMS)):
        if at + number_bytes >= end:
            return
        number, count = _integer(data, at, number_bytes), data[at + number_bytes]
        first = at + number_bytes + 1
        mask = 0x7FFF if wide == 2 else 0x7F
        items.associations[number] = [_integer(data, first + index * wide, wide) & mask for index in range(count)]
        at = first + count * wide


def _item(data: bytes, items: _Items, kind: bytes) -> bytes | None:
    """The content of an item of a kind: one that describes the primary picture before another."""
    numbers = [number for number, each in items.kinds.items() if each == kind]
    numbers.sort(key=lambda number: number not in items.described)
    for number in numbers:
        value = _extents_bytes(data, items, items.extents.get(number, []))
        if value:
            return value
    return None


def _extents_bytes(data: bytes, items: _Items, extents: list[tuple[int, int, int]]) -> bytes | None:
    """The extents joined, None where one lies outside the file or in another way than is known."""
    parts, total = [], 0
    for method, start, length in extents:
        begin = start + (items.data_start if method == 1 else 0)
        total += length
        if method > 1 or begin + length > len(data) or total > MAX_ITEM_BYTES:
            return None
        parts.append(data[begin : begin + length])
    return b"".join(parts)


def _exif_of(stored: bytes) -> bytes | None:
    """The block behind the 32-bit offset that stands before it."""
    skipped = 4 + int.from_bytes(stored[:4], "big")
    block = bare(stored[skipped:]) if skipped < len(stored) else bare(stored[4:])
    return block or None


def _icc_of(items: _Items) -> bytes | None:
    numbers = items.associations.get(items.primary, list(range(1, len(items.properties) + 1)))
    own = (items.properties[number - 1] for number in numbers if 0 < number <= len(items.properties))
    return next((each[8:] for each in own if each[:8] in (b"colrprof", b"colrrICC")), None)


def _auxiliary_names(items: _Items) -> list[str]:
    """What further pictures of the file are (depth, gain map), by the names of their types; alpha is no such thing."""
    types = [each[8:].split(b"\0")[0].decode("latin-1") for each in items.properties if each[:4] == b"auxC"]
    names = [name.rsplit(":", 1)[-1] for name in types if not name.endswith(("alpha", ":auxid:1"))]
    return [f"auxiliary picture ({ascii(name)[1:-1]})" for name in names]
