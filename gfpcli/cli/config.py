"""Flags and configuration files to options: flags win, then the file, then the defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from gfpcli.errors import InputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.options import options_of

Kind = TypeVar("Kind")
BESIDE = Path("gfp.toml")  # read from the current folder where it exists
TABLES = ("restore", "faces", "video", "watch", "bench")  # the commands that read it


def given_options(kind: type[Kind], context: typer.Context, command: str) -> Kind:
    """The options dataclass `kind` from a command's flags and, where it is of TABLES, from its table in a TOML file.

    Raises:
        InputError: the file cannot be read.
        UsageError: the file is no TOML, has an unknown table or key, or a value of the wrong type; or a rule of the
            dataclass.
    """
    values: dict[str, Any] = {}
    if command in TABLES and (context.params["config"] or BESIDE.is_file()):
        values = read_table(context.params["config"] or BESIDE, kind, command)
    hints = get_type_hints(kind)
    for each in options_of(kind):
        source = context.get_parameter_source(each.name)
        if source is not None and source.name == "COMMANDLINE":
            value = context.params[each.name]
            values[each.name] = _tuple_of(value) if get_origin(hints[each.name]) is tuple else value
    return kind(**values)


def read_table(path: Path, kind: type[object], table: str) -> dict[str, Any]:
    """The values of one table, checked against the dataclass's fields. The tables of other commands are left alone."""
    try:
        with os_errors_as(InputError, path):
            content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML ({error})") from error
    for name, under in content.items():
        if name not in TABLES:
            raise UsageError(f"{path}: no command reads {name!r}: choose one of [{'], ['.join(TABLES)}]")
        if not isinstance(under, dict):
            raise UsageError(f"{path}: {name} must be a table: write [{name}], and its options below")
    hints, known = get_type_hints(kind), {each.name: each for each in options_of(kind)}
    values: dict[str, Any] = {}
    for key, value in content.get(table, {}).items():
        name = key.replace("-", "_")
        if name not in known:
            raise UsageError(f"{path}: [{table}] has no {key!r}: choose one of {', '.join(known)}")
        if hints[name] is str and known[name].metadata["within"] and type(value) is int:
            value = str(value)  # of an option that takes a word or a number
        values[name] = _as_kind(value, hints[name], f"{path}: {key}")
    return values


def _as_kind(value: Any, hint: Any, where: str) -> Any:
    """A value of a TOML file as the option has it. Raises UsageError."""
    if get_origin(hint) is tuple:
        if not isinstance(value, str | list) or not all(isinstance(word, str) for word in value):
            raise UsageError(f"{where} must be a list of words, not {value!r}")
        return _tuple_of(value)
    wanted = get_args(hint)[0] if get_args(hint) else hint  # T of T | None
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise UsageError(f"{where} must be {wanted.__name__}, not {value!r}")
    return value


def _tuple_of(value: str | list[str]) -> tuple[str, ...]:
    """The words of a comma list, or of a flag that was repeated."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else tuple(value)
