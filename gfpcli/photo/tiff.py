"""TIFF pictures, whole: read by what the page's tags say (TIFF 6.0, its technical notes, BigTIFF), never by guesses.

tifffile reads the structure, imagecodecs the compressions. What is not understood exactly is refused by name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import tifffile
from PIL import Image as Pillow
from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

from gfpcli.errors import InputError
from gfpcli.photo.colour import cmyk_to_rgb, lab_to_rgb, ycbcr_to_rgb
from gfpcli.photo.hdr import profile_transfer, refuse_hdr
from gfpcli.photo.jxl import jxl_header
from gfpcli.photo.pixels import (
    NEEDED,
    NOT_TURNED,
    Pixels,
    Samples,
    as_bgr,
    check_size,
    decoder_errors,
    divided_by,
    fitting_profile,
    plane_of,
    profile_space,
)
from gfpcli.photo.subsampled import subsampled_ycbcr

ORIENTATION_TAG, SUBFILE, OLD_SUBFILE, COLOR_MAP, INK_SET = 274, 254, 255, 320, 332
SAMPLE_FORMATS = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}
REDUCED, MASK = 1, 4  # bits of NewSubfileType
OLD_REDUCED = 2  # of SubfileType
ASSOCIATED, UNASSOCIATED = 1, 2  # ExtraSamples: alpha multiplied in, alpha apart
N_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}  # channels, by PhotometricInterpretation
GRAY, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = (0, 1), 3, 5, 6, 8, 9
JPEGS = (6, 7, 34892, 33007)  # whose chroma the decoder turns into RGB
JPEG_XLS = (50002, 52546)
OWN_SIZE = (33003, 33004, 33005, 34712, 34927, 34933, 50001, *JPEG_XLS)  # JPEG 2000, WebP, PNG: whole files as segments
PLAIN = (1, 2, 3, 4, 5, 8, 32946, 32773, 34925, 34926, 50000)  # none, CCITT, LZW, deflate, PackBits, LZMA, Zstandard
MAX_CHANNELS = 64
MAX_PAGES = 1000  # looked at to find the picture and to count the others
ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}


@dataclass(frozen=True, slots=True)
class Extra:
    """The channels behind those of colour."""

    alpha: int | None  # index of the channel that is alpha
    is_premultiplied: bool
    others: tuple[int, ...]  # indices of those that are no alpha


def read_tiff(data: bytes, name: str) -> Pixels:
    """The first picture of a TIFF's bytes that is neither a thumbnail nor a mask; `orientation` is still to be applied.

    WhiteIsZero is inverted, a palette applied, alpha divided out of the colour; CMYK, Lab and YCbCr become RGB (sRGB
    where there was a profile of another model, which is then left out). Gray of 1, 2 and 4 bit becomes 8 bit.

    Raises:
        InputError: damaged, cut short, too large, a number type or colour model or compression that is not read, HDR.
    """
    with decoder_errors(name, "TIFF"), tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = _pages_of(file)
        page = _picture_among(pages)
        _check_page(page, data, name)
        icc = page.iccprofile
        refuse_hdr(profile_transfer(icc), name)
        return _page_pixels(page, data, icc, _notes_on_pages(page, pages))


def picture_page(file: tifffile.TiffFile) -> TiffPage:
    """The page that `read_tiff` reads. Raises ValueError where there is none."""
    return _picture_among(_pages_of(file))


def _picture_among(pages: Sequence[TiffPage]) -> TiffPage:
    return next((page for page in pages if _is_full_picture(page)), pages[0])


def _pages_of(file: tifffile.TiffFile) -> list[TiffPage]:
    """All pages that hold pixels, each followed by its sub-directories."""
    pages: list[TiffPage] = []
    for index in range(min(len(file.pages), MAX_PAGES)):
        page = file.pages[index]
        if not isinstance(page, TiffPage):
            page = page.aspage()
        pages.append(page)
        if page.subifds and len(pages) < MAX_PAGES:
            pages += [below.aspage() for below in page.pages or ()]
    if not pages:
        raise ValueError("no page in it")
    return pages


def _is_full_picture(page: TiffPage) -> bool:
    """Neither a smaller version of another page nor a mask, by either tag for it."""
    if SUBFILE in page.tags:
        return not int(page.tags[SUBFILE].value) & (REDUCED | MASK)
    old = page.tags.get(OLD_SUBFILE)
    return old is None or int(old.value) != OLD_REDUCED


def _notes_on_pages(page: TiffPage, pages: Sequence[TiffPage]) -> list[str]:
    others = sum(1 for each in pages if each is not page and _is_full_picture(each))
    left_out = "1 more page is" if others == 1 else f"{others} more pages are"
    return [f"only the first picture of this file is restored: {left_out} left out"] if others else []


def _check_page(page: TiffPage, data: bytes, name: str) -> None:
    """Refuses what is not read, before memory is taken. Raises InputError."""
    check_size(page.imagewidth, page.imagelength, name)
    channels = page.samplesperpixel
    if not 1 <= channels <= MAX_CHANNELS or page.imagedepth != 1:
        raise InputError(f"{name}: a TIFF of {channels} channels and {page.imagedepth} layers is not supported")
    check_size(page.imagewidth, page.imagelength, name, bytes_per_pixel=NEEDED + 4 * channels)
    photometric = _photometric(page)
    if photometric not in N_COLOURS or photometric == CMYK and _ink_set(page) != 1:
        model = "inks other than CMYK" if photometric == CMYK else _enum_name(PHOTOMETRIC, photometric)
        raise InputError(f"{name}: TIFFs of the colour model {model} are not supported")
    if channels < N_COLOURS[photometric]:
        raise ValueError(f"{channels} channels are too few for its colour model")
    if page.compression not in (*PLAIN, *JPEGS, *OWN_SIZE):
        compression = _enum_name(COMPRESSION, page.compression)
        raise InputError(f"{name}: TIFFs of the compression {compression} are not supported")
    _check_numbers(page, photometric, name)
    _check_segments(page, data)


def _check_numbers(page: TiffPage, photometric: int, name: str) -> None:
    """Raises InputError for sample types that are not read."""
    bits, kind = page.bitspersample, page.sampleformat
    if kind not in (1, 4):
        raise InputError(f"{name}: {bits}-bit {SAMPLE_FORMATS.get(kind, 'unknown')} TIFFs are not supported")
    small = (1, 2, 4) if photometric in (*GRAY, PALETTE) and page.samplesperpixel == 1 else ()
    if bits not in (8, 16, *small):
        raise InputError(f"{name}: TIFFs of {bits} bits a channel are not supported, only 8 and 16 (gray also 1, 2, 4)")


def _check_segments(page: TiffPage, data: bytes) -> None:
    """Raises ValueError where strips or tiles are missing or cut short: they would be read as black."""
    tags = page.tags
    offsets = _numbers(tags.get(324) or tags.get(273))  # of tiles, of strips: as stored, for tifffile mends them
    counts = _numbers(tags.get(325) or tags.get(279)) or page.databytecounts
    if page.is_contiguous and len(offsets) == 1 and not page.is_subsampled:
        counts = (page.nbytes,)  # old writers store another number, which needs none
    expected = int(np.prod(page.chunked))
    if len(offsets) < expected or len(counts) < expected:
        raise ValueError(f"{len(offsets)} of {expected} strips or tiles are in it")
    for offset, count in zip(offsets[:expected], counts[:expected], strict=True):
        if count <= 0 or offset <= 0 or offset + count > len(data):
            raise ValueError("cut short, strips or tiles are missing")
        if page.compression in OWN_SIZE:
            _check_own_size(data[offset : offset + count], page)


def _numbers(tag: tifffile.TiffTag | None) -> tuple[int, ...]:
    value = () if tag is None else tag.value
    return tuple(value) if isinstance(value, tuple) else (int(value),)


def _check_own_size(segment: bytes, page: TiffPage) -> None:
    """Raises ValueError where a strip or tile that is a file of its own says that it is larger than its place."""
    if page.compression in JPEG_XLS:
        header = jxl_header(segment)
        width, height = header.width, header.height
    else:
        with Pillow.open(io.BytesIO(segment), formats=("JPEG2000", "PNG", "WEBP")) as picture:
            width, height = picture.size
    place = page.tilelength * page.tilewidth if page.is_tiled else page.rowsperstrip * page.imagewidth
    if width * height > place:
        raise ValueError("a strip or tile that is larger than its place")


def _page_pixels(page: TiffPage, data: bytes, icc: bytes | None, notes: list[str]) -> Pixels:
    photometric = _photometric(page)
    samples = _page_samples(page, data)
    n_colours = min(N_COLOURS[photometric], samples.shape[2])
    extra = _extra_of(page, n_colours, samples.shape[2])
    if extra.others:
        notes.append(_note_on_channels(extra.others))
    colour = cast(Samples, samples[..., :n_colours])
    alpha = None if extra.alpha is None else plane_of(samples, extra.alpha)
    if alpha is not None and extra.is_premultiplied:
        colour = divided_by(colour, alpha, top=int(np.iinfo(samples.dtype).max))
    rgb = _rgb_of(page, colour, icc, notes)
    is_gray = photometric in GRAY
    kept, told = (None, ()) if photometric in (CMYK, CIELAB, ICCLAB) else fitting_profile(icc, is_gray)
    orientation = page.tags.get(ORIENTATION_TAG)
    turn = int(orientation.value) if orientation is not None and orientation.value in range(1, 9) else NOT_TURNED
    return Pixels(
        image=as_bgr(rgb),
        alpha=alpha,
        is_gray=is_gray,
        icc=kept,
        orientation=turn,
        bits=page.bitspersample,
        notes=(*notes, *told),
    )


def _page_samples(page: TiffPage, data: bytes) -> Samples:
    """All channels, side by side for each pixel, in the machine's byte order; palette indices as they are."""
    if page.is_subsampled and page.compression not in JPEGS:
        return subsampled_ycbcr(page, data)
    planes = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # (planes, H, W, channels of a plane)
    samples = planes[0] if planes.shape[0] == 1 else np.moveaxis(planes[..., 0], 0, -1)
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8)
    bits = page.bitspersample
    if bits < 8 and _photometric(page) in GRAY:
        samples = samples * np.uint8(255 // ((1 << bits) - 1))
    return cast(Samples, np.ascontiguousarray(samples).astype(samples.dtype.newbyteorder("="), copy=False))


def _photometric(page: TiffPage) -> int:
    return int(page.photometric)


def _ink_set(page: TiffPage) -> int:
    tag = page.tags.get(INK_SET)
    return 1 if tag is None else int(tag.value)


def _enum_name(words: type[COMPRESSION] | type[PHOTOMETRIC], value: int) -> str:
    try:
        return words(value).name
    except ValueError:
        return str(int(value))


def _extra_of(page: TiffPage, n_colours: int, n_channels: int) -> Extra:
    """Alpha is the first extra channel that the file says is alpha; one without a word on it is not."""
    types = {n_colours + i: int(kind) for i, kind in enumerate(page.extrasamples)}
    further = range(n_colours, n_channels)
    alpha = next((i for i in further if types.get(i) in (ASSOCIATED, UNASSOCIATED)), None)
    others = tuple(i for i in further if i != alpha)
    return Extra(alpha, alpha is not None and types[alpha] == ASSOCIATED, others)


def _note_on_channels(others: tuple[int, ...]) -> str:
    if len(others) > 1:
        return f"{len(others)} more channels (unspecified, for instance infrared) are left out"
    place = ORDINALS.get(others[0] + 1, f"{others[0] + 1}th")
    return f"its {place} channel (unspecified, for instance infrared; no alpha) is left out"


def _rgb_of(page: TiffPage, colour: Samples, icc: bytes | None, notes: list[str]) -> Samples:
    """(H, W, 1) gray or (H, W, 3) RGB of (H, W, C) channels in the page's colour model; conversions are noted."""
    photometric = _photometric(page)
    if photometric == 0:
        return cast(Samples, np.iinfo(colour.dtype).max - colour)
    if photometric == PALETTE:
        return _by_palette(page, colour)
    if photometric == CMYK:
        has_profile = profile_space(icc) == "CMYK"
        notes.append("converted from CMYK to sRGB" + ("" if has_profile else ", without a profile"))
        return cmyk_to_rgb(colour, icc if has_profile else None)
    if photometric in (CIELAB, ICCLAB):
        notes.append("converted from Lab to sRGB")
        return lab_to_rgb(colour, is_icc_encoding=photometric == ICCLAB)
    if photometric == YCBCR and page.compression not in JPEGS:
        return ycbcr_to_rgb(colour, _fractions(page, 529), _fractions(page, 532))
    return colour


def _by_palette(page: TiffPage, indices: Samples) -> Samples:
    """Colours of 16 bit are stored as 8 bit times 257 or 256; the high byte is right for both."""
    table = np.asarray(page.tags[COLOR_MAP].value, np.uint16).reshape(3, -1)
    colours = (table if table.max() < 256 else table >> 8).astype(np.uint8).T  # (N, 3)
    if indices.max() >= len(colours):
        raise ValueError("a colour that its palette has not")
    return np.ascontiguousarray(colours[indices[..., 0]])


def _fractions(page: TiffPage, tag: int) -> tuple[float, ...] | None:
    """The values of a tag of fractions, stored as numerator and denominator one after another."""
    if tag not in page.tags:
        return None
    numbers = np.ravel(page.tags[tag].value).astype(float)
    return tuple(_quotients(numbers.tolist()))


def _quotients(numbers: Sequence[float]) -> Iterator[float]:
    for over, under in zip(numbers[::2], numbers[1::2], strict=True):
        if not under:
            raise ValueError("a fraction with a zero denominator")
        yield over / under
