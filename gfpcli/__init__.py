"""gfpcli: restore faces in photos. Importing this package loads neither torch nor numpy."""

from importlib import import_module
from typing import TYPE_CHECKING

from gfpcli.errors import GfpError

if TYPE_CHECKING:
    from gfpcli.types import Affine, Crop, Face, Frame, Image, Restored

__version__ = "0.1.0"

__all__ = ["Affine", "Crop", "Face", "Frame", "GfpError", "Image", "Restored", "__version__"]


def __getattr__(name: str) -> object:
    """The types, when they are first asked for: numpy would be a fifth of the time that `gfp --help` takes."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("gfpcli.types"), name)
