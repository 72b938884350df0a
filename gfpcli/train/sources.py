"""Where training pictures are read from, by file name: a folder, or an LMDB in the layout of BasicSR."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import lmdb
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import InputError
from gfpcli.photo.codec import decode_frame, read_frame
from gfpcli.photo.inputs import find_images
from gfpcli.pipeline.align import to_8_bit

STAMPED = 4096  # bytes
T = TypeVar("T")
META = "meta_info.txt"  # BasicSR: one line a picture, "name.png (height,width,channels) compression"


class PictureSource(Protocol):
    """Pictures that are read by name."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def read(self, name: str) -> NDArray[np.uint8]:
        """(H, W, 3) BGR. Raises InputError, which names the picture."""
        ...

    def stamp(self, name: str) -> tuple[int, ...]:
        """What changes with the picture, as far as it can be told without reading it; empty where it is not there."""
        ...


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The images of a folder and its subfolders; names are relative paths."""

    folder: Path
    names: tuple[str, ...]

    def read(self, name: str) -> NDArray[np.uint8]:
        return to_8_bit(read_frame(self.folder / name, 0).image)

    def stamp(self, name: str) -> tuple[int, ...]:
        """Size, bytes, and date of the last change, ns."""
        try:
            facts = (self.folder / name).stat()
        except OSError:
            return ()
        return facts.st_size, facts.st_mtime_ns


@dataclass(frozen=True, slots=True)
class LmdbSource:
    """An LMDB of encoded images; the key of a picture is its name without suffix. Opened for each read: an open LMDB
    cannot be sent to the data processes."""

    folder: Path
    names: tuple[str, ...]

    def read(self, name: str) -> NDArray[np.uint8]:
        data = self._get(name, bytes)
        if data is None:
            raise InputError(f"{self.folder}: holds no {name}, though {META} lists it")
        return to_8_bit(decode_frame(data, f"{self.folder}: {name}", 0).image)

    def stamp(self, name: str) -> tuple[int, ...]:
        """Size of the encoded picture, bytes, and the CRC-32 of its beginning: all of it would have to be read."""
        return self._get(name, lambda data: (len(data), zlib.crc32(data[:STAMPED]))) or ()

    def _get(self, name: str, take: Callable[[memoryview], T]) -> T | None:
        """What `take` makes of an encoded picture, which may not be used later; None where it is not there."""
        key = Path(name).with_suffix("").as_posix().encode()
        try:
            with (
                lmdb.open(str(self.folder), readonly=True, lock=False, readahead=False) as base,
                base.begin(buffers=True) as view,
            ):
                data = view.get(key)
                return None if data is None else take(data)
        except lmdb.Error as error:
            raise InputError(f"{self.folder}: {error}") from error


def open_source(path: Path, *, besides: Path | None = None) -> PictureSource:
    """The pictures of a folder or an LMDB, without those in the folder `besides`.

    Raises:
        InputError: the path does not exist, or holds no images.
    """
    if path.suffix == ".lmdb" and path.is_dir():
        try:
            lines = (path / META).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path / META}: cannot be read, an LMDB by BasicSR has it") from error
        names = tuple(sorted(line.split(" ")[0] for line in lines if line.strip()))
        if not names:
            raise InputError(f"{path}: {META} lists no pictures")
        return LmdbSource(path, names)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    return FolderSource(path, tuple(relative.as_posix() for _, relative in find_images([str(path)], besides)))
