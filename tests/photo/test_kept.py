"""The table of what each format keeps, made by real round trips, so that it cannot say what is not so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gfpcli.files.formats import LABELS, PICTURE_FORMATS
from gfpcli.photo.carried import Carried, is_same_dpi
from gfpcli.photo.codec import Photo, decode_photo
from gfpcli.photo.embed import CAPACITY
from gfpcli.photo.encode import encode_photo
from gfpcli.photo.xmp import has_same_properties
from gfpcli.types import Frame
from tests.photo.made import made_exif, made_iptc, made_xmp, pixels, profile
from tests.photo.test_carried import TEXTS

PAGE = Path(__file__).parents[2] / "examples" / "photos.md"
REGION = (
    '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag><rdf:li rdf:parseType="Resource">'
    '<mwg-rs:Name>Grandma</mwg-rs:Name><mwg-rs:Area stArea:x="0.4" stArea:y="0.3" stArea:w="0.2" stArea:h="0.2" '
    'stArea:unit="normalized"/></rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>'
)
WRITTEN = [each.name for each in PICTURE_FORMATS if not each.written_as]
ROWS = (
    "EXIF", "maker notes", "XMP", "IPTC", "ICC profile", "text", "resolution", "alpha", "bits", "face regions", "dates",
)  # fmt: skip
YES, NO = "yes", "-"


def full_photo() -> Photo:
    """Upright, 16 bit, with alpha and everything that files carry."""
    frame = Frame(0, pixels((48, 64, 3), np.uint16), "full", alpha=pixels((48, 64), np.uint16))
    carried = Carried(
        exif=made_exif(orientation=1), icc=profile(), xmp=made_xmp(REGION), iptc=made_iptc(), comments=(b"scan 12",),
        texts=TEXTS, dpi=(300.0, 300.0),
    )  # fmt: skip
    return Photo(frame, "PNG", carried, bits=16)


def column(kind: str) -> list[str]:
    """The cells of a format: what was written into a file of it and read out again."""
    photo = full_photo()
    made = encode_photo(photo, photo.frame.image, photo.frame.alpha, kind)
    again = decode_photo(made.data, "again", 0)
    wanted, found = photo.carried, again.carried
    exif, xmp = found.exif or b"", found.xmp or b""
    has_region = b"Grandma" in xmp and re.search(rb"stArea:x\D+0\.4", xmp) is not None
    words = ["text"] * (found.texts == wanted.texts) + ["comment"] * (found.comments == wanted.comments)
    kept = {
        "EXIF": b"made-by-hand-0001" in exif and b"A. Name" in exif, "maker notes": b"Grandma Smith" in exif,
        "XMP": bool(wanted.xmp and xmp and has_same_properties(wanted.xmp, xmp)), "IPTC": found.iptc == wanted.iptc,
        "ICC profile": found.icc == wanted.icc, "resolution": is_same_dpi((300.0, 300.0), found.dpi),
        "alpha": again.frame.alpha is not None, "face regions": has_region, "dates": b"1999:05:06 07:08:09" in exif,
    }  # fmt: skip
    named = " ".join(made.notes)
    for row, word in (("EXIF", "EXIF"), ("XMP", "XMP"), ("IPTC", "IPTC"), ("ICC profile", "ICC profile"),
                      ("alpha", "transparency"), ("resolution", "resolution")):  # fmt: skip
        assert kept[row] or word in named or kind == "JXL", f"{kind} loses {row} without a word: {named}"
    cells = {row: YES if is_kept else NO for row, is_kept in kept.items()}
    cells |= {"text": ", ".join(words) or NO, "bits": str(again.bits)}
    cells |= {"ICC profile": "as sRGB"} if kind == "JXL" else {}
    return [cells[row] for row in ROWS]


def table() -> str:
    """As it stands on the page about photos."""
    columns = [column(kind) for kind in WRITTEN]
    lines = [["", *(LABELS[kind] for kind in WRITTEN)], ["---"] * (len(WRITTEN) + 1)]
    lines += [[row, *(cells[i] for cells in columns)] for i, row in enumerate(ROWS)]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def test_the_table_of_the_page_is_what_round_trips_show() -> None:
    pytest.importorskip("pillow_jxl")
    made = table()
    assert made in PAGE.read_text(encoding="utf-8"), f"the table is now\n{made}"


def test_capacity_says_what_the_table_says() -> None:
    fields = {"EXIF": "exif", "XMP": "xmp", "IPTC": "iptc", "ICC profile": "icc", "resolution": "dpi"}
    pytest.importorskip("pillow_jxl")
    for kind in WRITTEN:
        cells = dict(zip(ROWS, column(kind), strict=True))
        for row, field in fields.items():
            assert (cells[row] == YES) == (field in CAPACITY[kind]), (kind, row)


def test_every_loss_of_another_kind_of_file_is_named_once() -> None:
    photo = replace(full_photo(), carried=replace(full_photo().carried, comments=(b"a", b"b")))
    notes = encode_photo(photo, photo.frame.image, photo.frame.alpha, "BMP").notes
    assert len(notes) == len(set(notes)) and any(note.count("comment") == 1 for note in notes)
