"""What old dependencies need to be imported today."""

from __future__ import annotations

import sys
import types

from torchvision.transforms import functional


def prepare_basicsr() -> None:
    """Gives basicsr the module that torchvision has dropped; call it before importing from basicsr."""
    stub = types.ModuleType("torchvision.transforms.functional_tensor")
    stub.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules.setdefault(stub.__name__, stub)
