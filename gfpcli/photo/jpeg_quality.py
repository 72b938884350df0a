"""The quality that a JPEG was saved with, read from its tables, and the rule behind `--quality auto`.

The tables are those of ITU-T T.81, annex K, scaled as libjpeg does (jcparam.c, `jpeg_quality_scaling`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gfpcli.photo.left_out import jpeg_segments

DEFAULT_QUALITY = 95  # for sources that are no JPEG
LEAST_QUALITY = 75  # libjpeg's default: below, a restored face would lose what was won
FRAMES = (0xC0, 0xC1, 0xC2)  # markers of frames that libjpeg decodes: baseline, extended, progressive
TABLE_MARKER, SIZE = 0xDB, 64
SUBSAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}  # what encoders write; (across, down)
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
    *(99,) * 38,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JpegQuality:
    """How a JPEG is coded."""

    quality: int  # 1..100, as libjpeg counts
    subsampling: str  # of chroma: "4:4:4", "4:2:2", "4:2:0"; "4:4:4" where there is none


def jpeg_quality(data: bytes) -> JpegQuality | None:
    """The quality of a JPEG's bytes; for tables that are not libjpeg's own, the least whose tables sum to no more.

    A subsampling that encoders here do not write becomes the next finer one. None where the file tells nothing.
    """
    tables: dict[int, NDArray[np.int64]] = {}
    frame = b""
    for marker, _, content in jpeg_segments(data):
        if marker == TABLE_MARKER:
            tables |= dict(_tables_in(content))
        elif marker in FRAMES:
            frame = content
    return _of_frame(frame, tables) if len(frame) >= 6 else None


def quality_for(source: bytes, format: str) -> JpegQuality:
    """What `--quality auto` writes a lossy picture with: never less than its source has, nor coarser chroma.

    Args:
        source: the source file's bytes.
        format: of its kind; "JPEG" (or "MPO") is looked into, any other gets the default and full chroma.
    """
    found = jpeg_quality(source) if format in ("JPEG", "MPO") else None
    if found is None:
        return JpegQuality(DEFAULT_QUALITY, "4:4:4")
    return JpegQuality(max(found.quality, LEAST_QUALITY), found.subsampling)


def is_lossless_webp(data: bytes) -> bool:
    """Whether a WebP's (first) picture is stored in a VP8L chunk (RFC 9649, 2.6), plain or inside an animation."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return False
    at = 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        at += 8 + (16 if kind == b"ANMF" else length + length % 2)  # into an animation's first frame
    return False


def _of_frame(content: bytes, tables: dict[int, NDArray[np.int64]]) -> JpegQuality | None:
    """By a frame header: precision, height, width, then for each component its name, sampling factors and table."""
    components = [content[at : at + 3] for at in range(6, 6 + 3 * content[5], 3)]
    if not components or not all(len(each) == 3 and each[2] in tables for each in components):
        return None
    luma, *chroma = (tables[each[2]] for each in components)
    return JpegQuality(_nearest_quality(luma, chroma), _subsampling(components))


def _subsampling(components: list[bytes]) -> str:
    """By how much finer luma is sampled than chroma. Four components (CMYK) and one (gray) have no chroma."""
    if len(components) != 3:
        return "4:4:4"
    factors = [(each[1] >> 4, each[1] & 15) for each in components]
    across = factors[0][0] // max(1, max(factors[1][0], factors[2][0]))
    down = factors[0][1] // max(1, max(factors[1][1], factors[2][1]))
    return SUBSAMPLINGS.get((min(across, 2), min(down, 2 if across > 1 else 1)), "4:4:4")


def _nearest_quality(luma: NDArray[np.int64], chroma: list[NDArray[np.int64]]) -> int:
    """The least quality whose tables are together not coarser than these."""
    return _quality_of_sum(int(luma.sum() + sum(table.sum() for table in chroma)), len(chroma))


@lru_cache(maxsize=128)
def _quality_of_sum(target: int, n_chroma: int) -> int:
    for quality in range(1, 101):
        standard_luma, standard_chroma = _standard(quality)
        if standard_luma + standard_chroma * n_chroma <= target:
            return quality
    return 100


@lru_cache(maxsize=128)
def _standard(quality: int) -> tuple[int, int]:
    """Sums of libjpeg's luma and chroma tables at a quality."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    scaled = [np.clip((np.array(table) * scale + 50) // 100, 1, 255) for table in (LUMINANCE, CHROMINANCE)]
    return int(scaled[0].sum()), int(scaled[1].sum())


def _tables_in(content: bytes) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(number, 64 divisors) of each table in a DQT segment; 8 or 16 bit."""
    at = 0
    while at < len(content):
        width = 2 if content[at] >> 4 else 1
        block = content[at + 1 : at + 1 + SIZE * width]
        if len(block) == SIZE * width:
            yield content[at] & 15, np.frombuffer(block, ">u2" if width == 2 else "u1").astype(np.int64)
        at += 1 + SIZE * width
