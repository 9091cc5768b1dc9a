"""`higgs bench`: how fast a server speaks, ours or another. Knows nothing of models."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faster_higgs.cli.command import Command, as_command, flag, verbose
from faster_higgs.errors import EngineError, MissingExtra, SettingError

if TYPE_CHECKING:
    from faster_higgs.loadtest.load import LoadTest
    from faster_higgs.loadtest.settings import LoadSettings

_asked = partial(flag, "What is asked")
_load = partial(flag, "How much at once")
_output = partial(flag, "Output")
NOT_SETTINGS = ("text_file", "field", "json", "verbose")


@dataclass(frozen=True)
class BenchFlags:
    """What stands on the command line; None where `LoadSettings` has the default."""

    url: str | None = _asked("--url", "URL", "The server.")
    endpoint: str | None = _asked("--endpoint", "NAME", "What is measured of it.")
    stream: bool = _asked("--stream", None, "Ask for sound in pieces, and watch for gaps.")
    format: str | None = _asked(
        "--format", "FORMAT", "What the sound comes in; gaps are seen in wav and pcm."
    )
    model: str | None = _asked("--model", "NAME", "The model to ask for.")
    voice: str | None = _asked("--voice", "NAME", "The voice to ask for.")
    temperature: float | None = _asked(
        "--temperature", "X", "The same for all. [default: 0.5 for generate, else the server's]"
    )
    seed: int | None = _asked(
        "--seed", "N", "Of the arrivals; and each speech gets a seed, its number more."
    )
    text_file: Path | None = _asked("--text-file", "FILE", "Texts to speak in turn, one a line.")
    field: list[str] | None = _asked(
        "--field", "NAME=JSON", "One more field of every request; as often as you like."
    )
    key: str | None = _asked("--api-key", "KEY", "For servers with keys. [default: OPENAI_API_KEY]")

    requests: int | None = _load("--requests -n", "N", "Requests in all.")
    concurrent: int | None = _load(
        "--concurrent -c", "N", "Clients that each wait for their answer before they ask again."
    )
    rate: float | None = _load(
        "--rate",
        "X",
        "Instead: so many requests a second on average, at random, however long answers take.",
    )
    warm_up: int | None = _load("--warm-up", "N", "Requests that come first and do not count.")
    timeout: float | None = _load("--timeout", "SECONDS", "The longest silence of a server.")

    json: bool = _output("--json", None, "Print everything for machines, on standard output.")
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(BenchFlags, run, name, help, facts)


def facts() -> Mapping[str, str]:
    """Defaults for the help page, read from where they are written."""
    from typing import get_args

    from faster_higgs.loadtest.endpoints import Endpoint
    from faster_higgs.loadtest.settings import LoadSettings

    own = {one.name: one.default for one in fields(LoadSettings)}
    names = ("url", "format", "requests", "concurrent", "warm_up")
    told = {name: f"default: {own[name]}" for name in names}
    told["timeout"] = f"default: {own['timeout']:g}"
    told["endpoint"] = f"{', '.join(get_args(Endpoint))}; default: {own['endpoint']}"
    return told


def run(flags: BenchFlags) -> None:
    """Measure and tell; what was measured until Ctrl-C is told as well."""
    if find_spec("httpx2") is None:
        raise MissingExtra(
            "Measuring needs httpx2; install it with: pip install 'faster-higgs[serve]'."
        )
    from faster_higgs.loadtest import report
    from faster_higgs.loadtest.load import LoadTest

    settings = settings_of(flags, os.environ)
    test = LoadTest(settings)
    started = datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")
    tell = _nothing if flags.json else _lines
    tell(report.heading(settings, started))
    test.meet()
    tell(report.backend(test))
    try:
        test.run(_progress(settings.requests))
    finally:
        if test.samples:
            _finish(test, started, flags.json)
    if all(one.error is not None for one in test.samples):
        raise EngineError(f"No request succeeded: {test.samples[0].error}")


def settings_of(flags: BenchFlags, environment: Mapping[str, str]) -> LoadSettings:
    """Raises SettingError."""
    from faster_higgs.loadtest.settings import LoadSettings

    given: dict[str, Any] = {
        name: value
        for name, value in asdict(flags).items()
        if name not in NOT_SETTINGS and value is not None
    }
    given.setdefault("key", environment.get("OPENAI_API_KEY") or None)
    if flags.text_file is not None:
        given["texts"] = _texts(flags.text_file)
    return LoadSettings(**given, fields=dict(map(_field, flags.field or ())))


def _texts(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"{path} cannot be read: {reason}.") from None
    return tuple(line.strip() for line in lines if line.strip())


def _field(given: str) -> tuple[str, Any]:
    """A field and its value; what is no JSON is a text."""
    name, sign, value = given.partition("=")
    if not (name and sign):
        raise SettingError(f"--field is '{given}'; use NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _finish(test: LoadTest, started: str, as_json: bool) -> None:
    from faster_higgs.loadtest import report

    test.ask_stats()
    found = report.figures(test)
    if not as_json:
        _lines(report.results(test, found))
        return
    told = report.report(test, found, date=started, **_here())
    print(json.dumps(told, indent=2))


def _lines(lines: Iterator[str]) -> None:
    print(*lines, sep="\n", flush=True)


def _nothing(lines: Iterator[str]) -> None:
    """Said by nobody: standard output is for machines."""


def _progress(total: int) -> Any:
    """Counts on standard error, where somebody looks at it."""

    def show(done: int) -> None:
        end = "\n" if done == total else ""
        print(f"\r{done}/{total}", end=end, file=sys.stderr, flush=True)

    return show if sys.stderr.isatty() else lambda done: None


def _here() -> dict[str, Any]:
    """Where the clients ran; the server tells of its own machine in /health."""
    from faster_higgs.cli.machine import look

    found = look()
    told = found.to_json()
    return {
        "machine": {name: told[name] for name in ("system", "cores", "devices", "kernels")},
        "versions": {
            "faster-higgs": found.package,
            "commit": _commit(),
            "python": found.python,
            "torch": found.torch,
            "httpx2": version("httpx2"),
        },
    }


def _commit() -> str | None:
    """Of the working tree this runs from, if it does."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
