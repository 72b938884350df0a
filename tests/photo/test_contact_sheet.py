"""The contact sheet of persons."""

from __future__ import annotations

import numpy as np
import pytest

from gfpcli.photo import contact_sheet as sheets
from gfpcli.photo.contact_sheet import LABEL_WIDTH, MOST_IN_ROW, ROW_GAP, THUMB, SheetFace, persons_sheet, thumb_of


def face(level: int, name: str = "a.jpg", *, is_skipped: bool = False) -> SheetFace:
    return SheetFace(thumb_of(np.full((256, 256, 3), level, np.uint8)), name, is_skipped)


def middle(sheet: np.ndarray, row: int, column: int) -> int:
    y = ROW_GAP + row * (THUMB + sheets.CAPTION_HEIGHT + ROW_GAP) + THUMB // 2
    return int(sheet[y, LABEL_WIDTH + column * (THUMB + 4) + THUMB // 2].mean())


def test_each_person_has_a_row_and_faces_left_alone_are_faint() -> None:
    sheet = persons_sheet([[face(20), face(60)], [face(120, is_skipped=True)]])
    assert abs(middle(sheet, 0, 0) - 20) < 3 and abs(middle(sheet, 0, 1) - 60) < 3
    assert middle(sheet, 1, 0) > 190, "faint"
    assert middle(sheet, 1, 1) > 240, "paper"


def test_long_rows_are_cut_and_so_are_names_of_any_kind() -> None:
    names = ["x" * 500, "日本\udcff\n\x1b[31m", ""]
    sheet = persons_sheet([[face(i, names[i % 3]) for i in range(MOST_IN_ROW + 5)]])
    assert sheet.shape[1] < LABEL_WIDTH + (MOST_IN_ROW + 1) * (THUMB + 4)
    assert (sheet == persons_sheet([[face(i, names[i % 3]) for i in range(MOST_IN_ROW + 5)]])).all()


def test_many_persons_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "MOST_PERSONS", 2)
    assert persons_sheet([[face(9)]] * 7).shape[0] < 3 * (THUMB + 50) + 40


def test_nobody_gives_an_empty_sheet() -> None:
    assert persons_sheet([]).size > 0
