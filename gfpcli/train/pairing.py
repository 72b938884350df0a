"""Which restored picture is compared with which reference."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from gfpcli.errors import InputError
from gfpcli.photo.inputs import find_images


@dataclass(frozen=True, slots=True)
class Pairing:
    """Restored pictures with their references; None where there are to be none."""

    pairs: list[tuple[Path, Path | None]]
    notes: list[str] = field(default_factory=list)  # a line for each pair that agrees in its stem only
    lonely: list[str] = field(default_factory=list)  # a line for each picture that has no other, or several


def pairs_of(restored: Path, reference: Path | None) -> Pairing:
    """Two files, or the files of the same name in two folders; where there is none, of the same stem.

    Raises:
        InputError: a path does not exist or holds no images.
    """
    if reference is None:
        return Pairing([(path, None) for path, _ in find_images([str(restored)], None)])
    if restored.is_file() and reference.is_file():
        return Pairing([(restored, reference)])
    if restored.is_file() or reference.is_file():
        raise InputError(f"{restored} and {reference}: give two pictures or two folders")
    by_name, by_stem = {}, defaultdict(list)
    for path, relative in find_images([str(reference)], None):
        by_name[relative] = path
        by_stem[relative.with_suffix("")].append(path)
    found, stems = Pairing([]), set()
    for path, relative in find_images([str(restored)], None):
        stem = relative.with_suffix("")
        stems.add(stem)
        others = [by_name[relative]] if relative in by_name else by_stem.get(stem, [])
        if not others:
            found.lonely.append(f"{path}: no picture of that name in {reference}")
        elif len(others) > 1:
            names = ", ".join(other.name for other in others)
            found.lonely.append(f"{path}: several pictures of that name in {reference}: {names}")
        else:
            found.pairs.append((path, others[0]))
            if relative not in by_name:
                found.notes.append(f"{path}: compared with {others[0]}, which has another suffix")
    missing = [path for stem, paths in by_stem.items() if stem not in stems for path in paths]
    found.lonely.extend(f"{path}: no picture of that name in {restored}" for path in missing)
    return found
