"""The EXIF block of a picture: a small TIFF stream, read and patched in place.

Patching changes single values and moves nothing, so that a camera's maker note, whose inner offsets count from the
start of the block, stays readable. Tag numbers and meanings: EXIF 2.32 (CIPA DC-008), section 4.6. Nothing here raises
on damaged bytes: the results say what is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate

from gfpcli.photo.geometry import Placement
from gfpcli.photo.ifd import (
    EXIF_POINTER,
    GPS_POINTER,
    INTEROPERABILITY_POINTER,
    LONG,
    MAKER_NOTE,
    POINTERS,
    RATIONAL,
    SHORT,
    Directory,
    Field,
    Header,
    IfdEntry,
    Order,
    entry_bytes,
    integer_of,
    integers_of,
    read_directory,
    read_header,
    swapped,
    value_of,
    write_block,
)

PREFIX = b"Exif\0\0"  # stands before the block in a JPEG segment, and by mistake elsewhere
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
ACROSS, DOWN = (0x0100, 0xA002), (0x0101, 0xA003)  # in the first directory, in the Exif directory
SUBJECT_AREA, SUBJECT_LOCATION = 0x9214, 0xA214
THUMBNAIL_AT, THUMBNAIL_BYTES = 0x0201, 0x0202
MAX_FIELDS_BYTES = 16 << 20  # of one directory's values; EXIF of a camera is below 1 MB
# Tags of a TIFF file's first directory that describe how its pixels are stored (TIFF 6.0, TIFF/EP, Adobe's notes).
STRUCTURE = frozenset(
    (*range(254, 260), *range(262, 267), 273, *range(277, 282), 284, *range(288, 294), 297, 301, 317)
    + (*range(320, 329), 330, *range(332, 348), 351, *range(512, 522), *range(529, 533), 559, 33421, 33422)
)
# Makers whose notes count their offsets from the note itself, so that the note can be moved (exiftool, MakerNotes.pm).
SELF_RELATIVE = (b"Apple iOS\0", b"Nikon\0\x02", b"OLYMPUS\0", b"OM SYSTEM\0", b"FUJIFILM", b"GENERALE")


@dataclass(frozen=True)
class ExifFacts:
    """What a block says.

    Attributes:
        order: its byte order, None where it has no TIFF header.
        orientation: 1 to 8; 1 where there is none.
        dpi: (horizontal, vertical) pixels per inch; None where there is none or it has no unit.
        has_maker_note: a maker note lies within the block.
        has_thumbnail: a second directory follows the first.
        damage: what cannot be read, None where all can.
    """

    order: Order | None = None
    orientation: int = 1
    dpi: tuple[float, float] | None = None
    has_maker_note: bool = False
    has_thumbnail: bool = False
    damage: str | None = None


@dataclass(frozen=True)
class PatchedExif:
    """A patched block; None where it is too damaged to keep. `damage` says what cannot be read, None where all can."""

    block: bytes | None
    damage: str | None = None


def bare(block: bytes) -> bytes:
    """A block without the prefix that JPEG puts before it."""
    return block[len(PREFIX) :] if block.startswith(PREFIX) else block


def read_exif(block: bytes) -> ExifFacts:
    """Orientation, resolution and state of a block, with or without its JPEG prefix."""
    data = bare(block)
    read = _read_first(data)
    if isinstance(read, str):
        return ExifFacts(damage=read)
    header, first = read
    orientation = integer_of(data, first.find(ORIENTATION), header.order)
    inner = dict(_inner_directories(data, header, first))
    exif = inner.get("Exif")
    note = exif.find(MAKER_NOTE) if exif else None
    return ExifFacts(
        order=header.order,
        orientation=orientation if orientation and orientation <= 8 else 1,
        dpi=_directory_dpi(data, header, first),
        has_maker_note=note is not None and note.n_bytes > 0,
        has_thumbnail=first.next != 0,
        damage=_damage_of(first, inner),
    )


def patch_exif(block: bytes, placement: Placement, *, keeps_print_size: bool = True) -> PatchedExif:
    """The block for a picture that is written upright and resized; the JPEG prefix is taken off.

    Orientation becomes 1, the pixel sizes those of the output, the subject's area is turned and scaled, the thumbnail
    is unlinked (and cut off where it ends the block). Tags that are absent are not added.

    Args:
        keeps_print_size: scale the resolution with the pixels, so that the picture prints as large as before.
    """
    data = bytearray(bare(block))
    read = _read_first(data)
    if isinstance(read, str):
        return PatchedExif(None, read)
    header, first = read
    inner = dict(_inner_directories(data, header, first))
    damage = _damage_of(first, inner)
    _drop_thumbnail(data, header, first, inner)
    for directory in (first, *inner.values()):
        _patch_integers(data, header, directory, placement)
    if "Exif" in inner:
        _patch_subject(data, header, inner["Exif"], placement)
    if keeps_print_size:
        _patch_resolution(data, header, first, placement)
    return PatchedExif(bytes(data), damage)


def exif_values(block: bytes) -> dict[tuple[str, int], tuple[int, int, bytes]]:
    """(directory, tag) to (type, count, little-endian value) of all that a block says, except how pixels are stored.

    A maker note's value has its position before it where its offsets count from the start of the block, since it
    cannot be read after a move.
    """
    data = bare(block)
    read = _read_first(data)
    if isinstance(read, str):
        return {}
    header, first = read
    return {
        (name, entry.tag): (entry.type, entry.count, _comparable(data, header, entry))
        for name, directory in (("IFD0", first), *_inner_directories(data, header, first))
        for entry in _affordable(directory)
        if entry.tag not in POINTERS and not (name == "IFD0" and entry.tag in STRUCTURE)
    }


def resolution_block(dpi: tuple[float, float]) -> bytes:
    """A block that says nothing but (horizontal, vertical) pixels per inch."""
    fields = [
        Field(X_RESOLUTION, RATIONAL, 1, _rational(dpi[0], "little")),
        Field(Y_RESOLUTION, RATIONAL, 1, _rational(dpi[1], "little")),
        Field(RESOLUTION_UNIT, SHORT, 1, (2).to_bytes(2, "little")),
    ]
    return write_block(fields, "little")


def fit_exif(block: bytes, max_bytes: int) -> tuple[bytes | None, tuple[str, ...]]:
    """A block of at most so many bytes and the names of what had to go: the maker note first, then all."""
    data = bare(block)
    if len(data) <= max_bytes:
        return data, ()
    for lost, keeps_note in (((), True), (("maker notes",), False)):
        fitted = rebuild_exif(data, keeps_note=keeps_note, max_bytes=max_bytes)
        if fitted is not None:
            return fitted, lost
    return None, ("EXIF",)


def rebuild_exif(block: bytes, *, keeps_note: bool = True, max_bytes: int = MAX_FIELDS_BYTES) -> bytes | None:
    """A block of what can be read in another, without bytes that nothing refers to; None where it would be larger."""
    data = bare(block)
    read = _read_first(data)
    if isinstance(read, str):
        return None
    header, first = read
    fields = exif_fields(data, header, first, keeps_note=keeps_note)
    if any((field.keep_at or 0) + len(field.value) > max_bytes for field in _flat(fields)):
        return None
    rebuilt = write_block(fields, header.order)
    return rebuilt if len(rebuilt) <= max_bytes else None


def exif_fields(data: bytes, header: Header, directory: Directory, *, keeps_note: bool) -> tuple[Field, ...]:
    """A first directory and those it points to, to be written elsewhere.

    Only a maker note whose offsets count from the start of the block keeps its position.
    """
    inner = dict(_inner_directories(data, header, directory))
    below = {
        INTEROPERABILITY_POINTER: _fields_of(data, inner.get("Interoperability"), {}, keeps_note),
        GPS_POINTER: _fields_of(data, inner.get("GPS"), {}, keeps_note),
    }
    below[EXIF_POINTER] = _fields_of(data, inner.get("Exif"), below, keeps_note)
    return _fields_of(data, directory, below, keeps_note)


def is_self_relative(note: bytes) -> bool:
    """Whether a maker note counts its offsets from itself, so that it may be moved."""
    return note.startswith(SELF_RELATIVE)


def _read_first(data: bytes | bytearray) -> tuple[Header, Directory] | str:
    """The header and the first directory, or what is wrong."""
    header = read_header(bytes(data[:16]))
    if header is None or header.is_big:
        return "it has no TIFF header"
    first = read_directory(bytes(data), header, header.first)
    return (header, first) if first is not None else "its first directory lies outside the block"


def _inner_directories(data: bytes | bytearray, header: Header, first: Directory) -> Iterator[tuple[str, Directory]]:
    """The Exif, GPS and Interoperability directories that can be read; none is read twice."""
    whole = bytes(data)
    seen = {first.at}
    above = {"Exif": first, "GPS": first, "Interoperability": first}
    for name, pointer in zip(above, POINTERS, strict=True):
        at = integer_of(whole, above[name].find(pointer), header.order)
        directory = read_directory(whole, header, at) if at and at not in seen else None
        if directory is not None:
            seen.add(directory.at)
            if name == "Exif":
                above["Interoperability"] = directory
            yield name, directory


def _damage_of(first: Directory, inner: dict[str, Directory]) -> str | None:
    """The first thing of a block that cannot be read."""
    for name, pointer in (("Exif", EXIF_POINTER), ("GPS", GPS_POINTER)):
        if first.find(pointer) is not None and name not in inner:
            return f"its {name} directory cannot be read"
    return next((each.damage for each in (first, *inner.values()) if each.damage), None)


def _directory_dpi(data: bytes, header: Header, first: Directory) -> tuple[float, float] | None:
    entry = first.find(RESOLUTION_UNIT)
    per_inch = {2: 1.0, 3: 2.54}.get(integer_of(data, entry, header.order) or 2)
    x = _fraction_of(data, first.find(X_RESOLUTION), header.order)
    y = _fraction_of(data, first.find(Y_RESOLUTION), header.order)
    return (float(x) * per_inch, float(y) * per_inch) if x and y and per_inch else None


def _fraction_of(data: bytes | bytearray, entry: IfdEntry | None, order: Order) -> Fraction | None:
    if entry is None or entry.type != RATIONAL or entry.count < 1:
        return None
    over = int.from_bytes(data[entry.value_at : entry.value_at + 4], order)
    under = int.from_bytes(data[entry.value_at + 4 : entry.value_at + 8], order)
    return Fraction(over, under) if under else None


def _rational(value: float | Fraction, order: Order) -> bytes:
    """A value as the eight bytes of a RATIONAL."""
    nearest = Fraction(min(max(Fraction(value), Fraction(0)), Fraction(2**32 - 1))).limit_denominator(1000)
    while nearest.numerator >= 2**32:
        nearest = nearest.limit_denominator(max(1, nearest.denominator // 10))
    return nearest.numerator.to_bytes(4, order) + nearest.denominator.to_bytes(4, order)


def _patch_integers(data: bytearray, header: Header, directory: Directory, placement: Placement) -> None:
    """Orientation and sizes, each written anew as one inline value whatever type it had."""
    height, width = placement.output
    values = {ORIENTATION: (SHORT, 1), **dict.fromkeys(ACROSS, (LONG, width)), **dict.fromkeys(DOWN, (LONG, height))}
    for entry in directory.entries:
        if entry.tag in values:
            kind, value = values[entry.tag]
            raw = value.to_bytes(2 if kind == SHORT else 4, header.order).ljust(4, b"\0")
            data[entry.at : entry.at + 12] = entry_bytes(Field(entry.tag, kind, 1), raw, header.order)


def _patch_subject(data: bytearray, header: Header, exif: Directory, placement: Placement) -> None:
    """The subject's centre (x, y), diameter or (width, height): pixels of the stored picture, 16 bit each."""
    for entry in exif.entries:
        if entry.tag not in (SUBJECT_AREA, SUBJECT_LOCATION) or entry.type != SHORT or not 2 <= entry.count <= 4:
            continue
        numbers = integers_of(bytes(data), entry, header.order)
        x, y = placement.turn_pixel(numbers[0], numbers[1])
        size = numbers[2:]
        scaled = placement.turn_pixels_size(size[0], size[-1])[: len(size)] if size else ()
        raw = b"".join(min(max(round(each), 0), 65535).to_bytes(2, header.order) for each in (x, y, *scaled))
        data[entry.value_at : entry.value_at + len(raw)] = raw


def _patch_resolution(data: bytearray, header: Header, first: Directory, placement: Placement) -> None:
    """Pixels per unit grow with the pixels. Both values are read first: some files let both tags share one place."""
    facts = ((X_RESOLUTION, placement.scale[1]), (Y_RESOLUTION, placement.scale[0]))
    tags = (Y_RESOLUTION, X_RESOLUTION) if placement.is_sideways else (X_RESOLUTION, Y_RESOLUTION)
    values = {tag: _fraction_of(data, first.find(tag), header.order) for tag in tags}
    for (tag, scale), source in zip(facts, tags, strict=True):
        entry, value = first.find(tag), values[source]
        if entry is not None and value:
            raw = _rational(value * Fraction(scale), header.order)
            data[entry.value_at : entry.value_at + 8] = raw


def _drop_thumbnail(data: bytearray, header: Header, first: Directory, inner: dict[str, Directory]) -> None:
    """The link to the second directory is cleared; the thumbnail's bytes go where nothing else lies behind them."""
    if not first.next:
        return
    data[first.next_at : first.next_at + 4] = bytes(4)
    whole = bytes(data)
    second = read_directory(whole, header, first.next)
    start = integer_of(whole, second.find(THUMBNAIL_AT), header.order) if second else None
    n_bytes = integer_of(whole, second.find(THUMBNAIL_BYTES), header.order) if second else None
    if not start or not n_bytes or not len(data) - 4 <= start + n_bytes <= len(data):
        return
    used = [max([each.next_at + 4, *(entry.value_at + entry.n_bytes for entry in each.entries)]) for each in
            (first, *inner.values())]
    if max(used) <= start:
        del data[start:]


def _affordable(directory: Directory) -> list[IfdEntry]:
    """The entries from the first on whose values together are no larger than EXIF can be."""
    sums = accumulate(entry.n_bytes for entry in directory.entries)
    return [entry for entry, total in zip(directory.entries, sums, strict=True) if total <= MAX_FIELDS_BYTES]


def _comparable(data: bytes, header: Header, entry: IfdEntry) -> bytes:
    value = value_of(data, entry)
    if entry.tag == MAKER_NOTE:
        return value if is_self_relative(value) else entry.value_at.to_bytes(4, "big") + value
    return value if header.order == "little" else swapped(value, entry.type)


def _fields_of(
    data: bytes, directory: Directory | None, below: dict[int, tuple[Field, ...]], keeps_note: bool
) -> tuple[Field, ...]:
    """A directory's entries as fields; `below` holds what its pointers point to, empty for what cannot be read."""
    fields = []
    for entry in _affordable(directory) if directory else ():
        if entry.tag in POINTERS:
            if below.get(entry.tag):
                fields.append(Field(entry.tag, LONG, 1, directory=below[entry.tag]))
            continue
        field = Field(entry.tag, entry.type, entry.count, value_of(data, entry))
        if entry.tag == MAKER_NOTE and not keeps_note:
            continue
        is_fixed = entry.tag == MAKER_NOTE and not is_self_relative(field.value)
        can_stay = not entry.is_inline and entry.value_at >= 8
        fields.append(replace(field, keep_at=entry.value_at) if is_fixed and can_stay else field)
    return tuple(fields)


def _flat(fields: tuple[Field, ...]) -> Iterator[Field]:
    for field in fields:
        yield field
        yield from _flat(field.directory or ())
