"""Files that are broken or made to harm: each gives a picture or a reason, soon, and within bounds."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from gfpcli.errors import CheckpointError, InputError
from gfpcli.files.kinds import kind_of_file
from gfpcli.model.checkpoint import load_face_net
from gfpcli.photo.codec import decode_frame, decode_photo, read_frame
from gfpcli.photo.encode import encode_photo
from tests.fuzz.seeds import images

FOUND = Path(__file__).parent / "fuzz" / "found"
LIMIT_S = 10.0
HUGE = 30_000


def tried(data: bytes, name: str = "bad") -> str | None:
    """None for a picture that can be written in every format, else the reason; within the time limit."""
    start = time.process_time()
    try:
        photo = decode_photo(data, name, 0)
        for kind in ("JPEG", "PNG", "TIFF"):
            encode_photo(photo, photo.frame.image, photo.frame.alpha, kind, quality="90")
        reason = None
    except InputError as error:
        reason = str(error)
        assert reason.startswith(f"{name}: ") and len(reason) > len(name) + 4 and "\n" not in reason
    assert time.process_time() - start < LIMIT_S, name
    return reason


def damaged() -> Iterator[tuple[str, bytes]]:
    """Files of every format and mode, cut at every class of length, with bits turned, bytes put in, or doubled."""
    draw = random.Random(7)
    for name, data in images():
        for length in {0, 1, 2, 4, 8, 12, len(data) // 4, len(data) // 2, len(data) - 9, len(data) - 1}:
            yield f"{name} cut to {length}", data[: max(0, length)]
        for i in range(12):
            bad = bytearray(data)
            for _ in range(draw.choice((1, 1, 2, 8, 40))):
                bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
            yield f"{name} with bits turned, {i}", bytes(bad)
        at = draw.randrange(len(data))
        yield f"{name} with 9 bytes put in", data[:at] + draw.randbytes(9) + data[at:]
        yield f"{name} twice", data + data
        yield f"{name} with a header of 255", b"\xff" * 16 + data[16:]


@pytest.mark.filterwarnings("ignore")
def test_thousands_of_damaged_files_give_a_picture_or_a_reason() -> None:
    reasons = [tried(data, name) for name, data in damaged()]
    n_refused = sum(reason is not None for reason in reasons)
    assert len(reasons) > 4000 and 1500 < n_refused < len(reasons) - 500, (len(reasons), n_refused)


@pytest.mark.parametrize("path", sorted((FOUND / "images").iterdir()), ids=lambda path: path.name)
def test_images_that_fuzzing_found(path: Path) -> None:
    tried(path.read_bytes())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted((FOUND / "weights").iterdir()), ids=lambda path: path.name)
def test_weights_that_fuzzing_found(path: Path) -> None:
    """Damaged checkpoints, each named after the exception that torch or safetensors raise for it."""
    with pytest.raises(CheckpointError) as raised:
        load_face_net(path)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def png(width: int, height: int, rows: bytes, depth: int = 1, colour: int = 0) -> bytes:
    """A PNG that says what it likes about its size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def declared() -> dict[str, bytes]:
    """Small files that say they are huge."""
    bomb = zlib.compress(bytes(HUGE // 8 * HUGE + HUGE), 9)
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + b"\0" * 6
    gif += b"," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x02\x02D\x01\0;"
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, HUGE, HUGE, 1, 24, 0, 0, 0, 0, 0, 0)
    jpeg = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 65000, 65000, 3) + b"\1\x11\0\2\x11\0\3\x11\0\xff\xd9"
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((4, 4), np.uint8))
    tiff = bytearray(out.getvalue())
    for tag in (256, 257):
        at = tiff.index(struct.pack("<HHI", tag, 3, 1)) if struct.pack("<HHI", tag, 3, 1) in tiff else -1
        at = at if at >= 0 else tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff[at : at + 12] = struct.pack("<HHII", tag, 4, 1, HUGE)
    ppm = b"P6 30000 30000 255\n"
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xff\xff\xff" * 2
    return {
        "bomb.png": png(HUGE, HUGE, bomb), "wide.png": png(2**31 - 1, 1, b"", 8, 2), "empty.png": png(0, 0, b""),
        "deep.png": png(HUGE, HUGE, b"", 16, 6), "a.gif": gif, "a.bmp": bmp, "a.jpg": jpeg, "a.tif": bytes(tiff),
        "a.ppm": ppm, "a.webp": webp,
    }  # fmt: skip


def test_a_declared_size_takes_no_memory_and_no_time(tmp_path: Path) -> None:
    """In a process that may take 1.5 GB: what is refused was refused before it was unpacked."""
    for name, data in declared().items():
        (tmp_path / name).write_bytes(data)
    code = (
        "import sys, time, resource; from pathlib import Path\n"
        "from gfpcli.photo.codec import read_frame; from gfpcli.errors import InputError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2)\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    start = time.process_time()\n"
        "    try: read_frame(path, 0); print(path.name, 'read')\n"
        "    except InputError as error: print(error)\n"
        "    assert time.process_time() - start < 2, path\n"
    )
    settings = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=settings)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 10 and not any(line.endswith("read") for line in lines), done
    assert sum("more than 250000000 pixels" in line or "exceeds limit" in line for line in lines) >= 5, lines
    assert not any("MemoryError" in line for line in lines)


def test_what_is_no_picture_at_all_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, told in ((tmp_path / "sparse.jpg", "larger than any picture"), (tmp_path / "pipe.jpg", "not a file"),
                       (tmp_path, "not a file"), (tmp_path / "gone", "No such file")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            read_frame(path, 0)


def test_no_memory_for_a_picture_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    Pillow.new("RGB", (100, 100)).save(out, "PNG")
    with monkeypatch.context() as small:
        small.setattr("gfpcli.memory.free_memory", lambda: 100_000)
        assert "not enough memory for 100x100 pixels: it needs about" in str(tried(out.getvalue()))
    with monkeypatch.context() as none:
        none.setattr(Pillow.Image, "load", lambda *_: bytearray(1 << 60))
        assert "not enough memory to decode it" in str(tried(out.getvalue()))
    assert tried(out.getvalue()) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 2)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_odd_sizes_and_modes_are_read(mode: str, size: tuple[int, int]) -> None:
    out = io.BytesIO()
    Pillow.new(mode, size).save(out, "TIFF")
    frame = decode_frame(out.getvalue(), "odd", 0)
    assert frame.image.shape == (size[1], size[0], 3) and (frame.alpha is not None) == ("A" in mode)


def test_float_is_refused_with_a_reason() -> None:
    out = io.BytesIO()
    Pillow.new("F", (4, 4)).save(out, "TIFF")
    assert "floating-point" in str(tried(out.getvalue()))
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((4, 4, 3), np.float32), photometric="rgb")
    assert tried(out.getvalue()) is not None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_and_profile_never_refuse_a_picture(kind: str) -> None:
    draw = random.Random(3)
    picture = Pillow.new("RGB", (32, 24), (90, 120, 30))
    exif = picture.getexif()
    exif[0x010E] = "caption"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    whole = exif.tobytes()
    n_told = 0
    for _ in range(150):
        bad = bytearray(whole[: draw.choice((7, 20, len(whole), len(whole)))])
        for _ in range(draw.randint(1, 8)):
            bad[draw.randrange(6, len(bad))] = draw.randrange(256)
        out = io.BytesIO()
        picture.save(out, kind, exif=bytes(bad), icc_profile=draw.randbytes(40))
        photo = decode_photo(out.getvalue(), "photo", 0)
        assert sorted(photo.frame.image.shape) == [3, 24, 32]
        for target in ("JPEG", "PNG", "WEBP", "TIFF"):
            encoded = encode_photo(photo, photo.frame.image, None, target)
            n_told += any("profile" in note for note in encoded.notes)
    assert n_told == 150 * 4, "the profile is damaged in each"


def test_what_a_camera_writes_is_kept_in_tiff_too() -> None:
    """Directories inside EXIF broke compressed TIFF."""
    picture = Pillow.new("RGB", (32, 24))
    exif = picture.getexif()
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    out = io.BytesIO()
    picture.save(out, "JPEG", exif=exif.tobytes())
    photo = decode_photo(out.getvalue(), "photo", 0)
    encoded = encode_photo(photo, photo.frame.image, None, "TIFF")
    assert encoded.notes == ()
    with Pillow.open(io.BytesIO(encoded.data)) as again:
        assert again.getexif().get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"


def test_files_that_start_programs_are_no_images(tmp_path: Path) -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    (tmp_path / "a.jpg").write_bytes(postscript)
    assert kind_of_file(tmp_path / "a.jpg").role == "unread picture"
    assert "EPS: pictures of this kind are not read" in str(tried(postscript))
