"""Flags and configuration files to options: flags win, then the file, then the defaults."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import typer

from gfpcli.errors import InputError, UsageError
from gfpcli.files.atomic import os_errors_as

Options = TypeVar("Options")
BESIDE = Path("gfp.toml")  # read from the current folder where it exists


def given_options(kind: type[Options], context: typer.Context, config: Path | None, *, table: str) -> Options:
    """The options dataclass `kind` from a command's flags and `[table]` of a TOML file.

    Raises:
        InputError: the file cannot be read.
        UsageError: the file is no TOML, has an unknown key, or a value of the wrong type; or a rule of the dataclass.
    """
    values = read_table(config or BESIDE, kind, table) if config or BESIDE.is_file() else {}
    for each in fields(kind):  # type: ignore[arg-type]
        source = context.get_parameter_source(each.name)
        if source is not None and source.name == "COMMANDLINE":
            values[each.name] = context.params[each.name]
    if isinstance(values.get("save"), str):
        values["save"] = tuple(word.strip() for word in values["save"].split(",") if word.strip())
    return kind(**values)


def read_table(path: Path, kind: type[object], table: str) -> dict[str, Any]:
    """The values of one table, checked against the dataclass's fields."""
    try:
        with os_errors_as(InputError, path):
            content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML ({error})") from error
    known = {each.name: each.default for each in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in content.get(table, {}).items():
        name = key.replace("-", "_")
        if name not in known:
            raise UsageError(f"{path}: [{table}] has no {key!r}: choose one of {', '.join(known)}")
        wanted = bool if known[name] is None else type(known[name])  # a switch that decides itself
        if wanted is float and type(value) is int:
            value = float(value)
        if name == "save" and isinstance(value, list):
            value = ",".join(map(str, value))
        elif type(value) is not wanted and not (name == "save" and isinstance(value, str)):
            raise UsageError(f"{path}: {key} must be {wanted.__name__}, not {value!r}")
        values[name] = value
    return values
