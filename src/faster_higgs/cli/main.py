"""The command `higgs`: which commands there are, and how each kind of error ends. Knows no flags.

A command's file is imported when the command is called, and heavy libraries when it runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from types import FrameType
from typing import Any, NoReturn

import typer

from faster_higgs.cli.command import Menu
from faster_higgs.errors import HiggsError

COMMANDS = {
    "say": "Speak a text into a sound file.",
    "batch": "Speak many texts into sound files.",
    "serve": "Answer over HTTP: OpenAI's speech API, voices, health.",
    "bench": "Measure how fast a server speaks.",
    "wyoming": "Speak for Home Assistant, through a server that runs.",
    "runpod": "Take jobs from RunPod's queue.",
    "monitor": "Write down what graphics cards do, as CSV.",
    "voices": "List, add, show, play and remove voices.",
    "prepare": "Make training data of recordings.",
    "data": "Check recordings and training data.",
    "train": "Teach a model a voice or a language, from prepared recordings.",
    "memory": "Say what a training run takes of a graphics card.",
    "merge": "Write a model with adapters merged into it, or an adapter taken out of one.",
    "export": "Write a copy of a model with smaller weights.",
    "doctor": "Say what this machine can run, and whether a model is the right one.",
    "download": "Fetch the full model.",
}
INTERRUPTED, TERMINATED, BROKEN_PIPE = 130, 143, 141  # as a shell reports the signals


class Commands(Menu):
    """The table above; a file is imported when its command is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module = import_module(f"faster_higgs.cli.{cmd_name}")
            self.add_command(module.command(cmd_name, COMMANDS[cmd_name]))
        return self.commands.get(cmd_name)

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        return list(COMMANDS.items())


def build() -> Commands:
    """The command line as an object."""
    return Commands(name="higgs", help="Faster Higgs: speech from text.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status. No error a user can cause ends in a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know few letters
    try:
        with _terminable():
            return _run(arguments)
    except HiggsError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("Interrupted.", INTERRUPTED, kind="")
    except BrokenPipeError:
        return _gone()
    except Exception as error:  # the last resort: whatever it is, one line
        if _wordy(arguments):
            raise
        return _fail(_unexpected(error), 1)


def _run(arguments: list[str]) -> int:
    """Parse and invoke. The framework's own errors become ours."""
    commands = build()
    try:
        with commands.make_context("higgs", arguments) as context:
            commands.invoke(context)
        sys.stdout.flush()
    except typer.Exit as end:
        sys.stdout.flush()
        return end.exit_code
    except typer.Abort:
        return _fail("Interrupted.", INTERRUPTED, kind="")
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _fail(_usage(error), 2)
    return 0


def _usage(error: Any) -> str:
    """The framework's sentence about wrong arguments, and where to read about the right ones."""
    path = getattr(getattr(error, "ctx", None), "command_path", "higgs")
    message = " ".join(error.format_message().split())
    end = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{end} See `{path} --help`."


def _unexpected(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "There is not enough memory for this model; `higgs doctor` says what fits here."
    message = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {message} (a fault of ours: --verbose shows where)"


def _wordy(arguments: list[str]) -> bool:
    return "--verbose" in arguments or "-v" in arguments


def _fail(message: str, code: int, kind: str = "Error: ") -> int:
    print(f"{kind}{message}", file=sys.stderr)
    return code


def _gone() -> int:
    """Whoever read our output went away; so do we, without a word at exit either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):
            continue  # not a real file: nothing is left in it
    return BROKEN_PIPE


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a termination unwind like Ctrl-C, so that no half-written file stays behind."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
