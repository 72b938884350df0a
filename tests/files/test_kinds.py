"""What a file is, by its bytes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from gfpcli.files.kinds import OTHER, TIFF_KIND, Kind, is_hidden, kind_of_bytes, kind_of_file
from tests.photo.made_bytes import ASCII, BYTE, LONG, directory, jpeg_with, layout, tiff

PICTURE = np.zeros((4, 6, 3), np.uint8)


def saved(format: str) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(PICTURE).save(out, format)
    return out.getvalue()


def with_frame(marker: int, precision: int = 8) -> bytes:
    return jpeg_with(
        b"\xff\xd8\xff\xd9", (0xE1, b"Exif\0\0" + b"x" * 300), (marker, struct.pack(">BHHB", precision, 4, 6, 1))
    )


def ftyp(*brands: bytes) -> bytes:
    return struct.pack(">I4s4sI", 16 + 4 * len(brands[1:]), b"ftyp", brands[0], 0) + b"".join(brands[1:]) + b"\0" * 32


@pytest.mark.parametrize(
    ("format", "kept"),
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("WEBP", "WEBP"),
        ("TIFF", "TIFF"),
        ("BMP", "BMP"),
        ("GIF", "GIF"),
        ("PPM", "PPM"),
        ("JPEG2000", "JPEG2000"),
        ("AVIF", "AVIF"),
    ],
)
def test_pictures_that_are_read_are_known_whatever_their_name(format: str, kept: str) -> None:
    for name in ("a.jpg", "noname", "a.tga", "a.nef"):
        if (format, name) == ("TIFF", "a.nef"):
            continue  # there the name decides, see below
        kind = kind_of_bytes(saved(format), name)
        assert (kind.role, kind.format, kind.extra, kind.hint) == ("picture", kept, "", "")


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (with_frame(0xC1, 12), "a.jpg", "12-bit JPEG"),
        (with_frame(0xC3), "a.jpg", "lossless JPEG"),
        (with_frame(0xC9), "a.jpg", "arithmetic-coded JPEG"),
        (with_frame(0xC5), "a.jpg", "hierarchical JPEG"),
        (b"8BPS\0\x01" + b"\0" * 20, "a.psd", "Photoshop document (PSD)"),
        (b"\0\0\x02\0" + b"\0" * 30, "a.tga", "TGA"),
        (b"\x0a\x05\x01\x08" + b"\0" * 20, "a.pcx", "PCX"),
        (b"\0\0\x01\0\x01\0\x20\x20\0\0" + b"\0" * 20, "a.ico", "Windows icon (ICO)"),
        (struct.pack("<IiiHH", 40, 4, 4, 1, 24), "a.dib", "DIB"),
        (b"II\xbc\x01" + b"\0" * 20, "a.jxr", "JPEG XR"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "a.svg", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a.eps", "EPS"),
        (b"gimp xcf v011\0", "a.xcf", "GIMP document (XCF)"),
        (b"\x76\x2f\x31\x01\x02\0\0\0", "a.exr", "OpenEXR"),
        (b"#?RADIANCE\nFORMAT=", "a.hdr", "Radiance HDR"),
        (b"DDS \x7c\0\0\0", "a.dds", "DDS texture"),
        (ftyp(b"mif1", b"mif1", b"avci"), "a.heif", "HEIF with H.264"),
    ],
)
def test_pictures_that_are_not_read_are_named(data: bytes, name: str, words: str) -> None:
    kind = kind_of_bytes(data, name)
    assert (kind.name, kind.role) == (words, "unread picture")
    assert kind.hint == f"{words}: pictures of this kind are not read"


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (ftyp(b"heic", b"mif1"), "HEIC", "HEIF"),
        (ftyp(b"mif1", b"mif1", b"heic"), "HEIC", "HEIF"),
        (ftyp(b"mif1", b"avif"), "AVIF", "AVIF"),
        (ftyp(b"mif1"), "HEIF", "HEIF"),
        (b"\xff\x0a\0\0", "JPEG XL", "JXL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", "JXL"),
    ],
)
def test_phone_kinds(data: bytes, name: str, words: str) -> None:
    kind = kind_of_bytes(data, "photo")
    assert (kind.name, kind.format, kind.role) == (name, words, "picture")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (ftyp(b"isom", b"mp42"), "MP4"),
        (ftyp(b"qt  "), "QuickTime"),
        (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
    ],
)
def test_videos_are_no_pictures(data: bytes, name: str) -> None:
    kind = kind_of_bytes(data, "a.jpg")
    assert (kind.name, kind.role) == (name, "video") and "video" in kind.hint


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"%PDF-1.7", b"PK\3\4", b"P1 is a name", b"<html><svg></svg>", ftyp(b"M4A "), b"\0" * 100]
)
def test_what_is_no_picture(data: bytes) -> None:
    assert kind_of_bytes(data, "notes.txt") == OTHER and OTHER.hint == ""


CFA = {**layout(np.zeros((8, 8), np.uint16), 32803)}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (b"NIKON CORPORATION\0", "NEF"),
        (b"SONY\0", "ARW"),
        (b"PENTAX\0", "PEF"),
        (b"SAMSUNG\0", "SRW"),
        (b"Who\0", "of an unknown make"),
    ],
)
def test_a_sensor_s_picture_is_camera_raw_though_its_name_says_tif(make: bytes, name: str) -> None:
    kind = kind_of_bytes(tiff({**CFA, 271: (ASCII, make)}, bytes(128)), "a.tif")
    assert kind.name == f"camera raw ({name})"
    assert kind.hint == f"camera raw ({name}): pip install 'gfpcli[raw]'"


def test_a_sensor_s_picture_behind_a_thumbnail_is_camera_raw() -> None:
    thumbnail = {**layout(PICTURE, 2), 254: (LONG, [1]), 271: (ASCII, b"NIKON\0")}
    first = tiff({**thumbnail, 330: (LONG, [0])}, PICTURE.tobytes())
    at = len(first) + len(first) % 2
    whole = tiff({**thumbnail, 330: (LONG, [at])}, PICTURE.tobytes()).ljust(at, b"\0") + directory(CFA, at)
    assert kind_of_bytes(whole, "a.tiff").name == "camera raw (NEF)"


def test_dng_is_known_by_its_version_and_cr2_by_its_mark() -> None:
    linear = tiff({**layout(PICTURE, 2), 50706: (BYTE, bytes([1, 4, 0, 0]))}, PICTURE.tobytes())
    assert kind_of_bytes(linear, "a.tif").name == "camera raw (DNG)"
    assert kind_of_bytes(b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 40, "a.tif").name == "camera raw (CR2)"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"FUJIFILMCCD-RAW 0201", "RAF"),
        (b"IIRO\x08\0\0\0", "ORF"),
        (b"IIU\0\x18\0\0\0", "RW2"),
        (ftyp(b"crx "), "CR3"),
        (b"FOVb", "X3F"),
        (b"\0MRM", "MRW"),
    ],
)
def test_raw_kinds_with_signatures_of_their_own(head: bytes, name: str) -> None:
    assert kind_of_bytes(head, "photo").name == f"camera raw ({name})"


def test_pictures_of_a_raw_maker_s_program_stay_tiff_but_not_under_a_raw_suffix() -> None:
    out = io.BytesIO()
    tifffile.imwrite(out, PICTURE, photometric="rgb", metadata=None, extratags=[(271, 2, 0, "NIKON CORPORATION", True)])
    assert kind_of_bytes(out.getvalue(), "a.tif") == TIFF_KIND
    assert kind_of_bytes(out.getvalue(), "a.NEF").name == "camera raw (NEF)"


def test_directories_behind_the_head_are_followed_in_a_file(tmp_path: Path) -> None:
    big = np.zeros((300, 300), np.uint16)
    data = tiff({**layout(big, 32803), 271: (ASCII, b"SONY\0")}, big.tobytes())
    (tmp_path / "a.tif").write_bytes(data)
    assert kind_of_file(tmp_path / "a.tif").name == "camera raw (ARW)"
    assert kind_of_bytes(data[:65536], "a.tif") == TIFF_KIND  # the head alone cannot say
    assert kind_of_bytes(data[:65536], "a.arw").name == "camera raw (ARW)"


@pytest.mark.parametrize("following", [8, 2**32 - 1])
def test_directories_in_a_circle_or_behind_the_end_are_harmless(following: int) -> None:
    data = struct.pack("<2sHI", b"II", 42, 8) + directory(layout(PICTURE, 2), 8, following)
    assert kind_of_bytes(data, "a.tif") == TIFF_KIND


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("._a.jpg", True),
        ("__MACOSX/._a.jpg", True),
        (".DS_Store", True),
        ("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", True),
        ("#recycle/a.jpg", True),
        (".thumbnails/1.jpg", True),
        ("Thumbs.db", True),
        ("desktop.ini", True),
        (".hidden/a.jpg", True),
        ("a/.b.jpg", True),
        ("a.jpg", False),
        ("-b.jpg", False),
        ("100%_done.jpg", False),
        ("#1/a.jpg", False),
        ("@home/a.jpg", False),
        ("../a.jpg", False),
        ("./a.jpg", False),
    ],
)
def test_hidden_names(path: str, expected: bool) -> None:
    assert is_hidden(path.split("/")) is expected


def test_the_reported_files(shared_data: Path) -> None:
    reports = shared_data / "reports"
    if not reports.is_dir():
        pytest.skip("reports not present")
    expected = {
        "12bit.jpg": "12-bit JPEG",
        "DSC_0001.NEF": "camera raw (NEF)",
        "IMG_0001.DNG": "camera raw (DNG)",
        "IMG_0001.HEIC": "HEIC",
        "hdr_pq.avif": "AVIF",
        "photo.jxl": "JPEG XL",
        "planar16.tif": "TIFF",
        "README.md": OTHER.name,
    }
    found: dict[str, Kind] = {name: kind_of_file(reports / name) for name in expected}
    assert {name: kind.name for name, kind in found.items()} == expected
