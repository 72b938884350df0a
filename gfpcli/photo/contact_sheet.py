"""A contact sheet of the persons in a folder of photos: a row for each, with its faces side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from gfpcli.photo.sheets import SmallPicture

THUMB = 112  # px, side of a face
THUMB_QUALITY = 88  # of JPEG, in which faces wait for the sheet
LABEL_WIDTH, ROW_GAP, CAPTION_HEIGHT = 128, 14, 20  # px
MOST_IN_ROW, MOST_PERSONS = 12, 200  # on a sheet: faces in a row, rows
FONT_SIZE, CAPTION_SIZE = 16, 11  # px
PAPER, INK, FAINT = (250, 250, 248), (28, 28, 26), (120, 120, 112)  # RGB
SKIPPED_SHARE = 0.35  # of a face that is left alone, over the paper


@dataclass(frozen=True, slots=True)
class SheetFace:
    """One face of a contact sheet."""

    thumb: bytes  # JPEG, `THUMB` px square: ten thousand of them wait in 40 MB
    caption: str
    is_skipped: bool  # it is drawn faintly


def thumb_of(crop: NDArray[np.uint8]) -> bytes:
    """An aligned (S, S, 3) BGR crop as it waits for the sheet."""
    small = cv2.resize(crop, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, THUMB_QUALITY])[1].tobytes()


def persons_sheet(persons: Sequence[Sequence[SheetFace]]) -> SmallPicture:
    """The sheet (H, W, 3) BGR: the first faces of each person, person 1 at the top; how many more there are is said."""
    shown = persons[:MOST_PERSONS]
    n_columns = max((min(len(faces), MOST_IN_ROW) for faces in shown), default=1)
    row_height = THUMB + CAPTION_HEIGHT + ROW_GAP
    rest = len(persons) - len(shown)
    width = LABEL_WIDTH + n_columns * (THUMB + 4) + ROW_GAP + 60
    size = (width, row_height * len(shown) + ROW_GAP + (30 if rest else 0))
    sheet = Pillow.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, faces in enumerate(shown):
        _draw_person(sheet, draw, row + 1, faces, ROW_GAP + row * row_height)
    if rest:
        draw.text((ROW_GAP, size[1] - 30), f"and {rest} more persons", INK, ImageFont.load_default(FONT_SIZE))
    return np.ascontiguousarray(np.asarray(sheet)[..., ::-1])


def _draw_person(
    sheet: Pillow.Image, draw: ImageDraw.ImageDraw, number: int, faces: Sequence[SheetFace], top: int
) -> None:
    font, small = ImageFont.load_default(FONT_SIZE), ImageFont.load_default(CAPTION_SIZE)
    draw.text((ROW_GAP, top + 36), f"person {number}", INK, font)
    draw.text((ROW_GAP, top + 60), f"{len(faces)} face{'' if len(faces) == 1 else 's'}", FAINT, small)
    for column, face in enumerate(faces[:MOST_IN_ROW]):
        left = LABEL_WIDTH + column * (THUMB + 4)
        thumb = cv2.imdecode(np.frombuffer(face.thumb, np.uint8), cv2.IMREAD_COLOR)
        picture = Pillow.fromarray(np.ascontiguousarray(np.asarray(thumb)[..., ::-1]))
        if face.is_skipped:
            picture = Pillow.blend(Pillow.new("RGB", picture.size, PAPER), picture, SKIPPED_SHARE)
        sheet.paste(picture, (left, top))
        draw.text((left, top + THUMB + 3), _fitting(face.caption, draw, small), FAINT, small)
    if len(faces) > MOST_IN_ROW:
        left = LABEL_WIDTH + MOST_IN_ROW * (THUMB + 4)
        draw.text((left + 4, top + 44), f"+{len(faces) - MOST_IN_ROW}", INK, font)


def _fitting(caption: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The caption in printable characters, cut short in the middle until it fits under a face."""
    text = "".join(sign if sign.isprintable() else "?" for sign in caption.encode("utf-8", "replace").decode())
    cut = text
    n_kept = len(text)
    while n_kept > 2 and draw.textlength(cut, font) > THUMB:
        n_kept -= 1
        half = n_kept // 2
        cut = f"{text[: n_kept - half]}..{text[len(text) - half :]}"
    return cut
