"""Prints the oldest allowed release of each dependency, as constraints for pip: `make oldest` tests with them."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
BOUND = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?>=([0-9.]+)")


def lower_bounds(project: dict[str, Any]) -> dict[str, str]:
    """Name to version, for the program and its extras. Raises ValueError for a dependency without a lower bound."""
    extras = [each for name, extra in project["optional-dependencies"].items() if name != "dev" for each in extra]
    wanted = [*project["dependencies"], *extras]
    found = {each: BOUND.fullmatch(each) for each in wanted}
    if without := [each for each, bound in found.items() if bound is None]:
        raise ValueError(f"no lower bound: {', '.join(without)}")
    return {bound[1]: bound[2] for bound in found.values() if bound}


if __name__ == "__main__":
    bounds = lower_bounds(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"])
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in bounds.items())
