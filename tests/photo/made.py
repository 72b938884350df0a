"""EXIF blocks, XMP packets and files made by hand for the tests of metadata, independent of the code under test."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

REPORTS = Path(__file__).parents[3] / "shared" / "data" / "reports"
OWNER = b"Grandma Smith, 12 Long Street\0"
ITEM = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 12: 8, 13: 4}

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
needs_reports = pytest.mark.skipif(not REPORTS.is_dir(), reason="../shared/data/reports is absent")

Row = tuple[int, int, bytes]  # tag, type, value in the block's order


def directory(rows: list[Row], at: int, order: str, following: int = 0) -> bytes:
    """A directory at a position with its values behind it."""
    head, behind = len(rows).to_bytes(2, order), b""  # type: ignore[arg-type]
    start = at + 2 + 12 * len(rows) + 4
    for tag, kind, value in rows:
        count = len(value) // ITEM[kind]
        head += tag.to_bytes(2, order) + kind.to_bytes(2, order) + count.to_bytes(4, order)  # type: ignore[arg-type]
        if len(value) <= 4:
            head += value.ljust(4, b"\0")
        else:
            head += (start + len(behind)).to_bytes(4, order)  # type: ignore[arg-type]
            behind += value + bytes(len(value) % 2)
    return head + following.to_bytes(4, order) + behind  # type: ignore[arg-type]


def canon_note(at: int, order: str) -> bytes:
    """A maker note as Canon writes it: a directory whose offsets count from the start of the block."""
    rows = [(6, 2, b"Canon EOS Made\0\0"), (7, 2, b"Firmware 1.0.0\0\0"), (9, 2, OWNER)]
    return directory(rows, at, order)


def made_exif(order: str = "little", orientation: int = 6, *, thumbnail: bool = True, note: bool = True) -> bytes:
    """A camera's block: 640x480, 300 dpi, a maker note between Exif's values, GPS, Interoperability, a thumbnail."""

    def short(*values: int) -> bytes:
        return b"".join(value.to_bytes(2, order) for value in values)  # type: ignore[arg-type]

    def long(*values: int) -> bytes:
        return b"".join(value.to_bytes(4, order) for value in values)  # type: ignore[arg-type]

    first_at, exif_at, gps_at, inter_at, second_at = 8, 400, 1200, 1400, 1500
    first = [
        (0x0100, 4, long(640)),
        (0x0101, 4, long(480)),
        (0x010F, 2, b"Canon\0"),
        (0x0110, 2, b"Canon EOS Made\0"),
        (0x0112, 3, short(orientation)),
        (0x011A, 5, long(300, 1)),
        (0x011B, 5, long(300, 1)),
        (0x0128, 3, short(2)),
        (0x013B, 2, b"A. Name\0"),
        (0x8769, 4, long(exif_at)),
        (0x8825, 4, long(gps_at)),
    ]
    exif = [
        (0x9000, 7, b"0232"),
        (0x9003, 2, b"1999:05:06 07:08:09\0"),
        (0x9214, 3, short(320, 120, 64, 48)),
        *([(0x927C, 7, b"")] if note else []),
        (0xA002, 3, short(640)),
        (0xA003, 3, short(480)),
        (0xA005, 4, long(inter_at)),
        (0xA420, 2, b"made-by-hand-0001\0"),
    ]
    note_at = exif_at + 2 + 12 * len(exif) + 4 + 20 + 8
    exif = [(tag, kind, canon_note(note_at, order) if tag == 0x927C else value) for tag, kind, value in exif]
    gps = [(1, 2, b"N\0"), (2, 5, long(47, 1, 22, 1, 0, 1))]
    inter = [(1, 2, b"R98\0")]
    second = [(0x0103, 3, short(6)), (0x0201, 4, long(1700)), (0x0202, 4, long(300))]
    block = bytearray(2000 if thumbnail else 1500)
    block[:8] = (b"II*\0" if order == "little" else b"MM\0*") + long(first_at)
    parts = [
        (first_at, directory(first, first_at, order, second_at if thumbnail else 0)),
        (exif_at, directory(exif, exif_at, order)),
        (gps_at, directory(gps, gps_at, order)),
        (inter_at, directory(inter, inter_at, order)),
        *([(second_at, directory(second, second_at, order)), (1700, b"\xff\xd8" + b"T" * 298)] if thumbnail else []),
    ]
    for at, value in parts:
        block[at : at + len(value)] = value
    return bytes(block)


def made_iptc() -> bytes:
    """Keyword `family` and caption `Grandma 1950`."""
    return b"\x1c\x02\x19\0\x06family\x1c\x02\x78\0\x0cGrandma 1950"


def made_xmp(body: str = "", attributes: str = "") -> bytes:
    """A packet with its wrapper around one description."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" '
        'xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#" '
        'xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#" '
        'xmlns:MP="http://ns.microsoft.com/photo/1.2/" xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#" '
        'xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#" '
        'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
        'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
        'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
        'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f"{attributes}>{body}<dc:subject><rdf:Bag><rdf:li>family</rdf:li></rdf:Bag></dc:subject>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>\n" + " " * 40 + "\n<?xpacket end='w'?>"
    ).encode()


def pixels(shape: tuple[int, ...] = (48, 64, 3), dtype: type = np.uint8) -> np.ndarray:
    """A picture that no two places of are equal."""
    top = np.iinfo(dtype).max
    return np.linspace(0, top, int(np.prod(shape))).astype(dtype).reshape(shape)


def encoded(kind: str, dtype: type = np.uint8, **options: object) -> bytes:
    """A plain file of a kind, without metadata."""
    out = io.BytesIO()
    if kind == "TIFF":
        tifffile.imwrite(out, pixels(dtype=dtype), photometric="rgb", compression="zlib", metadata=None)
    elif kind == "PNG" and dtype is np.uint16:
        import cv2

        return bytes(cv2.imencode(".png", pixels(dtype=np.uint16)[..., ::-1])[1].tobytes())
    else:
        if kind == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        Image.fromarray(pixels()).save(out, kind, **options)
    return out.getvalue()


def profile() -> bytes:
    """An sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exiftool(data: bytes, folder: Path, suffix: str) -> dict[str, str]:
    """`exiftool_all` of one file."""
    return exiftool_all({f"read{suffix}": data}, folder)[0]


def exiftool_all(files: dict[str, bytes], folder: Path) -> list[dict[str, str]]:
    """What exiftool reads of each file, "group:tag" to value; a name that comes twice gets a #."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    paths = [str(folder / name) for name in files]
    run = subprocess.run(
        ["exiftool", "-a", "-G1:4", "-s", "-j", "-struct", *paths], capture_output=True, text=True, check=False
    )
    return [_facts(each) for each in json.loads(run.stdout)]


def _facts(read: dict[str, object]) -> dict[str, str]:
    """Without what exiftool says of the file system and of itself."""
    found: dict[str, str] = {}
    for key, value in read.items():
        name = re.sub(r":Copy\d+:", ":", key)
        if not name.startswith(("System:", "SourceFile", "ExifTool:ExifToolVersion", "ExifTool:Copy")):
            found[name + "#" * (name in found)] = str(value)
    return found
