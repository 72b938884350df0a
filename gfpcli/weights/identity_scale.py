"""How alike pairs of faces are to an identity network: the tables in the file beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gfpcli.errors import CheckpointError
from gfpcli.pipeline.identity import UNSCALED, IdentityScale
from gfpcli.weights.choose import SCALE


def read_scale(weights: Path) -> IdentityScale:
    """The scale in the file beside the weights; UNSCALED where there is none. Raises CheckpointError."""
    path = weights.with_suffix(SCALE)
    if not path.is_file():
        return UNSCALED
    try:
        return scale_in(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: not the scale of an identity network ({error})") from error


def scale_in(tables: Mapping[str, Any]) -> IdentityScale:
    """The scale that the tables `same` and `different` give. Raises KeyError, TypeError and ValueError."""
    scale = IdentityScale(*(tuple(map(float, tables[name])) for name in ("same", "different")))
    if any(len(table) < 2 or list(table) != sorted(table) for table in (scale.same, scale.different)):
        raise ValueError("its tables must rise")
    return scale
