"""What happens to a photo on film and paper: fading, grain, a printed halftone screen, scratches, cracks and dust.

Pictures are (H, W, 3) BGR float32, 0..255. Lengths are px of a face of 512 px and are scaled with the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

TEMPLATE_SIZE = 512
BGR_TO_LUMA = np.array([0.114, 0.587, 0.299], np.float32)
SCREEN_ANGLES = (0.0, 75.0, 15.0, 45.0)  # degrees, of the yellow, magenta, cyan and black screens, as printers use them
BLACK_SHARE = 0.6  # of the gray part of a colour: printed with black ink
N_RANKS = 1024  # steps of the table from a screen's wave to the share of paper that is darker
BARE_PAPER = (190.0, 215.0, 225.0)  # BGR, bare where the picture has come off

FloatPicture = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fading:
    """Lost contrast and colour: luma and colours are mixed by `saturation`, then times `contrast` and `gains`."""

    contrast: float
    lift: float  # of black, of 255
    saturation: float
    gains: tuple[float, float, float]  # BGR


@dataclass(frozen=True, slots=True)
class Grain:
    """Film grain, strongest in the middle tones."""

    strength: float  # standard deviation there, of 255
    width: float  # standard deviation of a grain, px
    seed: int


@dataclass(frozen=True, slots=True)
class Halftone:
    """A screen of dots: in black on a gray picture, or one for each printing ink."""

    cell: float  # distance between dots, px of the picture that is given
    angle: float  # degrees, added to the screens' own
    strength: float  # 0..1, of the dots beside the even tone: a scanner's lens and soft paper blur them
    is_colour: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """Cracks through the paper, thin scratches, and specks of dust."""

    n_cracks: int
    n_scratches: int
    n_specks: int
    seed: int


def fade(image: FloatPicture, fading: Fading) -> FloatPicture:
    """The picture faded, turned gray, or toned (sepia)."""
    luma = (image @ BGR_TO_LUMA)[..., None]
    mixed = (luma + fading.saturation * (image - luma)) * fading.contrast * np.array(fading.gains, np.float32)
    return np.asarray(np.clip(mixed + fading.lift, 0, 255), np.float32)


def add_grain(image: FloatPicture, grain: Grain) -> FloatPicture:
    """The same grain in all three channels."""
    height, width = image.shape[:2]
    noise = np.random.default_rng(grain.seed).standard_normal((height, width), np.float32)
    sigma = grain.width * width / TEMPLATE_SIZE
    if sigma > 0.3:  # below, a grain is smaller than a pixel
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma), np.float32)
        noise /= max(float(noise.std()), 1e-6)
    tone = np.clip(image @ BGR_TO_LUMA, 0, 255) / 255
    amount = grain.strength * (0.35 + 1.3 * np.sqrt(tone * (1 - tone)))
    return np.asarray(np.clip(image + (amount * noise)[..., None], 0, 255), np.float32)


def print_halftone(image: FloatPicture, halftone: Halftone) -> FloatPicture:
    """The picture as dots of ink on white paper; of the same tone where it is averaged over a cell."""
    dots = _colour_dots(image, halftone) if halftone.is_colour else _gray_dots(image, halftone)
    return np.asarray(image + halftone.strength * (dots - image), np.float32)


def _gray_dots(image: FloatPicture, halftone: Halftone) -> FloatPicture:
    height, width = image.shape[:2]
    ink = np.asarray(1 - image @ BGR_TO_LUMA / 255, np.float32)
    dots = _dots(ink, _screen(height, width, halftone, SCREEN_ANGLES[3]))
    return np.asarray(255 * (1 - dots)[..., None], np.float32)


def _colour_dots(image: FloatPicture, halftone: Halftone) -> FloatPicture:
    height, width = image.shape[:2]
    *coloured, black_screen = (_screen(height, width, halftone, angle) for angle in SCREEN_ANGLES)
    ink = np.asarray(1 - np.clip(image, 0, 255) / 255, np.float32)  # (H, W, 3): yellow, magenta, cyan
    black = np.asarray(BLACK_SHARE * ink.min(axis=2), np.float32)
    ink = np.asarray((ink - black[..., None]) / (1 - black[..., None]), np.float32)
    dots = np.stack([_dots(ink[..., i], screen) for i, screen in enumerate(coloured)], axis=2)
    paper = 1 - _dots(black, black_screen)
    return np.asarray(255 * paper[..., None] * (1 - dots), np.float32)


def _screen(height: int, width: int, halftone: Halftone, own_angle: float) -> tuple[FloatPicture, float]:
    """(thresholds (H, W) that are spread evenly over 0..1, width of a dot's soft edge in coverage)."""
    angle = np.radians(halftone.angle + own_angle)
    step = 2 * np.pi / halftone.cell
    wave = np.zeros((height, width), np.float32)
    for x_step, y_step in ((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))):
        x, y = (np.arange(length) * step * each for length, each in ((width, x_step), (height, y_step)))
        wave += np.outer(np.cos(y), np.cos(x)) - np.outer(np.sin(y), np.sin(x))  # cos(x + y)
    rank = np.clip((wave + 2) * ((N_RANKS - 1) / 4), 0, N_RANKS - 1).astype(np.int32)
    return SCREEN_RANKS[rank], 2 / halftone.cell


def _screen_ranks() -> FloatPicture:
    """(N_RANKS,): the share of a cell in which the sum of two cosines lies below each value from -2 to 2."""
    cosine = np.cos(np.linspace(0, 2 * np.pi, 512, endpoint=False))
    sums = np.sort((cosine[:, None] + cosine).ravel())
    return np.asarray(np.searchsorted(sums, np.linspace(-2, 2, N_RANKS)) / sums.size, np.float32)


SCREEN_RANKS = _screen_ranks()


def _dots(ink: FloatPicture, screen: tuple[FloatPicture, float]) -> FloatPicture:
    """(H, W) 0..1: where ink lies when a share `ink` of the paper is to be covered; edges are about a pixel wide."""
    thresholds, edge = screen
    soft = np.maximum(np.minimum(edge, 2 * np.minimum(ink, 1 - ink)), 1e-4)  # narrower at both ends
    return np.asarray(np.clip((ink - thresholds) / soft + 0.5, 0, 1), np.float32)


def damage(image: FloatPicture, drawn: Damage) -> FloatPicture:
    """The picture with cracks, scratches and dust on it."""
    rng = np.random.default_rng(drawn.seed)
    out = np.ascontiguousarray(image)
    for _ in range(drawn.n_cracks):
        out = _cracked(out, rng)
    for _ in range(drawn.n_scratches):
        out = _scratched(out, rng)
    return _dusty(out, drawn.n_specks, rng)


def _cracked(image: FloatPicture, rng: np.random.Generator) -> FloatPicture:
    """A jagged line along which the picture has come off, with branches and a dark edge."""
    height, width = image.shape[:2]
    scale = width / TEMPLATE_SIZE
    mask = np.zeros((height, width), np.float32)
    start = rng.uniform(0, (width, height))
    heading = rng.uniform(0, 2 * np.pi)
    thick = rng.uniform(1.0, 4.5) * scale
    main = _jagged_path(start, heading, rng.uniform(150, 700) * scale, 9 * scale, rng)
    _draw_path(mask, main, thick, rng)
    for _ in range(int(rng.integers(0, 4))):
        at = main[int(rng.integers(len(main)))]
        turned = heading + rng.choice((-1, 1)) * rng.uniform(0.5, 1.4)
        _draw_path(mask, _jagged_path(at, turned, rng.uniform(30, 200) * scale, 8 * scale, rng), 0.6 * thick, rng)
    edge = np.roll(mask, (max(1, round(scale)), max(1, round(scale))), axis=(0, 1)) * rng.uniform(0.1, 0.5)
    colour = np.array(BARE_PAPER, np.float32) * rng.uniform(0.8, 1.1)
    cover = (rng.uniform(0.5, 1.0) * mask)[..., None]
    return np.asarray(image * (1 - edge[..., None]) * (1 - cover) + np.clip(colour, 0, 255) * cover, np.float32)


def _jagged_path(
    start: NDArray[np.float64], heading: float, length: float, step: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Points (n, 2), xy, px, of a line that turns at random around its heading."""
    n_steps = max(2, round(length / max(step, 1.0)))
    turns = heading + 0.25 * np.cumsum(rng.normal(0, 0.5, n_steps)) + rng.normal(0, 0.45, n_steps)
    steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * max(step, 1.0) * rng.uniform(0.5, 1.5, (n_steps, 1))
    return np.asarray(start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]), np.float64)


def _draw_path(mask: FloatPicture, path: NDArray[np.float64], thick: float, rng: np.random.Generator) -> None:
    """Draws a path of changing thickness, px, into a mask (H, W), 0..1; a line under a pixel is fainter."""
    for one, other in zip(path[:-1], path[1:], strict=True):
        width = thick * rng.uniform(0.4, 1.4)
        value = float(min(1.0, width))
        ends = [tuple(int(value * 16) for value in point) for point in (one, other)]  # sixteenths of a pixel
        cv2.line(mask, ends[0], ends[1], value, max(1, round(width)), cv2.LINE_AA, 4)


def _scratched(image: FloatPicture, rng: np.random.Generator) -> FloatPicture:
    """A long, thin, slightly bent line, bright or dark; some are broken."""
    height, width = image.shape[:2]
    scale = width / TEMPLATE_SIZE
    mask = np.zeros((height, width), np.float32)
    middle = rng.uniform(0, (width, height))
    heading = rng.normal(np.pi / 2, 0.25) if rng.random() < 0.5 else rng.uniform(0, np.pi)
    at = np.linspace(-0.5, 0.5, 24)[:, None]
    along, across = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    length = rng.uniform(60, 600) * scale
    path = middle + at * length * along + (at * at * rng.normal(0, 0.15)) * length * across
    thick = rng.uniform(0.5, 2.0) * scale
    is_broken = rng.random(len(path)) < rng.choice((0.0, 0.35))
    for i in range(0, len(path) - 1):
        if not is_broken[i]:
            _draw_path(mask, path[i : i + 2], thick, rng)
    cover = (rng.uniform(0.25, 0.9) * mask)[..., None]
    tone = rng.uniform(190, 250) if rng.random() < 0.75 else rng.uniform(5, 60)
    return np.asarray(image * (1 - cover) + tone * cover, np.float32)


def _dusty(image: FloatPicture, n_specks: int, rng: np.random.Generator) -> FloatPicture:
    """Specks and short hairs, bright ones and dark ones."""
    height, width = image.shape[:2]
    scale = width / TEMPLATE_SIZE
    masks = np.zeros((2, height, width), np.float32)
    for _ in range(n_specks):
        mask = masks[int(rng.random() < 0.7)]
        middle, turn, value = rng.uniform(0, (width, height)), float(rng.uniform(0, 180)), float(rng.uniform(0.3, 1))
        if rng.random() < 0.15:
            hair = _jagged_path(middle, np.radians(turn), rng.uniform(8, 40) * scale, 4 * scale, rng)
            _draw_path(mask, hair, scale, rng)
        else:
            axes = np.maximum(rng.exponential(1.3, 2) * scale, 0.4)
            box = (tuple(middle.tolist()), tuple((2 * axes).tolist()), turn)
            cv2.ellipse(mask, box, value, -1, cv2.LINE_AA)
    dark, bright = masks[..., None]
    return np.asarray((image * (1 - 0.75 * dark)) * (1 - bright) + 235 * bright, np.float32)
