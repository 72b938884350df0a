"""Metadata in a TIFF file's tags (TIFF 6.0; EXIF 2.32, 4.6; Adobe Photoshop TIFF Technical Notes).

Reading makes an EXIF block of the tags that do not describe how the pixels are stored. Writing puts that block at the
start of the new file and the encoder's strips behind it, so that every offset within the block, also those that only
the camera's maker knows, stays true.
"""

from __future__ import annotations

import io
from collections.abc import Container
from dataclasses import replace
from typing import Literal

import tifffile

from gfpcli.errors import OutputError
from gfpcli.photo.carried import Carried, valid_dpi
from gfpcli.photo.exif import (
    RESOLUTION_UNIT,
    STRUCTURE,
    X_RESOLUTION,
    Y_RESOLUTION,
    exif_fields,
    read_exif,
    rebuild_exif,
)
from gfpcli.photo.ifd import (
    BYTE,
    IFD,
    LONG,
    POINTERS,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Directory,
    Field,
    Header,
    IfdEntry,
    Order,
    directories,
    entry_bytes,
    integer_of,
    integers_of,
    read_header,
    swapped,
    value_of,
    write_block,
)
from gfpcli.photo.photoshop import split_iptc

XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, ICC_TAG = 700, 33723, 34377, 34675
CARRIED_APART = (XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, ICC_TAG)
OFFSETS, COUNTS = (273, 324), (279, 325)  # of strips, of tiles
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, DESCRIPTION = 254, 258, 270
RESOLUTION = (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)
MAX_KEPT_AT = 4 << 20  # a maker note that must stay further back would make the new file start with so many zeros
MAX_CLASSIC_BYTES = 2**32 - 1
LAYOUT_TEXTS = (b'{"shape":', b"ImageJ=")  # descriptions in which programs note how the old pixels were stored
# Tags that no longer hold for other pixels, or point to data that is not carried, and what they are.
UNREAD = (
    ((37724, 50784), "Photoshop layers"),
    ((33550, 33920, 33922, 34264, 34735, 34736, 34737), "georeference"),
    ((50838, 50839), "ImageJ metadata"),
    (tuple(range(50706, 51200)), "DNG tags"),
)


def carried_in_tiff(data: bytes) -> Carried:
    """What a TIFF file carries, of its first page that is no thumbnail; EXIF may also stand in the first of all."""
    header = read_header(data)
    pages = list(directories(data, header)) if header else []
    if header is None or not pages:
        return Carried(unread=("damaged TIFF directory",))
    page = next((each for each in pages if not _is_thumbnail(data, each, header)), pages[0])
    merged = replace(page, entries=page.entries + _missing_entries(page, pages[0]))
    apart = {entry.tag: value_of(data, entry) for entry in reversed(merged.entries) if entry.tag in CARRIED_APART}
    exif, unread = _block_of(data, header, merged)
    own, others, is_whole = split_iptc(apart.get(PHOTOSHOP_TAG, b""))
    iptc = _iptc_of(apart[IPTC_TAG]) if IPTC_TAG in apart else own
    return Carried(
        exif=exif,
        icc=apart.get(ICC_TAG) or None,
        xmp=apart.get(XMP_TAG, b"").rstrip(b"\0") or None,
        iptc=iptc or None,
        photoshop=others,
        dpi=_page_dpi(data, header, merged),
        unread=unread + (() if is_whole else ("Photoshop resources (damaged)",)),
    )


def byte_order(carried: Carried) -> Order:
    """The byte order in which a TIFF file with this EXIF is written: an encoder that uses it saves a conversion."""
    return (read_exif(carried.exif).order if carried.exif else None) or "little"


def write_tiff(data: bytes, carried: Carried) -> tuple[bytes, tuple[str, ...]]:
    """A TIFF file with exactly this metadata, and the names of what it cannot carry.

    Args:
        data: a file of one page as an encoder wrote it. Where its byte order is not that of the EXIF block and its
            samples are longer than a byte, they are encoded again.

    Raises:
        OutputError: it has no page that can be read, is a BigTIFF file, or becomes larger than 4 GB.
    """
    order = byte_order(carried)
    data = _with_samples_in(data, order)
    header = read_header(data)
    page = next(directories(data, header), None) if header else None
    if header is None or header.is_big or page is None:
        raise OutputError("the encoder wrote no classic TIFF file")
    exif, lost = _sound_block(carried.exif)
    out = bytearray(exif or write_block((), order))
    fields = [*_described_pixels(data, header, page, order), *_moved_pixels(data, header, page, out, order)]
    fields += _apart_fields(carried, order)
    block = _block_entries(exif or b"", {field.tag for field in fields})
    known = {field.tag for field in fields} | {int.from_bytes(entry[:2], order) for entry in block}
    fields += [field for field in _fields(data, header, page, RESOLUTION, order) if field.tag not in known]
    _append_directory(out, order, fields, block)
    if len(out) > MAX_CLASSIC_BYTES:
        raise OutputError("more than the 4 GB that a TIFF file can hold")
    return bytes(out), lost


def _sound_block(exif: bytes | None) -> tuple[bytes | None, tuple[str, ...]]:
    """The block, of a damaged one what can be read: what pointed behind its end must not point into the pixels."""
    if exif is None or read_exif(exif).damage is None:
        return exif, ()
    rebuilt = rebuild_exif(exif)
    return rebuilt, () if rebuilt else ("EXIF",)


def _is_thumbnail(data: bytes, page: Directory, header: Header) -> bool:
    return bool((integer_of(data, page.find(NEW_SUBFILE_TYPE), header.order) or 0) & 1)


def _missing_entries(page: Directory, first: Directory) -> tuple[IfdEntry, ...]:
    """What the file's first page says of the whole file and the picture's page does not."""
    known = {entry.tag for entry in page.entries}
    return tuple(entry for entry in first.entries if entry.tag not in known and entry.tag not in STRUCTURE)


def _block_of(data: bytes, header: Header, page: Directory) -> tuple[bytes | None, tuple[str, ...]]:
    """An EXIF block of a page's descriptive tags, and what it does not hold."""
    entries = tuple(entry for entry in page.entries if not _is_of_storage(data, entry))
    names = [name for entry in entries if (name := _unread_name(entry))]
    described = replace(page, entries=tuple(entry for entry in entries if not _unread_name(entry)))
    fields = exif_fields(data, header, described, keeps_note=True)
    fields, lost = _without_far_note(fields)
    says_nothing = {field.tag for field in fields} <= set(RESOLUTION)
    names += [page.damage] if page.damage else []
    return None if says_nothing else write_block(fields, header.order), tuple(dict.fromkeys([*names, *lost]))


def _is_of_storage(data: bytes, entry: IfdEntry) -> bool:
    """Whether a tag describes how the old pixels are stored, or is carried apart."""
    if entry.tag == DESCRIPTION:
        return value_of(data, entry)[:12].startswith(LAYOUT_TEXTS)
    return entry.tag in STRUCTURE or entry.tag in CARRIED_APART


def _unread_name(entry: IfdEntry) -> str | None:
    """What a tag is that cannot be carried, None where it can."""
    known = next((name for tags, name in UNREAD if entry.tag in tags), None)
    is_pointer = entry.type in (IFD, 16, 17, 18) and entry.tag not in POINTERS
    return known or (f"TIFF tag {entry.tag}" if is_pointer else None)


def _without_far_note(fields: tuple[Field, ...]) -> tuple[tuple[Field, ...], tuple[str, ...]]:
    """A maker note that must stay far behind the start is left out."""
    near = tuple(field for field in fields if (field.keep_at or 0) <= MAX_KEPT_AT)
    lost: tuple[str, ...] = ("maker notes",) if len(near) < len(fields) else ()
    kept = []
    for field in near:
        inner, inner_lost = _without_far_note(field.directory) if field.directory is not None else (None, ())
        kept.append(replace(field, directory=inner))
        lost += inner_lost
    return tuple(kept), lost


def _iptc_of(value: bytes) -> bytes:
    """IPTC records; of type LONG some programs wrote them with every four bytes reversed."""
    return swapped(value, LONG) if value[:1] != b"\x1c" and value[3:4] == b"\x1c" else value


def _page_dpi(data: bytes, header: Header, page: Directory) -> tuple[float, float] | None:
    per_inch = {2: 1.0, 3: 2.54}.get(integer_of(data, page.find(RESOLUTION_UNIT), header.order) or 2)
    entries = [page.find(tag) for tag in (X_RESOLUTION, Y_RESOLUTION)]
    values = []
    for entry in entries:
        if entry is None or entry.type != RATIONAL or entry.n_bytes < 8 or per_inch is None:
            return None
        raw = value_of(data, entry)
        over, under = int.from_bytes(raw[:4], header.order), int.from_bytes(raw[4:8], header.order)
        values.append(over / under * per_inch if under else 0.0)
    return valid_dpi(values[0], values[1])


def _with_samples_in(data: bytes, order: Order) -> bytes:
    """The file with its samples in a byte order: encoded again where they are longer than a byte and in the other."""
    header = read_header(data)
    page = next(directories(data, header), None) if header else None
    if header is None or page is None or header.order == order:
        return data
    if (integer_of(data, page.find(BITS_PER_SAMPLE), header.order) or 1) <= 8:
        return data
    sign: Literal["<", ">"] = "<" if order == "little" else ">"
    out = io.BytesIO()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        first = file.pages.first
        pixels = first.asarray()
        tifffile.imwrite(
            out,
            pixels.astype(pixels.dtype.newbyteorder(sign)),
            byteorder=sign,
            photometric=first.photometric,
            planarconfig=first.planarconfig if pixels.ndim == 3 else None,
            extrasamples=first.extrasamples or None,
            compression=None if first.compression == 1 else "zlib",
            metadata=None,
            software=False,
        )
    return out.getvalue()


def _fields(data: bytes, header: Header, page: Directory, tags: Container[int], order: Order) -> list[Field]:
    """A page's entries of these tags, their values in a byte order."""
    return [
        Field(entry.tag, entry.type, entry.count, value if header.order == order else swapped(value, entry.type))
        for entry in page.entries
        if entry.tag in tags
        for value in [value_of(data, entry)]
    ]


def _described_pixels(data: bytes, header: Header, page: Directory, order: Order) -> list[Field]:
    """The tags that say how the encoder stored the pixels, without the places of strips or tiles."""
    return _fields(data, header, page, STRUCTURE.difference(OFFSETS), order)


def _moved_pixels(data: bytes, header: Header, page: Directory, out: bytearray, order: Order) -> list[Field]:
    """Appends the strips or tiles to `out`; the tags of their new places."""
    fields = []
    for offsets_tag, counts_tag in zip(OFFSETS, COUNTS, strict=True):
        offsets, counts = page.find(offsets_tag), page.find(counts_tag)
        if offsets is None or counts is None:
            continue
        places = bytearray()
        starts, lengths = (integers_of(data, each, header.order) for each in (offsets, counts))
        for start, length in zip(starts, lengths, strict=True):
            out.extend(bytes(len(out) % 2))
            places.extend(len(out).to_bytes(8, order)[slice(4) if order == "little" else slice(4, 8)])
            out.extend(data[start : start + length])
        fields.append(Field(offsets_tag, LONG, len(places) // 4, bytes(places)))
    return fields


def _apart_fields(carried: Carried, order: Order) -> list[Field]:
    """The tags of what EXIF does not hold; the resolution only where EXIF does not say the same."""
    values = (
        (XMP_TAG, BYTE, carried.xmp),
        (IPTC_TAG, UNDEFINED, carried.iptc),
        (PHOTOSHOP_TAG, UNDEFINED, carried.photoshop),
        (ICC_TAG, UNDEFINED, carried.icc),
    )
    fields = [Field(tag, kind, len(value), value) for tag, kind, value in values if value]
    known = read_exif(carried.exif).dpi if carried.exif else None
    if carried.dpi is None or (known and all(abs(a - b) < 0.5 for a, b in zip(known, carried.dpi, strict=True))):
        return fields
    for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), carried.dpi, strict=True):
        over, under = (round(value * 1000), 1000) if value % 1 else (round(value), 1)
        fields.append(Field(tag, RATIONAL, 1, over.to_bytes(4, order) + under.to_bytes(4, order)))
    return [*fields, Field(RESOLUTION_UNIT, SHORT, 1, (2).to_bytes(2, order))]


def _block_entries(block: bytes, known: set[int]) -> list[bytes]:
    """The entries of the block's first directory as they stand, except those that describe pixels or are `known`."""
    header = read_header(block)
    page = next(directories(block, header), None) if header else None
    entries = page.entries if page else ()
    return [
        block[entry.at : entry.at + 12] for entry in entries if entry.tag not in STRUCTURE and entry.tag not in known
    ]


def _append_directory(out: bytearray, order: Order, fields: list[Field], block: list[bytes]) -> None:
    """Appends the values and the new first directory, and points the header to it."""
    entries = list(block)
    for field in fields:
        value = field.value.ljust(4, b"\0")
        if len(field.value) > 4:
            out.extend(bytes(len(out) % 2))
            value = len(out).to_bytes(4, order)
            out.extend(field.value)
        entries.append(entry_bytes(field, value, order))
    entries.sort(key=lambda entry: int.from_bytes(entry[:2], order))
    out.extend(bytes(len(out) % 2))
    out[4:8] = len(out).to_bytes(4, order)
    out.extend(len(entries).to_bytes(2, order) + b"".join(entries) + bytes(4))
