"""Licences of networks of other origins: non-commercial ones are accepted by name, once, before the network is used.

The weights of gfp's own table and the built-in ones are not asked for: their licences are told wherever they are named.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gfpcli.errors import OutputError, WeightsError
from gfpcli.files.atomic import write_bytes
from gfpcli.weights.cache import BUILTINS, WEIGHTS, cache_folder
from gfpcli.weights.known_faces import CODEFORMER_LICENCE, known_faces

ACCEPTED = "accepted.json"  # in the cache folder: names of the licences that were accepted


def check_licence_of(path: Path, given: Sequence[str]) -> None:
    """A file that is known by its name.

    Args:
        given: licences accepted on the command line; kept for later runs.

    Raises:
        WeightsError: its licence is non-commercial and was not accepted.
    """
    is_ours = path in BUILTINS.values() or path.name in {weight.file for weight in WEIGHTS.values()}
    known = None if is_ours else known_faces(path)
    if known and known.accepted_as:
        _check_accepted(path, known.accepted_as, known.licence, given)


def check_architecture(path: Path, given: Sequence[str], architecture: str) -> None:
    """A checkpoint whose architecture comes from the package spandrel_extra_arches. Raises as `check_licence_of`."""
    if architecture == "CodeFormer":
        _check_accepted(path, "codeformer", CODEFORMER_LICENCE, given)
    else:
        licence = f"that of {architecture}, which spandrel_extra_arches holds as non-commercial or copyleft"
        _check_accepted(path, "spandrel-extra-arches", licence, given)


def _check_accepted(path: Path, name: str, licence: str, given: Sequence[str]) -> None:
    if name in given:
        with suppress(OutputError):  # then it is asked for again
            write_bytes(cache_folder() / ACCEPTED, json.dumps(sorted({*accepted_licences(), name})).encode())
    elif name not in accepted_licences():
        raise WeightsError(f"{path}: its licence is {licence}; where that suits you, give --accept-licence {name} once")


def accepted_licences() -> set[str]:
    """The names that were accepted in earlier runs."""
    try:
        known = json.loads((cache_folder() / ACCEPTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()  # none yet
    return {each for each in known if isinstance(each, str)} if isinstance(known, list) else set()
