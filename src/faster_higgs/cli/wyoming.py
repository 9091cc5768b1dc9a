"""`higgs wyoming`: Home Assistant's protocol for a server that runs. Loads no model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec

from faster_higgs.cli.command import Command, as_command, option, verbose
from faster_higgs.errors import MissingExtra


@dataclass(frozen=True)
class WyomingFlags:
    """What stands on the command line; None where `BridgeSettings` has the default."""

    uri: str | None = option("--uri", "URI", "Where Home Assistant finds it; it asks for no key.")
    server: str | None = option(
        "--server", "URL", "The server that speaks, `higgs serve` or other."
    )
    voice: str | None = option(
        "--voice", "NAME", "For who names none. [default: the server's choice]"
    )
    languages: str | None = option(
        "--languages", "CODES", "What the model speaks, separated by commas."
    )
    timeout: float | None = option("--timeout", "SECONDS", "The longest silence of the server.")
    key: str | None = option(
        "--api-key", "KEY", "For a server with keys. [default: OPENAI_API_KEY]"
    )
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(WyomingFlags, run, name, help, facts)


def facts() -> Mapping[str, str]:
    """Defaults for the help page, read from where they are written."""
    if find_spec("wyoming") is None or find_spec("httpx2") is None:
        return {}
    from faster_higgs.deploy.wyoming import BridgeSettings

    own = BridgeSettings()
    return {
        **{name: f"default: {getattr(own, name)}" for name in ("uri", "server")},
        "languages": f"default: {','.join(own.languages)}",
        "timeout": f"default: {own.timeout:g}",
    }


def run(flags: WyomingFlags, tell: Callable[[str], None] = print) -> None:
    """Answer until stopped."""
    for module in ("wyoming", "httpx2"):
        if find_spec(module) is None:
            raise MissingExtra(
                f"The bridge needs {module}; install it with: pip install 'faster-higgs[wyoming]'."
            )
    from faster_higgs.deploy.wyoming import BridgeSettings, bridge

    logging.basicConfig(format="%(message)s")
    named = [one.name for one in fields(BridgeSettings)]
    given = {name: getattr(flags, name) for name in named}
    given["key"] = flags.key or os.environ.get("OPENAI_API_KEY") or None
    if flags.languages:
        given["languages"] = tuple(code.strip() for code in flags.languages.split(","))
    settings = BridgeSettings(**{name: one for name, one in given.items() if one is not None})
    bridge(settings, lambda: tell(f"{settings.uri} speaks through {settings.server}."))
    tell("Stopped.")
