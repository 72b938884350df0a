"""Reading and writing files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import PngImagePlugin

from gfpcli.errors import InputError
from gfpcli.photo.codec import read_frame, size_of, write_image
from gfpcli.types import Frame, Metadata


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_all_come_out_upright(shared_data: Path, orientation: int) -> None:
    odd = shared_data / "photos" / "odd"
    upright = read_frame(odd / "exif_orientation_1.jpg", 0).image.astype(float)
    image = read_frame(odd / f"exif_orientation_{orientation}.jpg", 0).image
    assert image.shape == upright.shape
    assert np.abs(image - upright).mean() < 6


@pytest.mark.parametrize(
    ("name", "dtype", "has_alpha", "is_gray"),
    [
        ("rgb16.png", np.uint16, False, False),
        ("rgba16.png", np.uint16, True, False),
        ("gray16.png", np.uint16, False, True),
        ("gray8.jpg", np.uint8, False, True),
        ("gray_alpha8.png", np.uint8, True, True),
    ],
)
def test_depth_alpha_and_gray_survive_a_round_trip(
    shared_data: Path, tmp_path: Path, name: str, dtype: type, has_alpha: bool, is_gray: bool
) -> None:
    frame = read_frame(shared_data / "photos" / "odd" / name, 0)
    write_image(tmp_path / name, frame.image, frame, alpha=frame.alpha, quality=95, strip=False)
    again = read_frame(tmp_path / name, 0)
    for each in (frame, again):
        assert (each.image.dtype, each.alpha is not None, each.is_gray) == (dtype, has_alpha, is_gray)
    if name.endswith("png"):
        assert (again.image == frame.image).all()


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_metadata_survives(tmp_path: Path, kind: str) -> None:
    picture = Pillow.new("RGB", (16, 8))
    exif = picture.getexif()
    exif[0x0112], exif[0x010E] = 6, "a caption"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>caption</x:xmpmeta>"
    extra: dict[str, object] = {"xmp": xmp} if kind in ("jpg", "webp") else {}
    if kind == "png":
        extra["pnginfo"] = PngImagePlugin.PngInfo()
        extra["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())  # type: ignore[attr-defined]
    if kind != "webp":
        extra["dpi"] = (300, 300)
    picture.save(tmp_path / f"in.{kind}", exif=exif.tobytes(), icc_profile=b"profile" * 30, **extra)
    frame = read_frame(tmp_path / f"in.{kind}", 0)
    assert frame.image.shape == (16, 8, 3)
    write_image(tmp_path / f"out.{kind}", frame.image, frame, alpha=None, quality=95, strip=False)
    with Pillow.open(tmp_path / f"out.{kind}") as written:
        assert written.size == (8, 16)
        assert written.getexif()[0x010E] == "a caption"
        assert written.getexif().get(0x0112, 1) == 1
        assert written.info["icc_profile"] == b"profile" * 30
        if kind != "webp":
            assert round(written.info["dpi"][0]) == 300
        if kind != "tif":
            kept = written.info.get("xmp") or written.info.get("XML:com.adobe.xmp")
            assert b"caption" in (kept.encode() if isinstance(kept, str) else kept)
    write_image(tmp_path / f"bare.{kind}", frame.image, frame, alpha=None, quality=95, strip=True)
    with Pillow.open(tmp_path / f"bare.{kind}") as bare:
        assert 0x010E not in bare.getexif() and "icc_profile" not in bare.info


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_keeps_profile_and_resolution(tmp_path: Path, kind: str) -> None:
    deep = np.arange(48, dtype=np.uint16).reshape(4, 4, 3) * 1300
    facts = Metadata(icc=b"profile" * 30, dpi=(300.0, 300.0), xmp=b"<xmp/>")
    frame = Frame(0, deep, "deep", metadata=facts)
    write_image(tmp_path / f"out.{kind}", deep, frame, alpha=None, quality=95, strip=False)
    again = read_frame(tmp_path / f"out.{kind}", 0)
    assert (again.image == deep).all()
    assert again.metadata.icc == facts.icc and again.metadata.dpi is not None
    assert kind == "png" or again.metadata.xmp == facts.xmp
    assert round(again.metadata.dpi[0]) == 300


@pytest.mark.parametrize("data", [b"", b"some text", b"\xff\xd8\xff\xe0 cut"])
def test_what_is_no_image_gets_one_line_with_its_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match="bad.jpg") as caught:
        read_frame(path, 0)
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gfpcli.errors import OutputError

    Pillow.new("RGB", (8, 8)).save(tmp_path / "in.png")
    frame = read_frame(tmp_path / "in.png", 0)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="No space"):
        write_image(tmp_path / "out" / "x.png", frame.image, frame, alpha=None, quality=95, strip=False)
    assert not list((tmp_path / "out").iterdir())


def test_the_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    picture = Pillow.new("RGB", (20, 10))
    for orientation in range(1, 9):
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(tmp_path / "turned.jpg", exif=exif.tobytes())
        assert size_of(tmp_path / "turned.jpg") == ((10, 20) if orientation < 5 else (20, 10))
        assert size_of(tmp_path / "turned.jpg") == read_frame(tmp_path / "turned.jpg", 0).image.shape[:2]
    picture.save(tmp_path / "plain.png")
    assert size_of(tmp_path / "plain.png") == (10, 20)
    (tmp_path / "bad.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match=r"bad\.jpg"):
        size_of(tmp_path / "bad.jpg")


def test_a_deep_png_whose_chunk_lies_about_its_length_is_refused(tmp_path: Path) -> None:
    """Any chunk, not the first one only."""
    deep = np.arange(48, dtype=np.uint16).reshape(4, 4, 3)
    path = tmp_path / "deep.png"
    write_image(path, deep, Frame(0, deep, "deep"), alpha=None, quality=95, strip=False)
    whole = path.read_bytes()
    at = whole.index(b"IDAT") - 4
    path.write_bytes(whole[:at] + (1 << 30).to_bytes(4, "big") + whole[at + 4 :])
    with pytest.raises(InputError, match=r"deep\.png"):
        read_frame(path, 0)
