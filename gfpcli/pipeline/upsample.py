"""A network that enlarges, behind the `Upsampler` port: images of any size and depth, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import BackgroundError
from gfpcli.memory import free_memory, is_out_of_memory, lacking
from gfpcli.options import LEAST_TILE
from gfpcli.pipeline.arrays import from_unit, to_unit
from gfpcli.pipeline.paste import resize_background, without_colour
from gfpcli.pipeline.tiles import Span, fill_by_tiles, spans_of
from gfpcli.types import Image, PictureBatch

LARGEST = 512  # px, the tile that automatic choice starts from; larger ones are no faster
SHARE = 0.5  # of the free memory that a tile may take
FADE = 16  # px over which tiles fade into each other, on each side, where they do not see all that they depend on

TileProgress = Callable[[int, int], None]
"""Told how many tiles of an image are done, of how many."""
Enlarge: TypeAlias = Callable[[PictureBatch], PictureBatch]
"""A network, in whatever runtime: (1, 3, H, W) RGB in [0, 1] to (1, 3, H * scale, W * scale). Raises RuntimeError."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """What must be known of a background network to run it by tiles."""

    scale: int
    multiple: int  # height and width must be whole numbers of it
    reach: int  # px: how far away a pixel can change the result at all
    halo: int  # px: how far away one is let to; less than `reach` where that is many times what matters
    pixel_bytes: int  # memory taken for each input pixel, fp32
    is_local: bool = True  # False: what it makes depends on the whole image, which is then not cut into tiles


@dataclass(frozen=True, slots=True, eq=False)
class NetUpsampler:
    """Enlarges by a network, then resizes to the wanted size. Nothing per call is kept."""

    net: Enlarge
    tiling: Tiling
    fast: Enlarge | None = None  # the same network in a faster precision, for 8-bit images
    tile: int = 0  # px; 0 = by free memory
    watch: TileProgress = lambda n_done, n_all: None
    largest: int = LARGEST  # px of a tile that is chosen by free memory
    device_room: Callable[[], int] | None = None  # bytes free on the network's device; None: it works in ours

    def __call__(self, image: Image, size: tuple[int, int], /) -> Image:
        """(H, W, 3) BGR to exactly (height, width), same depth; an image without colour stays without.

        Raises:
            BackgroundError: the network fails on a tile, or not even the smallest tile fits into memory.
        """
        return fit(self.enlarge(image), size)

    def enlarge(self, image: Image) -> Image:
        """At the network's own scale. A tile that does not fit into memory is halved, and all begins anew."""
        height, width = image.shape[:2]
        scale = self.tiling.scale
        out = np.empty((height * scale, width * scale, 3), image.dtype)
        if self.tile or self.tiling.is_local:
            tile = min(self.tile or self.choose_tile(out.nbytes), max(height, width))
        else:
            tile = max(height, width)
            self._check_fits_whole(height, width)
        while True:
            try:
                self._fill(out, image, tile)
                return out  # type: ignore[return-value]  # of the input's depth
            except (MemoryError, RuntimeError) as error:
                reason = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
                if not is_out_of_memory(error):
                    raise BackgroundError(f"the background network failed on a tile: {reason}") from error
                if tile <= LEAST_TILE:
                    raise BackgroundError(f"a background tile of {tile} px does not fit into memory") from error
            tile = max(LEAST_TILE, tile // 2)

    def _check_fits_whole(self, height: int, width: int) -> None:
        """Raises BackgroundError where an image that may not be cut into tiles is too large for this machine."""
        if lack := lacking(height * width * self.tiling.pixel_bytes):
            raise BackgroundError(f"this background network needs the image of {width}x{height} whole, and {lack}; "
                                  "--tile N cuts it nevertheless, which may show")  # fmt: skip

    def choose_tile(self, reserved: int = 0) -> int:
        """The largest tile edge, of a few, that fits well; `reserved` bytes are not free although nobody uses them."""
        room = self.device_room() if self.device_room else free_memory() - reserved
        tile = self.largest
        margin = 2 * (self.tiling.halo + self._fade(tile))
        while tile > LEAST_TILE and (tile + margin) ** 2 * self.tiling.pixel_bytes > SHARE * room:
            tile //= 2
        return tile

    def _fade(self, tile: int) -> int:
        is_exact = self.tiling.halo >= self.tiling.reach
        return 0 if is_exact else min(FADE, tile // 4)

    def _fill(self, out: Image, image: Image, tile: int) -> None:
        is_gray = bool((image == image[..., :1]).all())
        halo, multiple, scale = self.tiling.halo, self.tiling.multiple, self.tiling.scale
        rows, columns = (
            spans_of(length, tile, halo=halo, fade=self._fade(tile), multiple=multiple) for length in image.shape[:2]
        )

        def draw(row: Span, column: Span) -> Image:
            large = self.run(image[slice(*row.seen), slice(*column.seen)])
            kept = (slice(*(scale * (at - span.seen[0]) for at in span.kept)) for span in (row, column))
            piece = from_unit(large[:, *kept], image.dtype)
            return without_colour(piece) if is_gray else piece

        fill_by_tiles(out, rows, columns, draw, scale, self.watch)

    def run(self, piece: Image) -> NDArray[np.float32]:
        """A tile (H, W, 3) through the network at once: (3, H * scale, W * scale) RGB, about 0 to 1.

        A tile that does not end where the network needs it to is mirrored there.

        Raises:
            BackgroundError: the network gives numbers that are not finite.
        """
        height, width = piece.shape[:2]
        missing = [(-length) % self.tiling.multiple for length in (height, width)]
        if any(missing):
            piece = mirror_ends(piece, missing[0], missing[1])
        net = self.fast if self.fast and piece.dtype == np.uint8 else self.net
        out = net(to_unit(piece))
        if not np.isfinite(out).all():
            raise BackgroundError("the background network gave numbers that are not finite")
        scale = self.tiling.scale
        return out[0, :, : height * scale, : width * scale]


def mirror_ends(piece: Image, n_rows: int, n_columns: int) -> Image:
    """Rows and columns added at the ends, mirrored without the last one (upstream's `reflect`)."""
    how = cv2.BORDER_REFLECT_101 if min(piece.shape[:2]) > max(n_rows, n_columns) else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(piece, 0, n_rows, 0, n_columns, how)
    return np.asarray(padded, piece.dtype)  # type: ignore[return-value]


def fit(image: Image, size: tuple[int, int]) -> Image:
    """To (height, width): by area means where that is smaller, by Lanczos where it is larger."""
    height, width = size
    if image.shape[0] <= height or image.shape[1] <= width:
        return image if image.shape[:2] == size else resize_background(image, size)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, image.dtype)  # type: ignore[return-value]
