"""gfpcli: restore faces in photos. Importing this package never imports torch."""

from gfpcli.errors import GfpError
from gfpcli.types import Affine, Crop, Face, Frame, Image, Restored

__version__ = "0.1.0"

__all__ = ["Affine", "Crop", "Face", "Frame", "GfpError", "Image", "Restored", "__version__"]
