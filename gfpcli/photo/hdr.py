"""Stills in high dynamic range (PQ, HLG), found by what their file says of its colour, and refused as videos are."""

from __future__ import annotations

from gfpcli.errors import InputError
from gfpcli.photo.pixels import Nclx

CURVES = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
PNG = b"\x89PNG\r\n\x1a\n"


def refuse_hdr(transfer: int | None, name: str) -> None:
    """Raises InputError where a transfer characteristic (ITU-T H.273) is one of high dynamic range."""
    if transfer in CURVES:
        why = "the networks know standard range only: tone-map it first"
        raise InputError(f"{name}: HDR ({CURVES[transfer]}) is not supported, {why}")


def png_colour(data: bytes) -> Nclx | None:
    """The cICP chunk of a PNG's bytes (PNG third edition, 11.3.2.6); None where it has none."""
    at = len(PNG)
    while data.startswith(PNG) and at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"cICP" and length == 4:
            primaries, transfer, matrix, is_full = data[at + 8 : at + 12]
            return Nclx(primaries, transfer, matrix, bool(is_full))
        if kind in (b"IDAT", b"IEND"):  # cICP comes before the pixels
            return None
        at += 12 + length
    return None


def profile_transfer(icc: bytes | None) -> int | None:
    """The transfer characteristic in an ICC profile's `cicp` tag (ICC.1:2022, 9.2.17); None where it has none."""
    if icc is None or len(icc) < 132:
        return None
    n_tags = min(int.from_bytes(icc[128:132], "big"), 256)
    for at in range(132, 132 + 12 * n_tags, 12):
        if icc[at : at + 4] == b"cicp":
            value = int.from_bytes(icc[at + 4 : at + 8], "big")
            return icc[value + 9] if icc[value : value + 4] == b"cicp" and value + 9 < len(icc) else None
    return None
