"""Commands made from options dataclasses: a flag is a field with its default, help, short form and panel."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from gfpcli.cli.completion import completed
from gfpcli.cli.config import TABLES, given_options
from gfpcli.cli.console import FAILED, one_line_errors
from gfpcli.options import PANELS, options_of

Body = Callable[..., int | None]
KEYWORD = inspect.Parameter.KEYWORD_ONLY
ARGUMENTS, OTHERS = "Arguments", "Options"  # headings of the help, before and behind PANELS
Debug = Annotated[bool, typer.Option("--debug", help="show tracebacks")]
Config = Annotated[Path | None, typer.Option(help="TOML file with a table named like the command [default: gfp.toml]")]


class Command(TyperCommand):
    """A command whose help groups the flags by panel, as plain text: with rich it would take a quarter second more."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Asks for the nearest flags where one is unknown. Raises as Typer does."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if near := getattr(error, "possibilities", None):  # of an unknown flag only
                error.message = f"{error.message}. Did you mean {' or '.join(sorted(near))}?"  # type: ignore[attr-defined]
                error.possibilities = None  # type: ignore[attr-defined]
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes a section for each panel that has flags."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in (ARGUMENTS, *PANELS, OTHERS)}
        for each in self.get_params(ctx):
            if record := each.get_help_record(ctx):
                other = ARGUMENTS if each.param_type_name == "argument" else OTHERS
                sections[getattr(each, "rich_help_panel", None) or other].append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def command(app: typer.Typer, *examples: str, name: str = "") -> Callable[[Body], Body]:
    """Registers a function as a command of `app`: errors as one line, and `--debug` to see them whole.

    The function's parameters are the command's, as Typer reads them; but one named `options` stands for all fields of
    its options dataclass. It gives the number of failures, or None.

    Args:
        examples: lines that can be run, for the help.
        name: where it is not the function's.
    """

    def register(body: Body) -> Body:
        called = name or body.__name__
        own = dict(inspect.signature(body, eval_str=True).parameters)
        kind = own.pop("options").annotation if "options" in own else None

        def run(context: typer.Context, **given: Any) -> None:
            with one_line_errors(is_debug=given["debug"]):
                arguments = {each: given[each] for each in own}
                if kind:
                    arguments["options"] = given_options(kind, context, called)
                raise typer.Exit(FAILED if body(**arguments) else 0)

        flags = [*own.values(), *(parameters_of(kind) if kind else ())]
        flags += [_keyword("config", Config, None)] if called in TABLES else []
        flags += [_keyword("debug", Debug, False)]
        parameters = [_keyword("context", typer.Context), *(each.replace(kind=KEYWORD) for each in flags)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}  # Typer reads both
        shown = "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])
        app.command(called, cls=Command, help=f"{inspect.getdoc(body)}\n\n{shown}")(run)
        return body

    return register


def parameters_of(kind: type[Any]) -> list[inspect.Parameter]:
    """A parameter for each option of a dataclass, as Typer reads them."""
    hints = get_type_hints(kind)
    return [_flag_of(each, hints[each.name]) for each in options_of(kind)]


def _flag_of(each: Field[Any], hint: Any) -> inspect.Parameter:
    facts, default = each.metadata, each.default
    flag = facts["flag"] or f"--{each.name.replace('_', '-')}"
    if hint == bool | None or default is True:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    if get_origin(hint) is tuple:
        hint, default = (str | None, None) if facts["words"] else (list[str] | None, None)
    names = [flag, facts["short"]] if facts["short"] else [flag]
    help = f"{', '.join(facts['words'])}; {facts['help']}" if facts["words"] else facts["help"]
    offered = completed(each.name, facts["words"], is_list=isinstance(each.default, tuple))
    shown = typer.Option(*names, help=help, rich_help_panel=facts["panel"], autocompletion=offered)
    return _keyword(each.name, Annotated[hint, shown], default)


def _keyword(name: str, annotation: Any, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, KEYWORD, default=default, annotation=annotation)
