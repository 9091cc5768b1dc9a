"""How much a request may ask for. Knows nothing of bodies."""

from __future__ import annotations

from faster_higgs.errors import SettingError
from faster_higgs.server.errors import bad
from faster_higgs.server.settings import ServerSettings


def check_length(
    text: str, param: str, settings: ServerSettings, longest: int | None = None
) -> None:
    """Raises Refusal for a text that is too long."""
    most = longest or settings.max_text_chars
    if len(text) > most:
        raise bad(
            f"{param} has {len(text):,} characters; at most {most:,} are taken at once. Split it.",
            param,
            "string_above_max_length",
        )


def check_steps(steps: int, name: str, settings: ServerSettings) -> None:
    """Raises SettingError for more steps than are made here."""
    most = settings.max_new_tokens_cap
    if steps > most:
        raise SettingError(f"{name} is {steps}; at most {most} are made here.")


def check_timeout(timeout: float, settings: ServerSettings) -> None:
    if not 0 < timeout <= settings.request_timeout_s:
        raise SettingError(
            f"timeout is {timeout}; use seconds, more than 0 and at most "
            f"{settings.request_timeout_s:g}."
        )
