"""--adapter: which adapters a command folds into its model. Knows nothing of how that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from faster_higgs.errors import CheckpointError, SettingError

if TYPE_CHECKING:
    from faster_higgs.checkpoint.adapter import Weighted


def named(given: Iterable[str] | None) -> list[tuple[str, float]]:
    """Folders and how often each counts, from DIR or DIR=WEIGHT. Raises SettingError."""
    return [_named(one) for one in given or ()]


def read(given: Iterable[str] | None) -> list[Weighted]:
    """The adapters themselves. Raises CheckpointError, CheckpointNotFound, SettingError."""
    if not given:
        return []
    from faster_higgs.checkpoint.adapted import chosen

    return chosen(named(given))


def base_of(adapters: Sequence[Weighted]) -> str | None:
    """The model that adapters name, where all name one and it is on this machine."""
    from faster_higgs.checkpoint.files import resolve

    wanted = {one.adapter.config.base for one in adapters}
    if len(wanted) != 1 or not (name := wanted.pop()):
        return None
    try:
        return str(resolve(name))
    except CheckpointError:
        return None


def warn_of(adapters: Sequence[Weighted], model: Path, warn: Callable[[str], None]) -> None:
    """Tell of those that were trained on other weights than those of the model."""
    if adapters:
        from faster_higgs.checkpoint.adapted import notes
        from faster_higgs.checkpoint.fingerprint import fingerprint

        for note in notes(fingerprint(model), adapters):
            warn(note)


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
