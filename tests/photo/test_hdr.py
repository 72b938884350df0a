"""Stills in high dynamic range are found by their colour and refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import pytest

from gfpcli.errors import InputError
from gfpcli.photo.hdr import PNG, png_colour, profile_transfer, refuse_hdr
from gfpcli.photo.pixels import Nclx


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_png_colour_is_read_before_the_pixels_only() -> None:
    header, colour = chunk(b"IHDR", bytes(13)), chunk(b"cICP", bytes([9, 16, 0, 1]))
    assert png_colour(PNG + header + colour + chunk(b"IDAT", b"")) == Nclx(9, 16, 0, True)
    assert png_colour(PNG + header + chunk(b"IDAT", b"") + colour) is None
    assert png_colour(PNG + header + colour[:9]) is None
    assert png_colour(b"\xff\xd8") is None


@pytest.mark.parametrize(("transfer", "word"), [(16, "PQ"), (18, "HLG")])
def test_both_curves_are_refused_by_name(transfer: int, word: str) -> None:
    with pytest.raises(InputError, match=rf"a.png: HDR \({word}\) is not supported"):
        refuse_hdr(transfer, "a.png")


@pytest.mark.parametrize("transfer", [None, 1, 2, 13, 8])
def test_others_pass(transfer: int | None) -> None:
    refuse_hdr(transfer, "a.png")


def test_profiles_tell_their_curve() -> None:
    tag = struct.pack(">4sII", b"cicp", 144, 12)
    profile = bytes(36) + b"acsp" + bytes(88) + struct.pack(">I", 1) + tag + b"cicp" + bytes([0, 0, 0, 0, 9, 18, 0, 1])
    assert profile_transfer(profile) == 18
    assert profile_transfer(profile[:150]) is None
    assert profile_transfer(imagecodecs.cms_profile("srgb")) is None and profile_transfer(None) is None


def test_the_reported_file(shared_data: Path) -> None:
    path = shared_data / "reports" / "hdr_pq.png"
    if not path.is_file():
        pytest.skip("reports not present")
    assert png_colour(path.read_bytes()) == Nclx(9, 16, 0, True)
