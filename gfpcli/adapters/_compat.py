"""What old dependencies need to be imported today, and new ones to be imported quickly."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_compiler() -> Iterator[None]:
    """torchvision.ops loads torch's compiler, for one question that `roi_align` asks of it: a second of each start."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    package, utils = (types.ModuleType(name) for name in ("torch._dynamo", "torch._dynamo.utils"))
    package.__path__ = []
    utils.is_compile_supported = lambda device: False  # type: ignore[attr-defined]  # then it runs its own kernel
    stubs = {module.__name__: module for module in (package, utils)}
    sys.modules |= stubs
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]


def prepare_torchvision() -> None:
    """Imports it without the compiler; call it before anything else does."""
    with _without_compiler():
        import torchvision  # noqa: F401


def prepare_basicsr() -> None:
    """Gives basicsr the module that torchvision has dropped; call it before importing from basicsr."""
    prepare_torchvision()
    from torchvision.transforms import functional

    stub = types.ModuleType("torchvision.transforms.functional_tensor")
    stub.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules.setdefault(stub.__name__, stub)
