"""Coverage-guided fuzzing of what files carry (atheris; see `make fuzz`): EXIF, XMP, IPTC and their containers.

Any bytes must give what can be read of them, which can be patched and written into a file again; within 10 s and 2 GB.
"""

from __future__ import annotations

import io
import sys

import atheris
import numpy as np
from PIL import Image as Pillow

with atheris.instrument_imports(include=["gfpcli", "lxml"]):
    from gfpcli.files.kinds import kind_of_bytes
    from gfpcli.photo.carried import Carried, adjust, differences
    from gfpcli.photo.embed import fit_carried, read_carried, with_carried
    from gfpcli.photo.geometry import Placement

KINDS = ("JPEG", "PNG", "WEBP", "TIFF")
TURNED = Placement((48, 64), 6, (128, 96))
IPTC_MARKER = b"\x1c"  # begins each data set (IIM 4.2); a TIFF's reader tells by it in which order words are stored
# what is written byte by byte; damaged EXIF and XMP are rebuilt from what can be read of them
WHOLE = {"ICC profile", "IPTC", "Photoshop resources", "comment"}


def plain_file(kind: str) -> bytes:
    """A small file without metadata."""
    out = io.BytesIO()
    Pillow.fromarray(np.zeros((48, 64, 3), np.uint8)).save(out, kind)
    return out.getvalue()


PLAIN = {kind: plain_file(kind) for kind in KINDS}


def read_one(data: bytes) -> None:
    """Reads what the bytes carry, or takes them for a packet and a block; then patches, writes and compares."""
    kind = kind_of_bytes(data, "fuzz")
    found = Carried(exif=data, xmp=data, iptc=data if data[:1] == IPTC_MARKER else None)
    if kind.format:
        found = read_carried(data, kind.format)
    carried, notes = adjust(found, TURNED, colour_model="RGB")
    assert not any("\n" in note for note in notes), notes
    target = KINDS[len(data) % len(KINDS)]
    out, lost = with_carried(PLAIN[target], target, carried)
    fitted, _ = fit_carried(carried, target)
    missing = WHOLE.intersection(differences(fitted, read_carried(out, target)))
    assert lost or not missing, missing


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_one)
    atheris.Fuzz()
