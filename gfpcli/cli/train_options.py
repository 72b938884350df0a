"""Options of `gfp train`: preset, then the YAML file, then `--set`, then flags; and back to YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gfpcli.errors import InputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.train.degrade_options import DEGRADATIONS
from gfpcli.train.options import TRAIN_PRESETS, TrainOptions


def train_options(preset: str, config: Path | None, changes: list[str], flags: Mapping[str, Any]) -> TrainOptions:
    """The options of a run; a later source overrides an earlier one. They are checked once, all together.

    Args:
        changes: `key=value`, nested keys with a dot (`loss.gan=0.05`, `degrade.sigma=[0.1, 6]`, `degrade=mild`), in
            any order: `degrade=mild` leaves what other changes say of `degrade.sigma`. Of the same key the last counts.
        flags: values of the flags that were given.

    Raises:
        InputError: the file cannot be read.
        UsageError: unknown preset, key or value; the message lists the valid ones.
    """
    if preset not in TRAIN_PRESETS:
        raise UsageError(f"--preset {preset!r}: choose one of {', '.join(TRAIN_PRESETS)}")
    options = TRAIN_PRESETS[preset]
    sources = [] if config is None else [(str(config), _read_yaml(config))]
    sources += sorted(map(_tree_of, changes), key=lambda source: depth_of(source[1]))
    new: dict[str, Any] = {}
    for name, tree in (*sources, ("flags", dict(flags))):
        collect(options, tree, name, new)
    return _replaced(options, new)


def _tree_of(change: str) -> tuple[str, dict[str, Any]]:
    """A `key=value` as the name of the source and nested values."""
    key, sign, value = change.partition("=")
    if not sign:
        raise UsageError(f"--set {change!r}: write key=value")
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {change!r}: the value is no YAML") from error
    for part in reversed(key.strip().split(".")):
        tree = {part: tree}
    return f"--set {change}", tree


def depth_of(tree: object) -> int:
    """How deep values are nested: 1 for `degrade=mild`, 2 for `degrade.sigma=[0.1, 6]`."""
    return 1 + max(map(depth_of, tree.values()), default=0) if isinstance(tree, dict) else 0


def yaml_of(options: Any, indent: str = "") -> str:
    """An options dataclass as YAML that `--config` reads, with the help of each field as a comment."""
    text = ""
    for each in fields(options):
        value = getattr(options, each.name)
        text += f"{indent}# {each.metadata['help']}\n{indent}"
        if is_dataclass(value):
            text += f"{each.name}:\n{yaml_of(value, indent + '  ')}"
        else:
            plain = list(value) if isinstance(value, tuple) else value
            text += yaml.safe_dump({each.name: plain}, default_flow_style=True, width=10_000)[1:-2] + "\n"  # no braces
    return text


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with os_errors_as(InputError, path):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: holds no options")
    return content


def collect(options: Any, values: Mapping[str, Any], source: str, new: dict[str, Any]) -> None:
    """Adds the values of one source to `new`, in the kinds of the options they replace. Raises UsageError."""
    known = [each.name for each in fields(options)]
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{source}: no option {key!r}: choose one of {', '.join(known)}")
        before = getattr(options, key)
        if is_dataclass(before) and isinstance(value, Mapping):
            collect(before, value, source, new.setdefault(key, {}))
        elif key == "degrade" and isinstance(value, str):
            if value not in DEGRADATIONS:
                raise UsageError(f"{source}: no degradation {value!r}: choose one of {', '.join(DEGRADATIONS)}")
            new[key] = asdict(DEGRADATIONS[value])
        elif is_dataclass(before):
            raise UsageError(f"{source}: {key} has options of its own: write {key}.{fields(before)[0].name}=...")
        else:
            new[key] = as_kind(value, before, f"{source}: {key}")


def _replaced(options: Any, new: Mapping[str, Any]) -> Any:
    nested = {key: _replaced(getattr(options, key), value) for key, value in new.items() if isinstance(value, dict)}
    return replace(options, **{**new, **nested})


def as_kind(value: Any, like: Any, where: str) -> Any:
    """A value in the type of `like`: number, boolean, string, or tuple of numbers. Raises UsageError."""
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
