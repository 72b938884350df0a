"""A decoder's pictures to ours and back: BGR, upright, at their depth, with the colours they were tagged with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from gfpcli.photo.pixels import Plane
from gfpcli.types import Image

EXACT = int(
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)  # YUV to BGR and back without a drift in brightness
Turn: TypeAlias = tuple[int, int, int, int]
"""Signs of the display matrix (a, b, c, d): upright x and y as sums of stored x and y."""
UNTAGGED, MATRIX_709, MATRIX_601 = 2, 1, 6  # matrices as H.273 numbers them
SD_SIZE = (576, 1024)  # (height, width), px; players read larger clips without a tag as BT.709
UPRIGHT: Turn = (1, 0, 0, 1)


@dataclass(frozen=True, slots=True)
class Color:
    """Tags as ITU-T H.273 numbers them; 2 is unspecified, range 0 too."""

    range: int  # 1 limited, 2 full
    primaries: int
    transfer: int
    matrix: int


def bits_of(pix_fmt: str) -> int:
    """Bits of one component."""
    return max(part.bits for part in av.VideoFormat(pix_fmt, 16, 16).components)


def is_rgb(pix_fmt: str) -> bool:
    """Whether a format holds RGB or a palette of it."""
    return av.VideoFormat(pix_fmt, 16, 16).is_rgb or pix_fmt.startswith(("gbr", "bgr", "pal"))


def holds_alpha(pix_fmt: str) -> bool:
    """Whether a format has a component for transparency."""
    return len(av.VideoFormat(pix_fmt, 16, 16).components) in (2, 4)


def is_richer(pix_fmt: str, other: str) -> bool:
    """Whether a YUV format has more depth or more chroma than another one."""
    one, two = (av.VideoFormat(each, 16, 16) for each in (pix_fmt, other))
    chroma = [each.chroma_width(16) * each.chroma_height(16) for each in (one, two)]
    return bits_of(pix_fmt) > bits_of(other) or chroma[0] > chroma[1] and len(one.components) > 2


def turn_of(picture: VideoFrame) -> Turn:
    """Signs of the picture's display matrix; upright where it has none or an odd angle."""
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    values = np.frombuffer(memoryview(cast(Any, matrix)), np.int32)[[0, 1, 3, 4]]
    a, b, c, d = (int(v) for v in np.sign(values) * (np.abs(values) > 1 << 15))
    return (a, b, c, d) if (a == 0) == (d == 0) and (b == 0) == (c == 0) and (a == 0) != (b == 0) else UPRIGHT


def upright(image: Image, turn: Turn) -> Image:
    """The (H, W, C) picture as it is shown: the display matrix takes (x, y) to (a*x + c*y, b*x + d*y)."""
    a, b, c, d = turn
    if a == 0:
        image, (a, d) = image.transpose(1, 0, 2), (c, b)
    return cast(Image, np.ascontiguousarray(image[::d, ::a]))


def matrix_of(color: Color, pix_fmt: str, size: tuple[int, int]) -> int:
    """The matrix by which players read a clip: its tag; of a YUV clip without one by its (height, width)."""
    if is_rgb(pix_fmt) or color.matrix not in (0, UNTAGGED):
        return color.matrix
    return MATRIX_601 if size[0] <= SD_SIZE[0] and size[1] <= SD_SIZE[1] else MATRIX_709


def output_color(color: Color, source: str, made: str, size: tuple[int, int], made_size: tuple[int, int]) -> Color:
    """The tags of a clip made from another one.

    RGB becomes BT.709, and a clip without a tag gets one where players would read its new size by another matrix.

    Args:
        source, made: ffmpeg's names of the pixel formats.
        size, made_size: (height, width) of both, px.
    """
    if is_rgb(made):
        return color
    if is_rgb(source):
        return replace(color, range=1, matrix=MATRIX_709)
    meant = matrix_of(color, source, size)
    return color if meant == matrix_of(color, made, made_size) else replace(color, matrix=meant)


def to_bgr(picture: VideoFrame, *, is_deep: bool, has_alpha: bool = False) -> Image:
    """(H, W, 3) BGR, or with the transparency (H, W, 4); full range, uint16 where `is_deep`."""
    color = Color(0, UNTAGGED, UNTAGGED, int(picture.colorspace))
    matrix = matrix_of(color, picture.format.name, (picture.height, picture.width))
    form = {(False, False): "bgr24", (True, False): "bgr48le", (False, True): "bgra", (True, True): "rgba64le"}[
        is_deep, has_alpha
    ]
    pixels = picture.reformat(format=form, interpolation=EXACT, src_colorspace=matrix or None).to_ndarray()
    return cast(Image, pixels[..., [2, 1, 0, 3]] if form == "rgba64le" else pixels)


def from_bgr(image: Image, pix_fmt: str, color: Color, alpha: Plane | None = None) -> VideoFrame:
    """An (H, W, 3) BGR picture in an encoder's format, with the tags of `color`.

    Args:
        alpha: (H, W) of the same depth, for formats that hold it; None = opaque.
    """
    picture = _stored(image, alpha) if holds_alpha(pix_fmt) else _stored(image)
    is_yuv = "yuv" in pix_fmt or pix_fmt.startswith("nv")
    matrix = matrix_of(color, pix_fmt, image.shape[:2])
    out = picture.reformat(
        format=pix_fmt,
        interpolation=EXACT,
        dst_colorspace=matrix if is_yuv else None,
        dst_color_range=(color.range or 1) if is_yuv else None,
    )
    out.color_primaries, out.color_trc, out.colorspace = color.primaries, color.transfer, color.matrix
    out.color_range = color.range
    return out


def _stored(image: Image, alpha: Plane | None = None) -> VideoFrame:
    """The pixels as ffmpeg holds them."""
    is_deep = image.dtype == np.uint16
    if alpha is None:
        return VideoFrame.from_ndarray(cast("NDArray[Any]", image), format="bgr48le" if is_deep else "bgr24")
    pixels = np.dstack([image[..., ::-1] if is_deep else image, alpha])
    return VideoFrame.from_ndarray(cast("NDArray[Any]", pixels), format="rgba64le" if is_deep else "bgra")
