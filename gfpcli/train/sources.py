"""Where training pictures are read from, by file name: a folder, or an LMDB in the layout of BasicSR."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import lmdb
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import InputError
from gfpcli.photo.codec import decode_frame, read_frame
from gfpcli.photo.inputs import find_images
from gfpcli.pipeline.align import to_8_bit

META = "meta_info.txt"  # BasicSR: one line a picture, "name.png (height,width,channels) compression"


class PictureSource(Protocol):
    """Pictures that are read by name."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def read(self, name: str) -> NDArray[np.uint8]:
        """(H, W, 3) BGR. Raises InputError, which names the picture."""
        ...


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The images of a folder and its subfolders; names are relative paths."""

    folder: Path
    names: tuple[str, ...]

    def read(self, name: str) -> NDArray[np.uint8]:
        return to_8_bit(read_frame(self.folder / name, 0).image)


@dataclass(frozen=True, slots=True)
class LmdbSource:
    """An LMDB of encoded images; the key of a picture is its name without suffix. Opened for each read: an open LMDB
    cannot be sent to the data processes."""

    folder: Path
    names: tuple[str, ...]

    def read(self, name: str) -> NDArray[np.uint8]:
        try:
            with lmdb.open(str(self.folder), readonly=True, lock=False, readahead=False) as base, base.begin() as view:
                data = view.get(Path(name).with_suffix("").as_posix().encode())
        except lmdb.Error as error:
            raise InputError(f"{self.folder}: {error}") from error
        if data is None:
            raise InputError(f"{self.folder}: holds no {name}, though {META} lists it")
        return to_8_bit(decode_frame(bytes(data), f"{self.folder}: {name}", 0).image)


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
