"""Writes docs/cli.md from the help of every command; run it after a change of flags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faster_higgs.cli.command import WIDTH, Menu
from faster_higgs.cli.main import build

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
BEGINNING = """# The command line

What `--help` says, command by command; `python scripts/cli_page.py` writes this page.

- Every flag may be written with `-` or `_`: `--top-k` is `--top_k`.
- What you hear goes to a file, what you read to standard output, notes and errors to standard
  error.
- Exit status: 0 done; 2 something given cannot be used, and one sentence says what; 130 you
  interrupted; 1 anything else.
- A file is written whole or not at all, even when you press Ctrl-C.
"""


def helps(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """Full name and help of a command and of those below it."""
    context = command.context_class(
        command, info_name=name, parent=parent, terminal_width=WIDTH, **command.context_settings
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, Menu):
        for below in command.list_commands(context):
            yield from helps(command.get_command(context, below), below, context)


def page() -> str:
    """The whole page."""
    parts = [BEGINNING]
    for path, text in helps(build(), "higgs"):
        parts.append(f"## {path}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
