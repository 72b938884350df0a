"""Camera raw files that are TIFF inside, told apart from TIFF pictures by their directories (TIFF 6.0, DNG 1.7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Read = Callable[[int, int], bytes]
"""(offset, number of bytes) to bytes of the file; fewer, or none, where it ends or is not at hand."""

RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef",
    ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
MAKES = {
    "NIKON": "NEF", "SONY": "ARW", "PENTAX": "PEF", "RICOH": "PEF", "SAMSUNG": "SRW", "OLYMPUS": "ORF", "CANON": "CR2",
    "HASSELBLAD": "3FR", "EPSON": "ERF", "KODAK": "DCR", "EASTMAN": "DCR", "LEAF": "MOS", "PHASE ONE": "IIQ",
    "MAMIYA": "MEF", "PANASONIC": "RW2", "LEICA": "RWL", "GOPRO": "GPR",
}  # fmt: skip
COMPRESSION, PHOTOMETRIC, MAKE, SUB_IFDS, CFA_PATTERN, DNG_VERSION = 259, 262, 271, 330, 33422, 50706
RAW_PHOTOMETRICS = {32803, 34892}  # colour filter array, linear raw
RAW_COMPRESSIONS = {32767, 32769, 32770, 34713, 65000, 65535}  # Sony, Epson, Samsung, Nikon, Kodak, Pentax
VALUE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # bytes of a value, by field type
MAX_RAW_DIRECTORIES, MAX_TAGS = 40, 1000  # more than any camera writes; a hostile file may say millions


class Layout(NamedTuple):
    """How a TIFF's numbers are stored."""

    order: Literal["little", "big"]
    is_big: bool  # BigTIFF: 8-byte offsets


def raw_kind(read: Read, suffix: str) -> str | None:
    """The kind of camera raw that a file with TIFF's signature is ("DNG", "NEF", ...); None for a TIFF picture.

    Args:
        suffix: of the file's name, lower case with its dot; decides alone where the directories are not at hand.
    """
    named = suffix[1:].upper() if suffix in RAW_SUFFIXES else None
    if read(8, 2) == b"CR" and read(0, 4) in (b"II*\0", b"MM\0*"):
        return "CR2"
    if read(8, 4) in (b"IIII", b"MMMM"):
        return "IIQ"
    make, is_raw = "", False
    for tags in _directories(read):
        if DNG_VERSION in tags:
            return "DNG"
        make = make or tags.get(MAKE, b"").decode("latin-1").strip("\0 ").upper()
        is_raw = is_raw or _is_raw_directory(tags)
    if not is_raw:
        return named
    return named or next((kind for word, kind in MAKES.items() if make.startswith(word)), "of an unknown make")


def _is_raw_directory(tags: dict[int, bytes]) -> bool:
    """Whether a directory's picture is what a sensor saw; values are little-endian here."""
    photometric = int.from_bytes(tags.get(PHOTOMETRIC, b""), "little")
    compression = int.from_bytes(tags.get(COMPRESSION, b""), "little")
    return photometric in RAW_PHOTOMETRICS or compression in RAW_COMPRESSIONS or CFA_PATTERN in tags


def _directories(read: Read) -> Iterator[dict[int, bytes]]:
    """Tag to value bytes (numbers little-endian) of each directory and sub-directory, in the file's order."""
    layout = Layout("little" if read(0, 2) == b"II" else "big", is_big=read(2, 2) in (b"+\0", b"\0+"))
    waiting = [_stored_number(read(8, 8) if layout.is_big else read(4, 4), layout)]
    seen: set[int] = set()
    while waiting and len(seen) < MAX_RAW_DIRECTORIES:
        at = waiting.pop(0)
        if at in seen or at < 8:
            continue
        seen.add(at)
        tags, below, following = _directory(read, at, layout)
        waiting += [*below, following]
        yield tags


def _directory(read: Read, at: int, layout: Layout) -> tuple[dict[int, bytes], list[int], int]:
    """(tags, offsets of sub-directories, offset of the next directory) of the directory at an offset."""
    head, size, room = (8, 20, 8) if layout.is_big else (2, 12, 4)
    n_tags = min(_stored_number(read(at, head), layout), MAX_TAGS)
    block = read(at + head, n_tags * size + room)
    tags: dict[int, bytes] = {}
    below: list[int] = []
    for start in range(0, min(n_tags * size, len(block) - size + 1), size):
        entry = block[start : start + size]
        tag, field = _stored_number(entry[:2], layout), _stored_number(entry[2:4], layout)
        count = _stored_number(entry[4 : size - room], layout)
        if tag not in (COMPRESSION, PHOTOMETRIC, MAKE, SUB_IFDS, CFA_PATTERN, DNG_VERSION):
            continue
        length = VALUE_SIZES.get(field, 1) * min(count, 64)
        value = entry[size - room :] if length <= room else read(_stored_number(entry[size - room :], layout), length)
        width = VALUE_SIZES.get(field, 1)
        tags[tag] = _stored_number(value[:width], layout).to_bytes(8, "little") if width > 1 else value[:length]
        if tag == SUB_IFDS:
            step = VALUE_SIZES.get(field, 4)
            below = [_stored_number(value[i : i + step], layout) for i in range(0, length, step)]
    return tags, below, _stored_number(block[n_tags * size : n_tags * size + room], layout)


def _stored_number(data: bytes, layout: Layout) -> int:
    return int.from_bytes(data, layout.order)
