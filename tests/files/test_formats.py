"""The tables agree with Pillow and ffmpeg."""

from __future__ import annotations

import av
from PIL import Image as Pillow

from gfpcli.files.formats import (
    CONTAINERS,
    FORMAT_SUFFIXES,
    PICTURE_FORMATS,
    PICTURE_SUFFIXES,
    READ_FORMATS,
    SUFFIX_FORMATS,
    VIDEOS,
)


def test_pillow_knows_every_format_by_its_suffixes() -> None:
    known = Pillow.registered_extensions()
    assert set(READ_FORMATS) <= set(Pillow.OPEN)
    for each in PICTURE_FORMATS:
        assert all(known[suffix] == each.name for suffix in each.suffixes)
        assert not each.is_written or each.name in Pillow.SAVE


def test_an_output_keeps_its_input_s_format_where_it_can() -> None:
    assert SUFFIX_FORMATS == {
        ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".jpe": "JPEG", ".png": "PNG", ".webp": "WEBP",
        ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
    }  # fmt: skip
    assert FORMAT_SUFFIXES["MPO"] == ".jpg" and all(SUFFIX_FORMATS[suffix] for suffix in FORMAT_SUFFIXES.values())
    assert ".gif" in PICTURE_SUFFIXES and ".gif" not in SUFFIX_FORMATS


def test_ffmpeg_knows_every_container() -> None:
    assert set(CONTAINERS.values()) <= av.formats_available and set(CONTAINERS) < set(VIDEOS)
