"""The tables agree with Pillow and ffmpeg."""

from __future__ import annotations

import av
from PIL import Image as Pillow

from gfpcli.files.formats import (
    CONTAINERS,
    FORMAT_SUFFIXES,
    PICTURE_FORMATS,
    PICTURE_SUFFIXES,
    SUFFIX_FORMATS,
    UNWRITTEN_SUFFIXES,
    VIDEOS,
)
from gfpcli.photo.plain import PLAIN_FORMATS


def test_pillow_knows_every_format_by_its_suffixes() -> None:
    known = Pillow.registered_extensions()
    assert set(PLAIN_FORMATS) <= set(Pillow.OPEN)
    for each in PICTURE_FORMATS:
        if each.name in PLAIN_FORMATS:
            assert all(known[suffix] == each.name for suffix in each.suffixes if suffix != ".pnm"), each
            assert each.written_as or each.name in Pillow.SAVE


def test_an_output_keeps_its_input_s_format_where_it_can() -> None:
    assert SUFFIX_FORMATS == {
        ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP",
        ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF",
        ".avif": "AVIF", ".jxl": "JXL",
    }  # fmt: skip
    assert FORMAT_SUFFIXES["RAW"] == ".tif" and all(SUFFIX_FORMATS[suffix] for suffix in FORMAT_SUFFIXES.values())
    assert ".gif" in PICTURE_SUFFIXES and ".gif" not in SUFFIX_FORMATS


def test_no_name_is_both_written_and_not() -> None:
    assert not UNWRITTEN_SUFFIXES & set(SUFFIX_FORMATS)
    assert {".gif", ".psd", ".tga", ".nef", ".mp4", ".jp2"} <= UNWRITTEN_SUFFIXES


def test_ffmpeg_knows_every_container() -> None:
    assert set(CONTAINERS.values()) <= av.formats_available and set(CONTAINERS) < set(VIDEOS)
