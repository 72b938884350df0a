"""TIFF directories (IFDs) as bytes: read without trusting any offset or count, and written.

The layout is that of TIFF 6.0, section 2, and of BigTIFF. Reading never raises on damaged bytes and never takes more
memory than the directories themselves: a value is only a position until `value_of` cuts it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Order = Literal["little", "big"]

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, IFD = 1, 2, 3, 4, 5, 7, 13
ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
EXIF_POINTER, GPS_POINTER, INTEROPERABILITY_POINTER = 0x8769, 0x8825, 0xA005
POINTERS = (EXIF_POINTER, GPS_POINTER, INTEROPERABILITY_POINTER)
MAKER_NOTE = 0x927C
MAX_IFDS = 64  # of one chain; more is a loop or hostile
MAX_ENTRIES = 4096  # of one directory, in which cameras and scanners write a few dozen


@dataclass(frozen=True)
class Header:
    """The first bytes of a TIFF stream: `first` is the position of its first directory."""

    order: Order
    is_big: bool
    first: int


@dataclass(frozen=True, slots=True)
class IfdEntry:
    """One entry of a directory; `at` is its own position, `value_at` and `n_bytes` say where its value lies."""

    tag: int
    type: int
    count: int
    at: int
    value_at: int
    n_bytes: int
    is_inline: bool


@dataclass(frozen=True)
class Directory:
    """A directory's readable entries; `next_at` is the position of the field that points to the next directory.

    `damage` says in words what could not be read, None where all could.
    """

    at: int
    entries: tuple[IfdEntry, ...]
    next_at: int
    next: int
    damage: str | None

    def find(self, tag: int) -> IfdEntry | None:
        """The first entry of a tag."""
        return next((entry for entry in self.entries if entry.tag == tag), None)


@dataclass(frozen=True)
class Field:
    """An entry to be written: `value` in the stream's byte order, or `directory` for a pointer to one.

    A value with `keep_at` is written at exactly that position.
    """

    tag: int
    type: int
    count: int
    value: bytes = b""
    directory: tuple[Field, ...] | None = None
    keep_at: int | None = None


def read_header(data: bytes) -> Header | None:
    """The header of a TIFF or BigTIFF stream, None where the bytes are neither."""
    order: Order | None = {b"II": "little", b"MM": "big"}.get(data[:2])  # type: ignore[assignment]
    if order is None or len(data) < 8:
        return None
    version = int.from_bytes(data[2:4], order)
    if version == 43 and len(data) >= 16:
        return Header(order, True, int.from_bytes(data[8:16], order))
    return Header(order, False, int.from_bytes(data[4:8], order)) if version == 42 else None


def read_directory(data: bytes, header: Header, at: int) -> Directory | None:
    """The directory at a position; None where not even its number of entries lies within the bytes."""
    count_bytes, entry_bytes, next_bytes = (8, 20, 8) if header.is_big else (2, 12, 4)
    if not 8 <= at <= len(data) - count_bytes:
        return None
    n_entries = int.from_bytes(data[at : at + count_bytes], header.order)
    room = (len(data) - at - count_bytes) // entry_bytes
    n_read = min(n_entries, room, MAX_ENTRIES)
    start = at + count_bytes
    read = [_read_entry(data, header, start + index * entry_bytes) for index in range(n_read)]
    entries = tuple(entry for entry in read if entry is not None)
    next_at = start + n_read * entry_bytes
    is_cut = n_read < n_entries
    following = 0 if is_cut else int.from_bytes(data[next_at : next_at + next_bytes], header.order)
    damage = "a directory is cut short or too long" if is_cut else None
    if damage is None and len(entries) < n_read:
        damage = "a value lies outside the block"
    return Directory(at, entries, next_at, following, damage)


def _read_entry(data: bytes, header: Header, at: int) -> IfdEntry | None:
    """The entry at a position; None where its value does not lie within the bytes."""
    wide = 8 if header.is_big else 4
    tag = int.from_bytes(data[at : at + 2], header.order)
    kind = int.from_bytes(data[at + 2 : at + 4], header.order)
    count = int.from_bytes(data[at + 4 : at + 4 + wide], header.order)
    field_at = at + 4 + wide
    n_bytes = ITEM_BYTES.get(kind, 1) * count
    is_inline = n_bytes <= wide
    value_at = field_at if is_inline else int.from_bytes(data[field_at : field_at + wide], header.order)
    if value_at + n_bytes > len(data):
        return None
    return IfdEntry(tag, kind, count, at, value_at, n_bytes, is_inline)


def directories(data: bytes, header: Header) -> Iterator[Directory]:
    """The chain of directories from the first; it ends at a loop or where the next cannot be read."""
    seen: set[int] = set()
    at = header.first
    while at and at not in seen and len(seen) < MAX_IFDS:
        seen.add(at)
        directory = read_directory(data, header, at)
        if directory is None:
            return
        yield directory
        at = directory.next


def value_of(data: bytes, entry: IfdEntry) -> bytes:
    """An entry's value, in the stream's byte order."""
    return data[entry.value_at : entry.value_at + entry.n_bytes]


def integers_of(data: bytes, entry: IfdEntry, order: Order) -> tuple[int, ...]:
    """The unsigned integers of a BYTE, SHORT, LONG, IFD or LONG8 entry, of another type none."""
    size = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}.get(entry.type)
    if size is None:
        return ()
    raw = value_of(data, entry)
    return tuple(int.from_bytes(raw[at : at + size], order) for at in range(0, len(raw), size))


def integer_of(data: bytes, entry: IfdEntry | None, order: Order) -> int | None:
    """The first of `integers_of`, None where there is none."""
    if entry is None or entry.count < 1:
        return None
    size = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}.get(entry.type)
    return None if size is None else int.from_bytes(data[entry.value_at : entry.value_at + size], order)


def swapped(value: bytes, kind: int) -> bytes:
    """A value of a TIFF type in the other byte order."""
    size = 4 if kind in (RATIONAL, 10) else ITEM_BYTES.get(kind, 1)
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size)) if size > 1 else value


def write_block(fields: Sequence[Field], order: Order) -> bytes:
    """A classic TIFF stream with one directory, the directories it points to, and no pixels."""
    space = _Space(order, _kept_range(fields))
    first = _put_directory(space, fields)
    space.data[4:8] = first.to_bytes(4, order)
    return bytes(space.data)


class _Space:
    """Bytes of a stream that grows; everything that is put leaves the kept range free."""

    def __init__(self, order: Order, kept: tuple[int, int] | None) -> None:
        self.order: Order = order
        self.data = bytearray((b"II" if order == "little" else b"MM") + (42).to_bytes(2, order) + bytes(4))
        self._kept = kept
        self._at = 8

    def reserve(self, n_bytes: int) -> int:
        """An even position with so many free bytes behind it."""
        at = self._at + self._at % 2
        if self._kept and at < self._kept[1] and at + n_bytes > self._kept[0]:
            at = self._kept[1] + self._kept[1] % 2
        self._at = at + n_bytes
        return at

    def write(self, at: int, value: bytes) -> None:
        """Bytes at a position."""
        if len(self.data) < at + len(value):
            self.data.extend(bytes(at + len(value) - len(self.data)))
        self.data[at : at + len(value)] = value


def _kept_range(fields: Sequence[Field]) -> tuple[int, int] | None:
    for field in fields:
        if field.keep_at is not None:
            return field.keep_at, field.keep_at + len(field.value)
        inner = _kept_range(field.directory) if field.directory else None
        if inner:
            return inner
    return None


def _put_directory(space: _Space, fields: Sequence[Field]) -> int:
    ordered = sorted(fields, key=lambda field: field.tag)
    at = space.reserve(2 + 12 * len(ordered) + 4)
    entries = [entry_bytes(field, _put_value(space, field), space.order) for field in ordered]
    space.write(at, len(ordered).to_bytes(2, space.order) + b"".join(entries) + bytes(4))
    return at


def _put_value(space: _Space, field: Field) -> bytes:
    """The four bytes of an entry that hold its value or point to it."""
    if field.directory is not None:
        return _put_directory(space, field.directory).to_bytes(4, space.order)
    if len(field.value) <= 4:
        return field.value.ljust(4, b"\0")
    at = space.reserve(len(field.value)) if field.keep_at is None else field.keep_at
    space.write(at, field.value)
    return at.to_bytes(4, space.order)


def entry_bytes(field: Field, value: bytes, order: Order) -> bytes:
    """The twelve bytes of a classic entry; `value` are the last four."""
    return field.tag.to_bytes(2, order) + field.type.to_bytes(2, order) + field.count.to_bytes(4, order) + value
