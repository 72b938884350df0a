"""XMP files beside photos, in which programs keep what they do not write into the photo."""

from __future__ import annotations

from pathlib import Path

from gfpcli.photo.geometry import Placement
from gfpcli.photo.xmp import EditedXmp, edit_xmp

SIDECAR_SUFFIXES = (".xmp", ".XMP")


def sidecar_names(photo: Path) -> tuple[Path, ...]:
    """The names that a photo's sidecar can have: `a.xmp` (Adobe's) and `a.jpg.xmp` (darktable's, digiKam's)."""
    return tuple(base for suffix in SIDECAR_SUFFIXES for base in (photo.with_suffix(suffix), Path(f"{photo}{suffix}")))


def find_sidecars(photo: Path) -> tuple[Path, ...]:
    """The photo's sidecars that exist, each file once even where the disk ignores case."""
    found: dict[tuple[int, int], Path] = {}
    for path in sidecar_names(photo):
        if path != photo and path.is_file():
            facts = path.stat()
            found.setdefault((facts.st_dev, facts.st_ino), path)
    return tuple(found.values())


def sidecar_output(sidecar: Path, photo: Path, output: Path) -> Path:
    """Where the copy of a photo's sidecar belongs beside its output, by the same naming rule."""
    has_both = sidecar.name.startswith(f"{photo.name}.")
    return Path(f"{output}{sidecar.suffix}") if has_both else output.with_suffix(sidecar.suffix)


def edit_sidecar(data: bytes, placement: Placement, *, keeps_print_size: bool = True) -> EditedXmp:
    """The bytes of the copy: a sidecar is an XMP packet, corrected as `edit_xmp` does."""
    is_turned = placement.orientation != 1
    return edit_xmp(data, placement, resets_orientation=is_turned, keeps_print_size=keeps_print_size)
