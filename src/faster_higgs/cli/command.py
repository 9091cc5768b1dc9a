"""A frozen dataclass becomes a command: each field an option, `-` and `_` alike. Knows no command.

Defaults that live elsewhere (`Sampling`, `Delivery`) are looked up when help is shown, and only
then, because their modules are slow to import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, field, fields
from functools import partial
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

Settings = TypeVar("Settings")
Facts = Callable[[], Mapping[str, str]]

WIDTH = 100
ARGUMENTS, OPTIONS = "Arguments", "Options"
CONTEXT = {
    "token_normalize_func": lambda name: name.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": WIDTH,
}


def flag(heading: str, names: str, metavar: str | None, help: str, default: Any = None) -> Any:
    """A field given by an option, one without metavar by its presence; shown under a heading."""
    if metavar is None:
        default = False
    option = typer.Option(*names.split(), help=help, metavar=metavar, rich_help_panel=heading)
    return field(default=default, metadata={"parameter": option})


def argument(metavar: str, help: str, default: Any = MISSING) -> Any:
    """A field given by its place."""
    parameter = typer.Argument(metavar=metavar, help=help)
    return field(default=default, metadata={"parameter": parameter})


option = partial(flag, OPTIONS)
verbose = partial(option, "--verbose -v", None, "Say more, and show the traceback of an error.")


def as_command(
    settings: type[Settings],
    run: Callable[[Settings], None],
    name: str,
    help: str,
    facts: Facts = dict,
) -> Command:
    """The command `name`, which calls `run` with a `settings` made of the arguments.

    `facts` tells defaults and choices for the help page, by field.
    """

    def call(**values: Any) -> None:
        run(settings(**values))

    call.__signature__ = inspect.Signature(_parameters(settings))  # type: ignore[attr-defined]
    call.__annotations__ = get_type_hints(settings)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, help=help, cls=Command, context_settings=CONTEXT)(call)
    command = typer.main.get_command(app)
    assert isinstance(command, Command)
    command.facts = facts
    return command


def _parameters(settings: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(settings)
    return [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
            annotation=Annotated[hints[one.name], one.metadata["parameter"]],
        )
        for one in fields(settings)
    ]


class Command(TyperCommand):
    """Shows its options under their headings, in the order of the settings."""

    facts: Facts = dict
    value_if_none: Mapping[str, str] = {}  # of options whose value may be left out
    is_value: Callable[[str], bool] = staticmethod(str.isdecimal)  # and is told by this from others

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_completed(args, self.value_if_none, self.is_value)))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        facts = self.facts()
        headings: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            fallback = ARGUMENTS if param.param_type_name == "argument" else OPTIONS
            heading = getattr(param, "rich_help_panel", None) or fallback
            headings.setdefault(heading, []).append(_row(param, facts))
        for heading in sorted(headings, key=OPTIONS.__eq__):  # as they come, but this one last
            with formatter.section(heading):
                formatter.write_dl(headings[heading])


def _completed(
    args: Sequence[str], value_if_none: Mapping[str, str], is_value: Callable[[str], bool]
) -> Iterator[str]:
    """The arguments, with each value that was left out."""
    rest, plain = list(args), False
    while rest:
        arg = rest.pop(0)
        plain = plain or arg == "--"  # after which everything is an argument
        value = value_if_none.get(arg.replace("_", "-"))
        if plain or value is None:
            yield arg
        else:
            yield f"{arg}={rest.pop(0) if rest and is_value(rest[0]) else value}"


def _row(param: Any, facts: Mapping[str, str]) -> tuple[str, str]:
    if param.param_type_name == "argument":
        names = param.metavar or param.name.upper()
    else:
        names = ", ".join(sorted(param.opts, key=len) if param.name == "help" else param.opts)
        names += f" {param.metavar}" if param.metavar else ""
    help = getattr(param, "help", None) or ""
    known = facts.get(param.name)
    return names, f"{help} [{known}]" if known else help


class Menu(TyperGroup):
    """A command of commands; without one it shows its help."""

    def __init__(self, **settings: Any) -> None:
        context = dict(CONTEXT)
        super().__init__(rich_markup_mode=None, context_settings=context, **settings)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        """Name and one line of each command."""
        return [(name, command.help or "") for name, command in self.commands.items()]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries(ctx))
