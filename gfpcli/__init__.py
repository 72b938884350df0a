"""gfpcli: restore faces in photos. Importing this package loads neither torch nor numpy."""

from importlib import import_module
from typing import TYPE_CHECKING

from gfpcli.errors import GfpError

if TYPE_CHECKING:
    from gfpcli.api import RestoredFace, RestoredImage, restore_image
    from gfpcli.options import RestoreOptions
    from gfpcli.pipeline.restorer import Restorer
    from gfpcli.types import Affine, Crop, Face, FaceRecord, Frame, Image, Restored
    from gfpcli.weights.build import load_restorer

__version__ = "0.1.0"

__all__ = [
    "Affine", "Crop", "Face", "FaceRecord", "Frame", "GfpError", "Image", "RestoreOptions", "Restored", "RestoredFace",
    "RestoredImage", "Restorer", "__version__", "load_restorer", "restore_image",
]  # fmt: skip
_ELSEWHERE = {
    "RestoredFace": "gfpcli.api", "RestoredImage": "gfpcli.api", "restore_image": "gfpcli.api",
    "RestoreOptions": "gfpcli.options", "Restorer": "gfpcli.pipeline.restorer",
    "load_restorer": "gfpcli.weights.build",
}  # fmt: skip  # the other names are types


def __getattr__(name: str) -> object:
    """What is asked for, when it first is: numpy alone would be a fifth of the time that `gfp --help` takes."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "gfpcli.types")), name)
