"""Camera raw."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

from gfpcli.errors import InputError
from gfpcli.photo.raw import read_raw
from tests.photo.made_bytes import ASCII, BYTE, LONG, SHORT, directory, layout, tiff


def dng(size: int = 64, level: int = 60000) -> bytes:
    """A DNG with an 8-pixel thumbnail first and a sensor's picture of red behind it."""
    thumbnail = np.full((8, 8, 3), 9, np.uint8)
    sensor = np.zeros((size, size), np.uint16)
    sensor[::2, ::2] = level
    first = {
        **layout(thumbnail, 2),
        254: (LONG, [1]),
        271: (ASCII, b"Test\0"),
        272: (ASCII, b"Test\0"),
        274: (SHORT, [1]),
        330: (LONG, [0]),
        50706: (BYTE, bytes([1, 4, 0, 0])),
        50708: (ASCII, b"Test\0"),
    }
    at = len(tiff(first, thumbnail.tobytes()))
    cfa = {**layout(sensor, 32803), 254: (LONG, [0]), 33421: (SHORT, [2, 2]), 33422: (BYTE, bytes([0, 1, 1, 2]))}
    below = directory({**cfa, 273: (LONG, [0]), 279: (LONG, [sensor.nbytes])}, at)
    below = directory({**cfa, 273: (LONG, [at + len(below)]), 279: (LONG, [sensor.nbytes])}, at)
    return tiff({**first, 330: (LONG, [at])}, thumbnail.tobytes()) + below + sensor.tobytes()


def test_the_sensor_s_picture_is_developed_never_the_thumbnail() -> None:
    pytest.importorskip("rawpy")
    found = read_raw(dng(), "a.dng", "camera raw (DNG)")
    assert found.image.shape == (64, 64, 3) and found.image.dtype == np.uint16 and found.orientation == 1
    blue, green, red = found.image[16:48, 16:48].reshape(-1, 3).mean(axis=0)
    assert red > 2 * max(blue, green)


def test_a_dark_picture_stays_dark() -> None:
    pytest.importorskip("rawpy")
    dark, bright = (read_raw(dng(level=level), "a.dng").image[16:48, 16:48, 2].mean() for level in (6000, 60000))
    assert dark < bright / 2


@pytest.mark.parametrize("data", [b"", b"II*\0", dng()[:300]])
def test_what_cannot_be_developed_names_its_kind(data: bytes) -> None:
    pytest.importorskip("rawpy")
    with pytest.raises(InputError, match=r"a.nef: .*camera raw \(NEF\)"):
        read_raw(data, "a.nef", "camera raw (NEF)")


def test_without_the_extra_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "rawpy":
            raise ImportError(name)
        return plain(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"a.nef: camera raw \(NEF\): pip install 'gfpcli\[raw\]'"):
        read_raw(b"", "a.nef", "camera raw (NEF)")


@pytest.mark.parametrize("name", ["DSC_0001.NEF", "IMG_0001.DNG"])
def test_the_reported_files_never_give_their_thumbnail(shared_data: Path, name: str) -> None:
    pytest.importorskip("rawpy")
    path = shared_data / "reports" / name
    if not path.is_file():
        pytest.skip("reports not present")
    try:
        found = read_raw(path.read_bytes(), name, "camera raw")
    except InputError as error:
        assert "camera raw" in str(error)
    else:
        assert min(found.image.shape[:2]) > 200
