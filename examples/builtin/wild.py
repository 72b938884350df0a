"""What the detector and the landmark network learn from: views of wild pictures and synthetic faces, made worse."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.align import warp_area

SIZE = 320  # px of a view
MIRRORED = [1, 0, 2, 4, 3]  # landmarks of a mirrored face
BOX_256 = np.array([59.5, 47.1, 197.0, 234.1])  # median box of large upright sure faces, aligned at 256 px


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture (H, W, 3) BGR with its labels in pixels."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]  # (F, 4) xyxy
    landmarks: NDArray[np.float32]  # (F, 5, 2)
    is_sure: NDArray[np.bool_]  # (F,); the others are neither faces nor background
    odds: float = 1.0  # how often it is drawn, beside the others
    is_faceless: bool = False  # looked at by eye: no face at all


def tenth_of(name: str) -> int:
    """Which tenth of the pictures one belongs to: 0..9, by the hash of its name."""
    return int(hashlib.sha1(Path(name).name.encode()).hexdigest(), 16) % 10


HELD_OUT, CHOOSING = 0, 1  # tenths: what only evaluation sees, and what a choice between trials may be made by


def is_held_out(name: str) -> bool:
    """True for the tenth of the pictures that only evaluation sees."""
    return tenth_of(name) == HELD_OUT


def read_pictures(folder: Path, left_out: Collection[int] = (HELD_OUT,)) -> list[Picture]:
    """Every picture of `wild/labels.json` but these tenths."""
    odds = {"face": 1.0, "background": 0.8, "hard_negative": 2.5}
    pictures = []
    for name, facts in json.loads((folder / "labels.json").read_text())["images"].items():
        if tenth_of(name) in left_out or not (folder / name).exists():
            continue
        faces = facts.get("faces", [])
        pictures.append(
            Picture(
                cv2.imread(str(folder / name)),
                np.array([face["box"] for face in faces], np.float32).reshape(-1, 4),
                np.array([face["landmarks"] for face in faces], np.float32).reshape(-1, 5, 2),
                np.array([face["sure"] for face in faces], bool),
                odds[facts["kind"]],
                facts["kind"] != "face",
            )
        )
    return pictures


def read_synthetic(folder: Path) -> list[Picture]:
    """The synthetic training faces (256 px, aligned), one label each; near-duplicates count as three faces an id."""
    marks = json.loads((folder / "landmarks_256_all.json").read_text())["landmarks"]
    return [
        Picture(
            cv2.imread(str(folder / name)),
            np.float32(BOX_256[None]),
            np.array([points], np.float32),
            np.ones(1, bool),
            0.15 if "omival_" in name else 1.0,
        )
        for name, points in marks.items()
        if name.startswith("train256/")
    ]


def choose_view(picture: Picture, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random similarity (2, 3) into the training square, most often around a sure face of 16 to 260 px."""
    height, width = picture.image.shape[:2]
    sure = np.flatnonzero(picture.is_sure)
    if len(sure) and rng.random() < 0.9:
        x0, y0, x1, y1 = picture.boxes[rng.choice(sure)]
        centre = (x0 + x1) / 2, (y0 + y1) / 2
        zoom = np.exp(rng.uniform(np.log(16), np.log(260))) / max(x1 - x0, y1 - y0, 1)
        zoom = min(zoom, 6.0)
    else:
        centre = rng.uniform(0, width), rng.uniform(0, height)
        zoom = SIZE / max(height, width) * np.exp(rng.uniform(np.log(0.5), np.log(3)))
    turn = rng.normal(0, 12) if rng.random() < 0.8 else rng.uniform(-40, 40)
    view = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, float(zoom))
    view[:, 2] += rng.uniform(0.25 * SIZE, 0.75 * SIZE, 2) - centre
    return view


def worsen(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light, gray, blur, noise and JPEG of poor photos."""
    gain = np.float32(rng.uniform(0.35, 1.3) * rng.uniform(0.9, 1.1, 3))
    out = image.astype(np.float32) * gain + np.float32(rng.uniform(-25, 25))
    if rng.random() < 0.25:
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.35:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 2.2))
    if rng.random() < 0.35:
        out = out + np.float32(rng.uniform(2, 15)) * rng.standard_normal(out.shape, np.float32)
    worse = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, code = cv2.imencode(".jpg", worse, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))])
        worse = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return worse


def draw_ground(picture: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A (320, 320) piece of a picture without faces, seldom a plain colour: what lies around a small picture."""
    if rng.random() < 0.1:
        return np.full((SIZE, SIZE, 3), rng.integers(0, 256, 3), np.uint8)
    height, width = picture.image.shape[:2]
    side = int(min(height, width) / rng.uniform(1, 2))
    y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return cv2.resize(picture.image[y : y + side, x : x + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def draw_view(picture: Picture, ground: NDArray[np.uint8], rng: np.random.Generator) -> Picture:
    """One (320, 320) view on a ground, with its labels; faces mostly outside become ignored."""
    view = choose_view(picture, rng)
    zoom = np.hypot(view[0, 0], view[0, 1])
    source = picture.image if zoom >= 0.5 else cv2.blur(picture.image, (int(1 / zoom),) * 2)
    image = cv2.warpAffine(source, view, (SIZE, SIZE), ground, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
    points = picture.landmarks @ view[:, :2].T + view[:, 2]
    centres = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2 @ view[:, :2].T + view[:, 2]
    half = (picture.boxes[:, 2:] - picture.boxes[:, :2]) / 2 * zoom
    if rng.random() < 0.5:
        image = image[:, ::-1]
        points = points[:, MIRRORED] * (-1, 1) + (SIZE - 1, 0)
        centres = centres * (-1, 1) + (SIZE - 1, 0)
    inside = ((centres > 0) & (centres < SIZE)).all(axis=1) if len(centres) else np.zeros(0, bool)
    boxes = np.concatenate([centres - half, centres + half], axis=1) if len(centres) else picture.boxes
    large = half.max(axis=1) >= 5 if len(half) else inside
    return Picture(np.ascontiguousarray(image), np.float32(boxes), np.float32(points), picture.is_sure & inside & large)


def paste(view: Picture, face: Picture, rng: np.random.Generator) -> Picture:
    """A synthetic face with a soft edge on a view, turned at random, 16 to 200 px tall; the view itself if no room."""
    zoom = np.exp(rng.uniform(np.log(16), np.log(200))) / (BOX_256[3] - BOX_256[1])
    centre = (BOX_256[:2] + BOX_256[2:]) / 2
    into = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), rng.normal(0, 15), float(zoom))
    target = rng.uniform(0.1 * SIZE, 0.9 * SIZE, 2)
    into[:, 2] += target - centre
    half = (BOX_256[2:] - BOX_256[:2]) / 2 * zoom
    box = np.float32(np.concatenate([target - half, target + half]))
    low, high = np.maximum(box[:2], view.boxes[:, :2]), np.minimum(box[2:], view.boxes[:, 2:])
    if len(view.boxes) and (np.maximum(high - low, 0).prod(axis=1) > 0).any():
        return view
    oval = np.zeros((256, 256, 3), np.uint8)
    cv2.ellipse(oval, (128, 128), (int(rng.integers(72, 110)), int(rng.integers(105, 122))), 0, 0, 360, (255,) * 3, -1)
    oval = cv2.GaussianBlur(oval, (0, 0), rng.uniform(2, 8))
    seen = [image[:, ::-1] for image in (face.image, oval)] if rng.random() < 0.5 else [face.image, oval]
    points = face.landmarks[0] if seen[0].base is None else face.landmarks[0, MIRRORED] * (-1, 1) + (255, 0)
    skin, mask = (warp_area(np.ascontiguousarray(image), into, SIZE) for image in seen)
    ys, xs = np.indices((SIZE, SIZE))
    back = cv2.invertAffineTransform(into)
    u, v = (back[i, 0] * xs + back[i, 1] * ys + back[i, 2] for i in (0, 1))
    share = (mask / 255.0) * ((u > 0) & (u < 255) & (v > 0) & (v < 255))[..., None]
    image = np.uint8(view.image * (1 - share) + skin * share)
    return Picture(
        image,
        np.concatenate([view.boxes, box[None]]),
        np.concatenate([view.landmarks, np.float32(points @ into[:, :2].T + into[:, 2])[None]]),
        np.append(view.is_sure, True),
    )


@dataclass(frozen=True, slots=True)
class Stock:
    """Everything there is to draw from."""

    pictures: list[Picture]
    synthetic: list[Picture]
    faceless: list[Picture]

    @classmethod
    def read(cls, data: Path, left_out: Collection[int] = (HELD_OUT,)) -> Stock:
        """All but these tenths of a folder that holds `wild/` and `faces/`."""
        pictures = read_pictures(data / "wild", left_out)
        return cls(pictures, read_synthetic(data / "faces"), [each for each in pictures if each.is_faceless])


def draw(pictures: list[Picture], rng: np.random.Generator) -> Picture:
    """One picture, by their odds."""
    odds = np.array([picture.odds for picture in pictures])
    return pictures[rng.choice(len(pictures), p=odds / odds.sum())]


def draw_sample(stock: Stock, rng: np.random.Generator) -> Picture:
    """One view to train on, worsened; synthetic faces are pasted on half of those without a face, and some others."""
    picture = draw(stock.pictures, rng)
    view = draw_view(picture, draw_ground(draw(stock.faceless, rng), rng), rng)
    if rng.random() < (0.5 if picture.is_faceless else 0.15):
        for _ in range(int(rng.integers(1, 4))):
            view = paste(view, draw(stock.synthetic, rng), rng)
    return Picture(worsen(view.image, rng), view.boxes, view.landmarks, view.is_sure)
