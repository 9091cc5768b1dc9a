"""How the command starts and ends: quickly, and never in a traceback that nobody asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from faster_higgs.cli import main as cli
from faster_higgs.cli import say
from faster_higgs.errors import EngineError, HiggsError, OutputError, TextError
from tests.project.source import ROOT


def test_help_lists_the_commands(run):
    ended = run("--help")
    assert ended.code == 0
    assert all(f"{name}  " in ended.out for name in cli.COMMANDS)
    assert run() == ended == run("-h")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(run, name):
    ended = run(name, "--help")
    assert ended.code == 0 and ended.err == ""
    assert f"Usage: higgs {name}" in ended.out and cli.COMMANDS[name] in ended.out


def test_help_loads_no_slow_library():
    assert_not_loaded([["--help"]], {"torch", "numpy", "rich", "pydantic", "av"})


def test_help_of_a_command_does_not_load_torch():
    words = [[name, "--help"] for name in cli.COMMANDS]
    assert_not_loaded([*words, ["data", "check", "--help"]], {"torch"})


def assert_not_loaded(calls: list[list[str]], slow: set[str]) -> None:
    program = (
        "import sys\n"
        "from faster_higgs.cli.main import main\n"
        f"for words in {calls}:\n"
        "    assert main(words) == 0\n"
        f"    slow = {slow} & set(sys.modules)\n"
        "    if slow:\n"
        "        sys.exit(f'loaded for {words}: {sorted(slow)}')\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "src", check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_can_be_run():
    command = [sys.executable, "-m", "faster_higgs", "nosuch"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "src", check=False)
    assert done.returncode == 2 and done.stderr.startswith("Error: No such command 'nosuch'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch"], "No such command 'nosuch'. See `higgs --help`."),
        (["say", "--nosuch"], "No such option: --nosuch. See `higgs say --help`."),
        (["voices", "nosuch"], "See `higgs voices --help`."),
        (["voices", "show"], "Missing argument 'NAME'. See `higgs voices show --help`."),
    ],
)
def test_wrong_arguments_are_told_in_one_line(run, arguments, told):
    ended = run(*arguments)
    assert ended.code == 2 and ended.error.endswith(told)


@pytest.fixture
def failing(run, monkeypatch):
    """A command that ends in an error."""

    def call(error: BaseException, *more: str):
        def fail(flags: object) -> None:
            raise error

        monkeypatch.setattr(say, "run", fail)
        return run("say", "Hello.", *more)

    return call


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TextError("Bad."), 2),
        (OutputError("Full."), 1),
        (EngineError("Off."), 1),
        (HiggsError("?"), 1),
    ],
)
def test_our_own_errors_end_with_their_status(failing, error, code):
    assert failing(error) == (code, "", f"Error: {error}\n")


def test_an_unexpected_error_is_one_line_that_tells_how_to_see_more(failing):
    ended = failing(KeyError("a\nb"))
    assert ended.code == 1 and "--verbose" in ended.error and ended.error.startswith("KeyError: ")


def test_verbose_shows_the_traceback(failing):
    with pytest.raises(KeyError):
        failing(KeyError("a"), "--verbose")


def test_too_little_memory_is_told_as_such(failing):
    assert "not enough memory" in failing(MemoryError()).error


def test_ctrl_c_ends_with_130(failing):
    assert failing(KeyboardInterrupt()) == (130, "", "Interrupted.\n")


def test_a_reader_who_leaves_is_no_error(failing, monkeypatch):
    gone = []
    monkeypatch.setattr(cli.os, "dup2", lambda *pair: gone.append(pair))
    assert failing(BrokenPipeError()) == (141, "", "")


def test_a_pipe_that_closes_early_ends_without_a_word():
    script = f'"{sys.executable}" -m faster_higgs --help | true; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT / "src", check=False
    )
    assert done.returncode in (0, 141) and done.stderr == ""
