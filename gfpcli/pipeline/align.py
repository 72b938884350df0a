"""From landmarks to aligned crops of the faces that are asked for (numpy and cv2 only)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import FaceError, InputError
from gfpcli.memory import is_out_of_memory
from gfpcli.options import DEFAULT_TEMPLATE, FaceOptions
from gfpcli.pipeline.steps import AlignedFaces, Detected, Share
from gfpcli.types import Affine, Crop, Face, FaceOutcome, Frame, Image

# eyes, nose and mouth corners of an aligned face, px at 512 (GFPGAN / facexlib, FFHQ alignment)
TEMPLATE_512 = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)
# the same of the faces that ArcFace sees, px at 512: InsightFace's template of 112 px in a square of 128 px, 8 px
# to the right
TEMPLATE_ARCFACE = 4 * (
    np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])
    + (8, 0)
)
IDENTITY = np.eye(2, 3)
SHOWN_SMALL = 1.5  # of a network's size: the edge up to which a face on the canvas looks as well by it
LARGEST_ZOOM = 0.3  # of a face that was averaged over squares: the rest of its way is blurred exactly
BORDER_BGR = (135.0, 133.0, 132.0)  # what the official networks saw outside the photo


def frame_to_crop_of(landmarks: NDArray[np.float64], size: int, template: str = DEFAULT_TEMPLATE) -> Affine:
    """The similarity (2, 3) that takes five landmarks (px, xy) to the template (of TEMPLATES) at `size`.

    Raises:
        FaceError: the landmarks fix no similarity.
    """
    points = TEMPLATE_ARCFACE if template == "arcface_128" else TEMPLATE_512
    target = (points + 0.5) * (size / 512) - 0.5
    affine, _ = cv2.estimateAffinePartial2D(np.asarray(landmarks, np.float64), target, method=cv2.LMEDS)
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:, :2])) < 1e-8:
        raise FaceError("the landmarks of this face fix no alignment")
    return np.asarray(affine, np.float64)


def invert(affine: Affine) -> Affine:
    """The inverse of a (2, 3) affine."""
    return np.asarray(cv2.invertAffineTransform(affine), np.float64)


def to_8_bit(image: Image) -> NDArray[np.uint8]:
    """uint8 as it is; uint16 rounded to 8 bit."""
    return image if image.dtype == np.uint8 else np.round(image / 257).astype(np.uint8)  # type: ignore[return-value]


def warp_area(
    image: NDArray[np.uint8], affine: Affine, size: int, largest_zoom: float = LARGEST_ZOOM
) -> NDArray[np.uint8]:
    """Warp (H, W, 3) BGR to (size, size, 3); outside the image lies BORDER_BGR.

    A face that shrinks is first blurred, in its own rectangle only, against aliasing; one that shrinks
    much is averaged over squares before, which leaves few pixels for the blur.

    Args:
        largest_zoom: what the squares may leave of the way: the nearer to 1, the faster, and the less exact.
    """
    zoom = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    if zoom >= 0.9:
        return _warped(image, affine, size, cv2.INTER_CUBIC)
    variance = 0.2025 * (1 / zoom**2 - 1)  # of the blur, px of the image
    x0, y0, x1, y1 = _seen_of(image, affine, size, margin=int(3 * np.sqrt(variance)) + 2)
    if x0 >= x1 or y0 >= y1:
        return np.full((size, size, 3), BORDER_BGR, np.uint8)
    factor = max(1, int(largest_zoom / zoom))
    part = _reduced(image[y0:y1, x0:x1], factor)
    sigma = np.sqrt(variance - (factor**2 - 1) / 12) / factor  # without what the means have blurred
    part = np.asarray(cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ (np.array((x0, y0)) + (factor - 1) / 2)
    moved[:, :2] *= factor
    return _warped(part, moved, size, cv2.INTER_LINEAR if factor == 1 else cv2.INTER_CUBIC)


def _reduced(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Means of squares of `factor` px; where the last ones are not whole their last pixels count several times."""
    if factor == 1:
        return image
    bottom, right = (-length % factor for length in image.shape[:2])
    if bottom or right:
        image = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _warped(image: NDArray[np.uint8], affine: Affine, size: int, how: int) -> NDArray[np.uint8]:
    warped = cv2.warpAffine(
        image, affine, (size, size), flags=how, borderMode=cv2.BORDER_CONSTANT, borderValue=BORDER_BGR
    )
    return np.asarray(warped, np.uint8)


def _seen_of(image: Image, affine: Affine, size: int, *, margin: int) -> tuple[int, int, int, int]:
    """The rectangle x0, y0, x1, y1 of the image that a warp shows; x0 >= x1 or y0 >= y1 where it shows none of it."""
    corners = np.array([(0, 0), (size, 0), (0, size), (size, size)], np.float64)
    inverse = invert(affine)
    around = corners @ inverse[:, :2].T + inverse[:, 2]
    x0, y0 = np.maximum(np.floor(around.min(axis=0)).astype(int) - margin, 0)
    x1, y1 = np.minimum(np.ceil(around.max(axis=0)).astype(int) + margin, (image.shape[1], image.shape[0]))
    return int(x0), int(y0), int(x1), int(y1)


def stretch_of(pixel_aspect: float) -> NDArray[np.float64]:
    """(x, y) factors that make pixels of this width / height square, none below 1."""
    return np.array([max(1.0, pixel_aspect), max(1.0, 1 / pixel_aspect)])


def cut_crop(
    image: Image, face: Face, size: int, pixel_aspect: float = 1.0, template: str = DEFAULT_TEMPLATE
) -> Crop:
    """The aligned (size, size, 3) BGR crop of a face, in square pixels.

    Raises:
        FaceError: as `frame_to_crop_of`, or a face that lies outside by its box or by its landmarks.
    """
    stretch = stretch_of(pixel_aspect)
    affine = frame_to_crop_of((face.landmarks + 0.5) * stretch - 0.5, size, template)
    affine[:, 2] += affine[:, :2] @ (0.5 * (stretch - 1))
    affine[:, :2] *= stretch
    height, width = image.shape[:2]
    x0, y0, x1, y1 = face.box
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        raise FaceError("this face lies outside the photo")
    left, top, right, bottom = _seen_of(image, affine, size, margin=0)
    if left >= right or top >= bottom:
        raise FaceError("the landmarks of this face lie outside the photo")
    return Crop(face, warp_area(to_8_bit(image), affine, size), affine)


def size_for(face: Face, sizes: Sequence[int], scale: float, template: str = DEFAULT_TEMPLATE) -> int:
    """Of the networks' sizes, smallest first, that for a face which is shown `scale` times as large as in its frame.

    Raises:
        FaceError: as `frame_to_crop_of`.
    """
    largest = sizes[-1]
    if len(sizes) == 1:
        return largest
    zoom = np.sqrt(abs(np.linalg.det(frame_to_crop_of(face.landmarks, largest, template)[:, :2])))
    edge = scale * largest / zoom  # of the aligned square, px of the canvas
    return next((size for size in sizes if edge <= SHOWN_SMALL * size), largest)


def align_faces(detected: Detected, sizes: Sequence[int], options: FaceOptions) -> AlignedFaces:
    """The frame's faces cut out at a network's size. One not asked for is `skipped`, one that cannot be is `failed`.

    With `aligned` the whole picture is the one face.

    Args:
        sizes: of the networks, smallest first; each face takes the one of `size_for`.

    Raises:
        InputError: as `aligned_crop`.
    """
    frame = detected.frame
    if options.aligned:
        crop = aligned_crop(frame, sizes[-1])
        return AlignedFaces(frame, (crop.face,), (FaceOutcome("restored"),), (crop,))
    chosen = choose_faces(detected.faces, frame, options)
    crops: list[Crop] = []
    shares: list[Share] = []
    outcomes: list[FaceOutcome] = []
    for i, face in enumerate(detected.faces):
        if not any(face is each for each in chosen):
            outcomes.append(FaceOutcome("skipped"))
            continue
        try:
            size = size_for(face, sizes, options.scale, options.template)
            crops.append(cut_crop(frame.image, face, size, frame.pixel_aspect, options.template))
            outcomes.append(FaceOutcome("restored"))
            shares += detected.shares[i : i + 1]
        except FaceError as error:
            outcomes.append(FaceOutcome("failed", str(error)))
        except (cv2.error, np.linalg.LinAlgError) as error:
            why = "there is not enough memory" if is_out_of_memory(error) else "its landmarks are not those of a face"
            outcomes.append(FaceOutcome("failed", f"this face cannot be cut out: {why}"))
    return AlignedFaces(frame, detected.faces, tuple(outcomes), tuple(crops), shares=tuple(shares))


def choose_faces(faces: tuple[Face, ...], frame: Frame, options: FaceOptions) -> tuple[Face, ...]:
    """The faces that a plan asks for, or else `--faces`, `--min-face` and `--max-face`."""
    if frame.planned is not None:
        return tuple(face for face, each in zip(faces, frame.planned, strict=True) if each.action == "restore")

    def area(face: Face) -> float:
        return float(np.prod(sides_of(face)))

    def off_centre(face: Face) -> float:
        middle = np.array(frame.image.shape[1::-1]) / 2
        return float(np.hypot(*((face.box[:2] + face.box[2:]) / 2 - middle)))

    most = options.max_face or float("inf")
    large = [face for face in faces if options.min_face <= min(sides_of(face)) and max(sides_of(face)) <= most]
    if options.faces == "all":
        return tuple(large)
    if options.faces == "center":
        return tuple(sorted(large, key=off_centre)[:1])
    n_wanted = 1 if options.faces == "largest" else int(options.faces)
    return tuple(sorted(large, key=area, reverse=True)[:n_wanted])


def sides_of(face: Face) -> NDArray[np.float64]:
    """(width, height) of a face's box, px."""
    return np.asarray(face.box[2:] - face.box[:2])


def aligned_crop(frame: Frame, size: int) -> Crop:
    """The whole picture as one crop (bilinear resize, as upstream does).

    Raises:
        InputError: the picture is not square.
    """
    height, width = frame.image.shape[:2]
    if height != width:
        raise InputError(f"{frame.name}: {width}x{height} is not square, as --aligned needs")
    image = to_8_bit(frame.image)
    if height != size:
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    face = Face(np.array([0.0, 0, width, height]), np.zeros((5, 2)), 1.0)
    return Crop(face, image, IDENTITY * (size / width))
