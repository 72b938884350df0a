"""YCbCr with coarser chroma and without JPEG, which no library here reads right (TIFF 6.0, section 21)."""

from __future__ import annotations

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import TiffPage

FACTORS = (1, 2, 4)  # luma samples for each of chroma, across or down


def subsampled_ycbcr(page: TiffPage, data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) Y, Cb, Cr of a page; each sample of chroma is repeated over the pixels it stands for, as libtiff does.

    Raises:
        ValueError: tiles, planes, another depth than 8 bit or a predictor, which these files do not have.
    """
    across, down = page.subsampling or (1, 1)
    is_usual = not page.is_tiled and page.planarconfig == 1 and page.predictor == 1 and page.samplesperpixel == 3
    if not is_usual or page.bitspersample != 8 or across not in FACTORS or down not in FACTORS:
        raise ValueError("coarser chroma in tiles, planes or with a predictor is not supported")
    width, height = page.imagewidth, page.imagelength
    out = np.empty((height, width, 3), np.uint8)
    rows = min(page.rowsperstrip, height)
    for index, top in enumerate(range(0, height, rows)):
        start, length = page.dataoffsets[index], page.databytecounts[index]
        n_rows = min(rows, height - top)
        units = -(-n_rows // down), -(-width // across)
        size = units[0] * units[1] * (across * down + 2)
        raw = np.frombuffer(_unpacked(page, data[start : start + length], size), np.uint8)
        if raw.size < size:
            raise ValueError("cut short, a strip ends early")
        strip = raw[:size].reshape(*units, across * down + 2)
        out[top : top + n_rows] = _block_pixels(strip, across, down)[:n_rows, :width]
    return out


def _unpacked(page: TiffPage, strip: bytes, size: int) -> bytes:
    """A strip's bytes without compression, at most `size`."""
    if page.fillorder == 2:
        strip = bytes(imagecodecs.bitorder_decode(strip))
    return strip if page.compression == 1 else bytes(tifffile.TIFF.DECOMPRESSORS[page.compression](strip, out=size))


def _block_pixels(units: NDArray[np.uint8], across: int, down: int) -> NDArray[np.uint8]:
    """(rows, columns, luma of a block then Cb then Cr) to (H, W, 3)."""
    n_down, n_across, _ = units.shape
    blocks = units[..., : across * down].reshape(n_down, n_across, down, across)
    luma = blocks.transpose(0, 2, 1, 3).reshape(n_down * down, n_across * across, 1)
    chroma = units[..., across * down :].repeat(down, axis=0).repeat(across, axis=1)
    return np.concatenate([luma, chroma], axis=2)
