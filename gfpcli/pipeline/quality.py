"""How blurred and noisy an aligned face is, and how much restoring it therefore needs."""

from __future__ import annotations

from dataclasses import dataclass

from gfpcli.types import Crop


@dataclass(frozen=True, slots=True)
class Quality:
    """Measured on the crop, in pixels of an aligned face of 256 px and grey levels of 255."""

    blur: float
    noise: float


def quality_of(crop: Crop) -> Quality:
    """Of an aligned face."""
    return Quality(0.0, 0.0)


def strength_for(quality: Quality) -> float:
    """0..1: how much of the network's face is wanted, where `--strength auto` leaves it to what is measured."""
    return 1.0
