"""The devices that `--device` names."""

from __future__ import annotations

import torch

from gfpcli.errors import DeviceError
from gfpcli.options import devices_in


def choose_devices(names: str) -> tuple[torch.device, ...]:
    """`auto` is CUDA, then MPS, then the CPU; several are separated by commas.

    Raises:
        DeviceError: this machine has no such device.
        UsageError: no device has such a name.
    """
    has_mps = torch.backends.mps.is_available()
    if names == "auto":
        names = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    devices = tuple(torch.device(name) for name in devices_in(names))
    for device in devices:
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise DeviceError(f"--device {device}: this machine has {torch.cuda.device_count()} CUDA devices")
        if device.type == "mps" and not has_mps:
            raise DeviceError("--device mps: this machine has none")
    return devices
