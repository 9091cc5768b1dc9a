"""--adapter: which adapters a command folds into its model. Knows nothing of how that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from faster_higgs.checkpoint.adapter import Weighted


def named(given: Iterable[str] | None) -> list[tuple[str, float]]:
    """Folders and how often each counts, from DIR or DIR=WEIGHT. Raises SettingError."""
    return [_named(one) for one in given or ()]


def read(given: Iterable[str] | None, model: Path, warn: Callable[[str], None]) -> list[Weighted]:
    """The adapters themselves; `warn` is told of those that were trained on another model.

    Raises CheckpointError, CheckpointNotFound, SettingError.
    """
    if not given:
        return []
    from faster_higgs.checkpoint.adapted import chosen, notes
    from faster_higgs.checkpoint.fingerprint import fingerprint

    found = chosen(named(given))
    for note in notes(fingerprint(model), found):
        warn(note)
    return found


def _named(given: str) -> tuple[str, float]:
    folder, equals, weight = given.rpartition("=")
    if not equals or Path(given).expanduser().is_dir():
        return given, 1.0
    try:
        return folder, float(weight)
    except ValueError:
        raise SettingError(
            f"--adapter {given}: '{weight}' is no number; write DIR, or DIR=0.8 for less of it."
        ) from None
