"""Each dependency says from which release on it works."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.oldest import PROJECT, lower_bounds


def test_each_dependency_has_a_lower_bound() -> None:
    bounds = lower_bounds(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"])
    assert {"torch", "numpy", "universal_pathlib", "s3fs", "ray"} <= set(bounds)


def test_one_without_is_named() -> None:
    project: dict[str, Any] = {"dependencies": ["numpy>=1.26", "rich"], "optional-dependencies": {"dev": ["pytest"]}}
    with pytest.raises(ValueError, match="no lower bound: rich$"):
        lower_bounds(project)
