"""What a file holds besides its picture is named; what it only mentions is not."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image as Pillow

from gfpcli.photo.left_out import DEPTH, GAIN_MAP, MOTION, STEREO, parts_left_out
from tests.photo.made_bytes import box, jpeg_with

XMP = b"http://ns.adobe.com/xap/1.0/\0"
MP4 = box(b"ftyp", b"isom\0\0\0\0isommp42") + box(b"mdat", b"x" * 40)


def jpeg(size: int = 16) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (size, size)).save(out, "JPEG")
    return out.getvalue()


def with_mpf(other: bytes, kind: int) -> bytes:
    """A JPEG, another one behind it, and the segment that says so."""
    main = jpeg()
    head = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">HHHII", 1, 0xB002, 7, 32, 26) + struct.pack(">I", 0)
    length = len(main) + 4 + 4 + len(head) + 32
    entries = struct.pack(">IIIHH", 0x030000, length, 0, 0, 0) + struct.pack(
        ">IIIHH", kind, len(other), length - 10, 0, 0
    )
    whole = jpeg_with(main, (0xE2, b"MPF\0" + head + entries))
    assert len(whole) == length and whole[2 + 4 + 4 :][:2] == b"MM"
    return whole + other


def test_a_plain_picture_leaves_nothing_out() -> None:
    assert parts_left_out(jpeg(), "JPEG") == ()
    assert parts_left_out(jpeg_with(jpeg(), (0xE1, XMP + b"<x hdrgm:Version='1.0'/> ftypmp42")), "JPEG") == ()
    assert parts_left_out(b"\x89PNG", "PNG") == ()


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        (b"Item:Semantic='GainMap'", GAIN_MAP),
        (b"<Item:Semantic>MotionPhoto</Item:Semantic>", MOTION),
        (b"GCamera:MotionPhoto='1'", MOTION),
        (b'GCamera:MicroVideo="1"', MOTION),
        (b"GDepth:Format='RangeInverse'", DEPTH),
    ],
)
def test_what_xmp_promises(packet: bytes, line: str) -> None:
    assert parts_left_out(jpeg_with(jpeg(), (0xE1, XMP + packet)), "JPEG") == (line,)


def test_a_photo_that_says_it_has_no_video() -> None:
    assert parts_left_out(jpeg_with(jpeg(), (0xE1, XMP + b"GCamera:MotionPhoto='0'")), "JPEG") == ()


def test_videos_behind_the_picture_are_found_without_xmp() -> None:
    assert parts_left_out(jpeg() + MP4, "JPEG") == (MOTION,)
    assert parts_left_out(jpeg() + b"\0\0\x30\x0aMotionPhoto_Data" + MP4, "JPEG") == (MOTION,)
    assert parts_left_out(jpeg() + b"x" * 500, "JPEG") == ()


def test_further_pictures_are_told_by_what_they_are() -> None:
    apple = jpeg_with(jpeg(8), (0xE1, XMP + b"<apdi:AuxiliaryImageType>urn:com:apple:photo:2020:aux:hdrgainmap<"))
    iso = jpeg_with(jpeg(8), (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0"))
    assert parts_left_out(with_mpf(apple, 0), "MPO") == (GAIN_MAP,)
    assert parts_left_out(with_mpf(iso, 0), "JPEG") == (GAIN_MAP,)
    assert parts_left_out(with_mpf(jpeg(8), 0x020002), "MPO") == (STEREO,)
    assert parts_left_out(with_mpf(jpeg(8), 0), "MPO") == ("only the first picture of this file is restored",)
    assert parts_left_out(with_mpf(jpeg(8), 0x010001), "JPEG") == ()  # a preview of the same picture


def test_damaged_segments_are_harmless() -> None:
    whole = with_mpf(jpeg(8), 0)
    for cut in range(0, len(whole), 7):
        parts_left_out(whole[:cut], "JPEG")


def test_the_reported_files(shared_data: Path) -> None:
    reports = shared_data / "reports"
    if not reports.is_dir():
        pytest.skip("reports not present")
    assert parts_left_out((reports / "ultrahdr.jpg").read_bytes(), "JPEG") == (GAIN_MAP,)
    assert parts_left_out((reports / "PXL_motion.MP.jpg").read_bytes(), "JPEG") == (MOTION,)
    assert parts_left_out((reports / "g180.jpg").read_bytes(), "JPEG") == ()
