"""What `gfp train` is told, as options: preset, then the YAML file, then `--set`, then flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gfpcli.errors import InputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.train.options import DEGRADATIONS, TRAIN_PRESETS, TrainOptions


def train_options(preset: str, config: Path | None, changes: list[str], flags: Mapping[str, Any]) -> TrainOptions:
    """The options of a run.

    Args:
        changes: `key=value`, nested keys with a dot (`loss.gan=0.05`, `degrade.sigma=[0.1, 6]`, `degrade=mild`).
        flags: values of flags that were given.

    Raises:
        InputError: the file cannot be read.
        UsageError: unknown preset, key or value; the message lists the valid ones.
    """
    if preset not in TRAIN_PRESETS:
        raise UsageError(f"--preset {preset!r}: choose one of {', '.join(TRAIN_PRESETS)}")
    options = TRAIN_PRESETS[preset]
    if config is not None:
        options = changed(options, _read_yaml(config), str(config))
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign:
            raise UsageError(f"--set {change!r}: write key=value")
        try:
            tree: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {change!r}: the value is no YAML") from error
        for part in reversed(key.strip().split(".")):
            tree = {part: tree}
        options = changed(options, tree, f"--set {change}")
    return changed(options, dict(flags), "flags")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with os_errors_as(InputError, path):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: holds no options")
    return content


def changed(options: Any, values: Mapping[str, Any], source: str) -> Any:
    """A copy of an options dataclass with some values changed, nested ones too. Raises UsageError."""
    known = [each.name for each in fields(options)]
    new: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{source}: no option {key!r}: choose one of {', '.join(known)}")
        before = getattr(options, key)
        if is_dataclass(before) and isinstance(value, Mapping):
            new[key] = changed(before, value, source)
        elif key == "degrade" and isinstance(value, str):
            if value not in DEGRADATIONS:
                raise UsageError(f"{source}: no degradation {value!r}: choose one of {', '.join(DEGRADATIONS)}")
            new[key] = DEGRADATIONS[value]
        else:
            new[key] = as_kind(value, before, f"{source}: {key}")
    return replace(options, **new)


def as_kind(value: Any, like: Any, where: str) -> Any:
    """A value as the kind of the default: numbers, truth, words, lists of numbers. Raises UsageError."""
    try:
        if isinstance(like, tuple):
            if not isinstance(value, list | tuple):
                raise ValueError
            numbers = [as_kind(each, like[0] if like else 0, where) for each in value]
            if like and isinstance(like[0], float) and len(numbers) != len(like):
                raise ValueError
            return tuple(numbers)
        if isinstance(like, bool) or isinstance(value, bool):
            if type(like) is not type(value):
                raise ValueError
            return value
        if isinstance(like, str):
            return "" if value is None else str(value)
        number = float(value)  # YAML takes 1e-3 for a word
        if isinstance(like, int):
            if number != int(number):
                raise ValueError
            return int(number)
        return number
    except (TypeError, ValueError, OverflowError):
        kind = f"a list like {list(like)}" if isinstance(like, tuple) else f"like {like!r}"
        raise UsageError(f"{where} must be {kind}, not {value!r}") from None
