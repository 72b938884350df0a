"""Where tiles lie, and that nothing shows where they meet."""

from __future__ import annotations

import numpy as np
import pytest

from gfpcli.pipeline.tiles import Span, fill_by_tiles, spans_of


@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 65, 100, 513, 1000])
@pytest.mark.parametrize(("tile", "halo", "fade", "multiple"), [(32, 5, 0, 1), (64, 48, 16, 2), (512, 7, 16, 4)])
def test_cores_cover_an_axis_once_and_see_what_they_keep(
    length: int, tile: int, halo: int, fade: int, multiple: int
) -> None:
    spans = spans_of(length, tile, halo=halo, fade=fade, multiple=multiple)
    assert [span.core[0] for span in spans[1:]] == [span.core[1] for span in spans[:-1]]
    assert spans[0].core[0] == 0 and spans[-1].core[1] == length
    for span in spans:
        assert 0 < span.core[1] - span.core[0] < tile + multiple
        assert span.kept == (max(span.core[0] - fade, 0), min(span.core[1] + fade, length))
        assert span.seen[0] <= max(span.kept[0] - halo, 0) and span.seen[1] >= min(span.kept[1] + halo, length)
        assert span.seen[0] % multiple == 0 and (span.seen[1] % multiple == 0 or span.seen[1] == length)


@pytest.mark.parametrize("fade", [0, 8])
def test_tiles_that_agree_give_the_whole(fade: int, rng: np.random.Generator) -> None:
    whole = rng.integers(0, 65536, (70 * 2, 101 * 2, 3), dtype=np.uint16)
    rows, columns = (spans_of(length, 32, halo=3, fade=fade, multiple=1) for length in (70, 101))
    out = np.zeros_like(whole)
    heard: list[tuple[int, int]] = []

    def draw(row: Span, column: Span) -> np.ndarray:
        return whole[2 * row.kept[0] : 2 * row.kept[1], 2 * column.kept[0] : 2 * column.kept[1]]

    fill_by_tiles(out, rows, columns, draw, 2, lambda n_done, n_all: heard.append((n_done, n_all)))
    assert (out == whole).all()
    assert heard == [(n, 12) for n in range(13)]


def test_tiles_that_differ_fade_into_each_other() -> None:
    rows, columns = (spans_of(length, 64, halo=0, fade=16, multiple=1) for length in (128, 192))
    out = np.zeros((128, 192, 3), np.uint8)

    def draw(row: Span, column: Span) -> np.ndarray:
        level = 120 + 30 * (row.core[0] // 64) - 60 * (column.core[0] // 64 % 2)
        return np.full((row.kept[1] - row.kept[0], column.kept[1] - column.kept[0], 3), level, np.uint8)

    fill_by_tiles(out, rows, columns, draw, 1, lambda n_done, n_all: None)
    steps = [np.abs(np.diff(out.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) <= 3, "60 levels over 32 px are 2 a px, and rounding"
    assert [out[y, x, 0] for y in (0, 127) for x in (0, 96, 191)] == [120, 60, 120, 150, 90, 150]


def test_a_tile_that_fails_ends_the_work() -> None:
    spans = spans_of(100, 32, halo=0, fade=0, multiple=1)

    def draw(row: Span, column: Span) -> np.ndarray:
        raise ValueError("tile")

    with pytest.raises(ValueError, match="tile"):
        fill_by_tiles(np.zeros((100, 100, 3), np.uint8), spans, spans, draw, 1, lambda n_done, n_all: None)
