"""The devices that `--device` names."""

from __future__ import annotations

import pytest

from gfpcli.errors import DeviceError
from gfpcli.weights.devices import choose_devices


def test_devices_this_machine_lacks_are_told() -> None:
    assert [device.type for device in choose_devices("cpu,cpu")] == ["cpu", "cpu"]
    with pytest.raises(DeviceError, match="cuda:99"):
        choose_devices("cuda:99")
