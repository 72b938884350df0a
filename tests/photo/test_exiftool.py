"""`exiftool` of an input and its output, format by format: only what the notes name is different."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gfpcli.photo.codec import decode_photo
from gfpcli.photo.encode import encode_photo
from tests.photo.made import exiftool_all, needs_exiftool
from tests.photo.test_carried import FILES, everything, suffix, written

STORED = (  # how the pixels lie in the file, which each encoder chooses
    "File:", "PNG:Filter", "PNG:Compression", "PNG:Interlace", "ExifTool:", "Meta:", "QuickTime:", "RIFF:",
    "Composite:",
    "IFD0:Strip", "IFD0:RowsPerStrip", "IFD0:Compression", "IFD0:Predictor", "IFD0:PlanarConfiguration",
    "IFD0:SampleFormat", "IFD0:NewSubfileType", "IFD0:SubfileType",
)  # fmt: skip
SIZES = {  # of the made block, which is of a larger picture
    "IFD0:ImageWidth", "IFD0:ImageHeight", "ExifIFD:ExifImageWidth", "ExifIFD:ExifImageHeight", "ExifIFD:SubjectArea",
}  # fmt: skip


@needs_exiftool
@pytest.mark.parametrize("name", [name for name in FILES if name != "avif"])
def test_an_output_says_what_its_input_says(name: str, tmp_path: Path) -> None:
    source, _ = written(everything(), name)
    photo = decode_photo(source, "source", 0)
    made = encode_photo(photo, photo.frame.image, photo.frame.alpha, FILES[name][0])
    assert made.notes == ()
    files = {f"before{suffix(name)}": source, f"after{suffix(name)}": made.data}
    before, after = exiftool_all(files, tmp_path)
    kept = {key for key in before if not key.startswith(STORED)} - SIZES
    assert len(kept) > 30 and after["Canon:OwnerName"] == "Grandma Smith, 12 Long Street"
    assert {key: (before[key], after.get(key)) for key in kept if before[key] != after.get(key)} == {}
    assert not [key for key in after if "Warning" in key or "Error" in key]


@needs_exiftool
def test_what_changes_with_the_picture_is_what_exiftool_reads(tmp_path: Path) -> None:
    """Twice the size, in every format: sizes and resolution follow, all else stays."""
    source, _ = written(replace(everything(), iptc=None, photoshop=None, comments=(), texts=(), png_chunks=()), "jpg")
    photo = decode_photo(source, "source", 0)
    twice = np.repeat(np.repeat(photo.frame.image, 2, 0), 2, 1)
    made = {name: encode_photo(photo, twice, None, FILES[name][0]) for name in FILES}
    assert {name: each.notes for name, each in made.items()} == dict.fromkeys(FILES, ())
    found = exiftool_all({f"{name}{suffix(name)}": each.data for name, each in made.items()}, tmp_path)
    for facts in found:
        assert (facts["ExifIFD:ExifImageWidth"], facts["ExifIFD:ExifImageHeight"]) == ("128", "96")
        assert facts["IFD0:XResolution"] == "600" and facts["Canon:OwnerName"] == "Grandma Smith, 12 Long Street"
        assert facts["XMP-dc:Title"] == "T"
