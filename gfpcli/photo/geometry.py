"""How a stored picture becomes the picture that is written: turned upright by its orientation, then resized."""

from __future__ import annotations

from dataclasses import dataclass

SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height


@dataclass(frozen=True)
class Placement:
    """Where the pixels of a stored picture lie in the output.

    Attributes:
        stored: (height, width) of the pixels as the input file stores them, before its orientation is applied.
        orientation: 1 to 8, as EXIF tag 0x0112 defines it (EXIF 2.32, section 4.6.4).
        output: (height, width) of the pixels that are written, upright.
    """

    stored: tuple[int, int]
    orientation: int
    output: tuple[int, int]

    @property
    def is_sideways(self) -> bool:
        """Whether turning upright exchanges width and height."""
        return self.orientation in SIDEWAYS

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) of the input after its orientation is applied."""
        height, width = self.stored
        return (width, height) if self.is_sideways else (height, width)

    @property
    def scale(self) -> tuple[float, float]:
        """(vertical, horizontal) output pixels for each upright input pixel."""
        height, width = self.upright
        return self.output[0] / max(height, 1), self.output[1] / max(width, 1)

    def turn_point(self, x: float, y: float) -> tuple[float, float]:
        """(x, y) of the stored picture, each 0 to 1 from its left and top, in the upright picture."""
        turned = {
            1: (x, y),
            2: (1 - x, y),
            3: (1 - x, 1 - y),
            4: (x, 1 - y),
            5: (y, x),
            6: (1 - y, x),
            7: (1 - y, 1 - x),
            8: (y, 1 - x),
        }
        return turned.get(self.orientation, (x, y))

    def turn_size(self, width: float, height: float) -> tuple[float, float]:
        """(width, height) of an area of the stored picture, each 0 to 1, in the upright picture."""
        return (height, width) if self.is_sideways else (width, height)

    def turn_pixel(self, x: float, y: float) -> tuple[float, float]:
        """(x, y) in pixels of the stored picture, in pixels of the output."""
        height, width = (max(side, 1) for side in self.stored)
        turned_x, turned_y = self.turn_point(x / width, y / height)
        return turned_x * self.output[1], turned_y * self.output[0]

    def turn_pixels_size(self, width: float, height: float) -> tuple[float, float]:
        """(width, height) in pixels of the stored picture, in pixels of the output."""
        turned_width, turned_height = self.turn_size(width, height)
        return turned_width * self.scale[1], turned_height * self.scale[0]
