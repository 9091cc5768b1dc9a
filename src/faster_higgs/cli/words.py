"""Text from the command line, from a file or from standard input. Knows nothing of speech."""

from __future__ import annotations

import sys
from pathlib import Path

from faster_higgs.errors import SettingError, TextError

MOST_BYTES = (
    1_000_000  # far more than is spoken at once; keeps an endless input from filling memory
)
STANDARD_INPUT = "-"


def given_text(text: str | None, transcript: str | None) -> str:
    """What is to be said.

    Raises SettingError when it is given twice or not at all, TextError when it cannot be read.
    """
    if text is not None and transcript is not None:
        raise SettingError("A text and --transcript were given; leave one of them out.")
    if transcript is not None:
        return _transcript(transcript)
    if text is None:
        raise SettingError(
            'There is no text; write `higgs say "Hello"`, or `higgs say -` to read standard input.'
        )
    if text == STANDARD_INPUT:
        return _decoded(sys.stdin.buffer.read(MOST_BYTES + 1), "Standard input")
    return text


def text_of(path: Path) -> str:
    """The text in a file, without blanks around it."""
    try:
        with path.open("rb") as file:
            return _decoded(file.read(MOST_BYTES + 1), str(path)).strip()
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}.") from None


def existing_file(name: str) -> Path | None:
    """The file of that name, if there is one; a long text is the name of none."""
    try:
        return Path(name) if Path(name).is_file() else None
    except (OSError, ValueError):
        return None


def _transcript(given: str) -> str:
    """A file's text, else the words themselves, as in the original.

    Unlike there, the name of a file that does not exist is not spoken.
    """
    file = existing_file(given)
    if file:
        return text_of(file)
    if given.endswith(".txt") and len(given.split()) == 1:
        raise TextError(f"There is no file {given}; check the path.")
    return given


def _decoded(content: bytes, name: str) -> str:
    if len(content) > MOST_BYTES:
        raise TextError(f"{name} holds more than {MOST_BYTES:,} bytes; split it.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
