"""Tiles that overlap: where they lie, and how they are joined without seams (numpy only)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gfpcli.options import LEAST_TILE
from gfpcli.types import Image


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis, in input pixels: a tile owns `core`, writes `kept`, and sees `seen` of the image."""

    core: tuple[int, int]
    kept: tuple[int, int]  # the core and the strips in which it fades into its neighbours
    seen: tuple[int, int]  # what is kept and the surroundings that it depends on


def spans_of(length: int, tile: int, *, halo: int, fade: int, multiple: int) -> list[Span]:
    """Tiles of nearly equal length, at most `tile` (rounded up to `multiple`), along an axis of `length` px.

    Args:
        halo: px that are seen on each side of what is kept.
        fade: px that are kept on each side of the core; at most a quarter of the tile.
        multiple: every tile sees a whole number of these, counted from the image's begin (its end may be cut).
    """
    n_tiles = -(-length // max(tile, LEAST_TILE))
    step = _up(-(-length // n_tiles), multiple)
    spans = []
    for start in range(0, length, step):
        core = start, min(start + step, length)
        kept = max(core[0] - fade, 0), min(core[1] + fade, length)
        seen = (kept[0] - halo) // multiple * multiple, min(_up(kept[1] + halo, multiple), length)
        spans.append(Span(core, kept, (max(seen[0], 0), seen[1])))
    return spans


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def fill_by_tiles(
    out: Image, rows: list[Span], columns: list[Span], draw: Callable[[Span, Span], Image], scale: int,
    watch: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Fills `out` (H * scale, W * scale, 3) tile by tile.

    Tiles fade into each other in the strips that both keep, first along a row of tiles, then from row to row, so that
    the weights of all tiles add up to 1 everywhere.

    Args:
        draw: gives what a tile keeps, at `scale`. What it raises ends the work.
        watch: told how many tiles are done, of how many.
    """
    n_done, n_tiles = 0, len(rows) * len(columns)
    watch(n_done, n_tiles)
    for row in rows:
        place = slice(row.kept[0] * scale, row.kept[1] * scale)
        strip = slice(place.start, max(place.start, (2 * row.core[0] - row.kept[0]) * scale)) if row.core[0] else None
        above = out[strip].copy() if strip else None
        for column in columns:
            _fade_in(out[place], draw(row, column), column, scale)
            n_done += 1
            watch(n_done, n_tiles)
        if strip and above is not None:
            out[strip] = _mix(above, out[strip], axis=0)


def _fade_in(band: Image, drawn: Image, column: Span, scale: int) -> None:
    """A tile into its row of tiles, over the strip that its left neighbour has written."""
    start, stop = column.kept[0] * scale, column.kept[1] * scale
    width = 2 * (column.core[0] - column.kept[0]) * scale  # of the strip; 0 at the image's edge
    band[:, start : start + width] = _mix(band[:, start : start + width], drawn[:, :width], axis=1)
    band[:, start + width : stop] = drawn[:, width:]


def _mix(old: Image, new: Image, *, axis: int) -> Image:
    """From `old` at the strip's begin to `new` at its end, along `axis`."""
    length = old.shape[axis]
    ramp: NDArray[np.float32] = (np.arange(length, dtype=np.float32) + 0.5) / max(length, 1)
    weight = ramp[:, None, None] if axis == 0 else ramp[None, :, None]
    mixed = np.round(old + weight * (new.astype(np.float32) - old))
    return mixed.astype(old.dtype)  # type: ignore[return-value]
