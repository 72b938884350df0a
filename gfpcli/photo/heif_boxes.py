"""The items of a HEIF or AVIF file, their properties and references, and items added to one.

Read from the boxes themselves, since libraries tell only a part (ISO/IEC 14496-12 and 23008-12).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias

from gfpcli.photo.pixels import Nclx

MAX_BOX_ENTRIES = 10_000  # items, properties and references that are looked at; phones write some hundred
META_HEADER = 12  # bytes: length, "meta", version and flags


@dataclass(frozen=True, slots=True)
class Box:
    """One box inside some bytes."""

    kind: bytes
    start: int  # of its length field
    body: int  # of its content
    end: int


class Reference(NamedTuple):
    """One item's references of a kind to others."""

    kind: bytes
    source: int
    targets: tuple[int, ...]


Property: TypeAlias = tuple[bytes, bytes]
"""(kind, content)"""


@dataclass(frozen=True, slots=True)
class Items:
    """What the `meta` box of a file says; all empty where it has none that can be understood."""

    primary: int | None
    kinds: Mapping[int, bytes]  # item -> hvc1, av01, grid, Exif, mime, ...
    hidden: frozenset[int]
    references: Sequence[Reference]
    properties: Sequence[Property]
    owners: Mapping[int, Sequence[int]]  # item -> indices of `properties`, in the order they are applied

    def of(self, item: int | None) -> list[Property]:
        """An item's properties, in the order they are applied."""
        return [self.properties[i] for i in self.owners.get(item or 0, ()) if i < len(self.properties)]

    def targets(self, kind: bytes, item: int | None) -> list[int]:
        """The items that one refers to by references of a kind."""
        return [to for each in self.references if (each.kind, each.source) == (kind, item) for to in each.targets]

    def sources(self, kind: bytes, item: int | None) -> list[int]:
        """The items that refer to one by references of a kind."""
        return [each.source for each in self.references if each.kind == kind and item in each.targets]

    def size(self, item: int | None) -> tuple[int, int] | None:
        """(width, height) before it is turned, by its `ispe` property."""
        body = next((body for kind, body in self.of(item) if kind == b"ispe" and len(body) >= 12), None)
        return None if body is None else (_int(body[4:8]), _int(body[8:12]))

    def bits(self, item: int | None) -> tuple[int, ...]:
        """Bits of each channel, by its `pixi` property; empty where it has none."""
        body = next((body for kind, body in self.of(item) if kind == b"pixi" and len(body) >= 5), b"\0" * 5)
        return tuple(body[5 : 5 + body[4]])

    def colour(self, item: int | None) -> tuple[bytes | None, Nclx | None]:
        """(ICC profile, code points) by its `colr` properties, or of its first tile where a grid has none."""
        icc, nclx = None, None
        for kind, body in self.of(item):
            if kind == b"colr" and body[:4] in (b"prof", b"rICC"):
                icc = body[4:]
            elif kind == b"colr" and body[:4] == b"nclx" and len(body) >= 11:
                nclx = Nclx(_int(body[4:6]), _int(body[6:8]), _int(body[8:10]), bool(body[10] >> 7))
        tiles = self.targets(b"dimg", item)
        return self.colour(tiles[0]) if icc is None and nclx is None and tiles and tiles[0] != item else (icc, nclx)

    def auxiliary(self, item: int | None) -> list[str]:
        """The types (URN) of the auxiliary pictures of an item: alpha, depth, gain map, mattes."""
        found = []
        for source in self.sources(b"auxl", item):
            found += [body[4:].split(b"\0")[0].decode("latin-1") for kind, body in self.of(source) if kind == b"auxC"]
        return found


def boxes_in(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes that lie one after another in a range; ends at the first that cannot be one."""
    at = start
    while at + 8 <= end:
        length, body = _int(data[at : at + 4]), at + 8
        if length == 1:
            length, body = _int(data[at + 8 : at + 16]), at + 16
        stop = end if length == 0 else at + length
        if stop < body or stop > end:
            return
        yield Box(data[at + 4 : at + 8], at, body, stop)
        at = stop


def read_items(data: bytes) -> Items:
    """The items of a file's `meta` box; what is damaged is left out."""
    meta = next((box for box in boxes_in(data, 0, len(data)) if box.kind == b"meta"), None)
    inside = boxes_in(data, meta.body + 4, meta.end) if meta else ()
    parts = {box.kind: data[box.body : box.end] for box in inside}
    pitm = parts.get(b"pitm", b"")
    kinds, hidden = _infos(parts.get(b"iinf", b""))
    properties, owners = _properties(parts.get(b"iprp", b""))
    return Items(
        primary=_int(pitm[4:8] if pitm[0] else pitm[4:6]) if len(pitm) >= 6 else None,
        kinds=kinds,
        hidden=hidden,
        references=_references(parts.get(b"iref", b"")),
        properties=properties,
        owners=owners,
    )


def _infos(body: bytes) -> tuple[dict[int, bytes], frozenset[int]]:
    """(the kind of each item, which of them are hidden) of an `iinf` box's content."""
    kinds, hidden = {}, set()
    for box in boxes_in(body, 8 if body[:1] not in (b"", b"\0") else 6, len(body)):
        info = body[box.body : box.end]
        if box.kind != b"infe" or len(info) < 12 or info[0] not in (2, 3):
            continue
        wide = 4 if info[0] == 3 else 2
        item = _int(info[4 : 4 + wide])
        kinds[item] = info[6 + wide : 10 + wide]
        if info[3] & 1:
            hidden.add(item)
    return kinds, frozenset(hidden)


def _references(body: bytes) -> tuple[Reference, ...]:
    """Those of an `iref` box's content."""
    found = []
    wide = 4 if body[:1] not in (b"", b"\0") else 2
    for box in islice(boxes_in(body, 4, len(body)), MAX_BOX_ENTRIES):
        ids = body[box.body : box.end]
        n_to = min(_int(ids[wide : wide + 2]), len(ids) // wide)
        to = tuple(_int(ids[wide + 2 + wide * i : wide + 2 + wide * (i + 1)]) for i in range(n_to))
        found.append(Reference(box.kind, _int(ids[:wide]), to))
    return tuple(found)


def _properties(body: bytes) -> tuple[tuple[Property, ...], dict[int, list[int]]]:
    """(all properties, the indices of each item's) of an `iprp` box's content."""
    properties: tuple[Property, ...] = ()
    owners: dict[int, list[int]] = {}
    for box in boxes_in(body, 0, len(body)):
        if box.kind == b"ipco":
            each = islice(boxes_in(body, box.body, box.end), MAX_BOX_ENTRIES)
            properties = tuple((inner.kind, body[inner.body : inner.end]) for inner in each)
        elif box.kind == b"ipma":
            for item, indices in _associations(body[box.body : box.end]):
                owners.setdefault(item, []).extend(index - 1 for index in indices if index)
    return properties, owners


def _associations(body: bytes) -> Iterator[tuple[int, list[int]]]:
    """(item, numbers of its properties, from 1) of an `ipma` box's content."""
    wide = 4 if body[:1] not in (b"", b"\0") else 2
    step = 2 if len(body) > 3 and body[3] & 1 else 1
    mask = 0x7FFF if step == 2 else 0x7F
    at = 8
    for _ in range(min(_int(body[4:8]), MAX_BOX_ENTRIES)):
        if at + wide >= len(body):
            return
        item, count = _int(body[at : at + wide]), body[at + wide]
        at += wide + 1
        yield item, [_int(body[at + step * i : at + step * (i + 1)]) & mask for i in range(count)]
        at += step * count


def with_items(data: bytes, *, exif: bytes | None, xmp: bytes | None, icc: bytes | None) -> bytes:
    """A file as libavif writes it (one picture, perhaps its alpha), with metadata and a profile for its primary item.

    Args:
        exif: a TIFF structure ("II*..." or "MM...").
        xmp: a packet.
        icc: a profile; it takes the place of no other property.

    Raises:
        ValueError: the file is not laid out so.
    """
    tops = {box.kind: box for box in boxes_in(data, 0, len(data))}
    meta = tops[b"meta"]
    parts = {box.kind: data[box.start : box.end] for box in boxes_in(data, meta.body + 4, meta.end)}
    items = read_items(data)
    blocks = [(b"Exif", b"", b"\0\0\0\0" + exif)] if exif else []
    blocks += [(b"mime", b"application/rdf+xml\0", xmp)] if xmp else []
    first = max(items.kinds) + 1
    added = [(first + i, *block) for i, block in enumerate(blocks)]
    parts[b"iinf"] = _infos_with(parts[b"iinf"], added)
    if added:
        parts[b"iref"] = _references_with(parts.get(b"iref"), [each[0] for each in added], items.primary or 0)
    if icc:
        parts[b"iprp"] = _properties_with(parts[b"iprp"], icc, items.primary or 0)
    grown = len(_iloc_with(parts[b"iloc"], added, 0, 0)) - len(parts[b"iloc"])
    size = META_HEADER + sum(map(len, parts.values())) + grown
    moved = size - (meta.end - meta.start)
    parts[b"iloc"] = _iloc_with(parts[b"iloc"], added, moved, len(data) + moved + 8)
    content = data[meta.body : meta.body + 4] + b"".join(parts.values())
    tail = _box(b"mdat", b"".join(block for *_, block in added)) if added else b""
    return data[: meta.start] + _box(b"meta", content) + data[meta.end :] + tail


def _infos_with(iinf: bytes, added: list[tuple[int, bytes, bytes, bytes]]) -> bytes:
    if iinf[8] != 0:
        raise ValueError("unknown version of iinf")
    infos = b"".join(
        _box(b"infe", struct.pack(">IHH4s", 0x02000001, item, 0, kind) + b"\0" + mime) for item, kind, mime, _ in added
    )
    count = _int(iinf[12:14]) + len(added)
    return _box(b"iinf", iinf[8:12] + struct.pack(">H", count) + iinf[14:] + infos)


def _references_with(iref: bytes | None, sources: list[int], target: int) -> bytes:
    content = iref[8:] if iref else b"\0\0\0\0"
    if content[0] != 0:
        raise ValueError("unknown version of iref")
    return _box(b"iref", content + b"".join(_box(b"cdsc", struct.pack(">HHH", item, 1, target)) for item in sources))


def _properties_with(iprp: bytes, icc: bytes, item: int) -> bytes:
    """The profile as one more property, first of those of the item."""
    inside = {box.kind: iprp[box.body : box.end] for box in boxes_in(iprp, 8, len(iprp))}
    ipco, ipma = inside[b"ipco"], inside[b"ipma"]
    index = 1 + sum(1 for _ in boxes_in(ipco, 0, len(ipco)))
    if ipma[0] != 0 or ipma[3] & 1 or index > 127:
        raise ValueError("unknown version of ipma")
    entries = b""
    for owner, indices in _associations_raw(ipma):
        indices = bytes([index]) + indices if owner == item else indices
        entries += struct.pack(">HB", owner, len(indices)) + indices
    return _box(b"iprp", _box(b"ipco", ipco + _box(b"colr", b"prof" + icc)) + _box(b"ipma", ipma[:8] + entries))


def _associations_raw(ipma: bytes) -> Iterator[tuple[int, bytes]]:
    """(item, one byte for each property, with the bit that says it is essential) of an `ipma` box of version 0."""
    at = 8
    while at + 3 <= len(ipma):
        item, count = _int(ipma[at : at + 2]), ipma[at + 2]
        yield item, ipma[at + 3 : at + 3 + count]
        at += 3 + count


def _iloc_with(iloc: bytes, added: list[tuple[int, bytes, bytes, bytes]], moved: int, start: int) -> bytes:
    """Where items lie: the old ones `moved` bytes further, the new ones one after another from `start`."""
    if iloc[8] != 0 or iloc[12:14] != b"\x44\x00":  # version; sizes of offset, length and base offset
        raise ValueError("unknown version of iloc")
    entries, at = b"", 16
    for _ in range(_int(iloc[14:16])):
        n_extents = _int(iloc[at + 4 : at + 6])
        entries += iloc[at : at + 6]
        for extent in range(at + 6, at + 6 + 8 * n_extents, 8):
            entries += struct.pack(">I", _int(iloc[extent : extent + 4]) + moved) + iloc[extent + 4 : extent + 8]
        at += 6 + 8 * n_extents
    for item, _, _, block in added:
        entries += struct.pack(">HHHII", item, 0, 1, start, len(block))
        start += len(block)
    return _box(b"iloc", iloc[8:14] + struct.pack(">H", _int(iloc[14:16]) + len(added)) + entries)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big")
